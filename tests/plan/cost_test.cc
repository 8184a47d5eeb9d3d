// The cost model's formulas, by hand.
#include "plan/cost.h"

#include <gtest/gtest.h>

#include <random>

#include "hardware/presets.h"

namespace dak {
namespace {

constexpr double kMicro = 1e-6;

// Round numbers: 1000 and 10 GB/s, 100 TFLOP/s, products that lose nothing but 2 us.
Machine plain_machine() {
  Machine machine{.tiers = {{.name = "local", .read_bytes_per_s = 1e12, .channel = "HBM"},
                            {.name = "host",
                             .kind = TierKind::kHost,
                             .read_bytes_per_s = 1e10,
                             .channel = "host link"}},
                  .local_loss = {0, 0},
                  .readers = {0, 0},
                  .peak_flops_per_s = 1e14,
                  .kernels = {.matmul = {{.rows = 64, .local_fixed_us = 2, .link_fixed_us = 5}}}};
  return machine;
}

Operation product() {
  return {.name = "w",
          .kind = OperationKind::kMatmul,
          .operand = 0,
          .size_bytes = 100'000'000,
          .rows = 5000,
          .cols = 10000};
}

OperationTime time_at(const Operation& op, const PassShape& pass, const Machine& machine,
                      double ratio) {
  const auto remote = static_cast<int64_t>(ratio * static_cast<double>(op.size_bytes));
  return time_of(cost_of(op, pass, machine), {op.size_bytes - remote, remote});
}

constexpr PassShape kStep{.rows = 1, .sequences = 1, .past = 0, .logit_rows = 1};

TEST(Cost, AProductWaitsForTheSlowerOfTwoMemories) {
  const Machine machine = plain_machine();
  const OperationTime local = time_at(product(), kStep, machine, 0);
  EXPECT_NEAR(local.seconds, 102 * kMicro, 1e-12);
  EXPECT_EQ(local.limit, Limit::kMemory);
  EXPECT_EQ(local.tier, 0);
  EXPECT_NEAR(time_at(product(), kStep, machine, 0.005).seconds, (99.5 + 2) * kMicro, 1e-12);
  const OperationTime half = time_at(product(), kStep, machine, 0.5);
  EXPECT_NEAR(half.seconds, (5000 + 5) * kMicro, 1e-12);
  EXPECT_EQ(limit_name(half.limit, half.tier, machine.tiers), "host link");
}

TEST(Cost, AWeightIsReadAgainForEverySliceOfALongPass) {
  const Machine machine = plain_machine();
  const PassShape pass{.rows = 130, .sequences = 1, .past = 0, .logit_rows = 1};
  // 3 slices of at most 64 rows.
  EXPECT_NEAR(time_at(product(), pass, machine, 0).seconds, 3 * 102 * kMicro, 1e-12);
  EXPECT_NEAR(time_at(product(), pass, machine, 1).seconds, 3 * 10005 * kMicro, 1e-12);
  const auto read = bytes_read(product(), pass, machine, {40'000'000, 60'000'000});
  EXPECT_EQ(read[0], 3 * 40e6);
  EXPECT_EQ(read[1], 3 * 60e6);
  Machine large = machine;
  large.kernels.remote_columns_per_reading = 256;
  EXPECT_NEAR(time_at(product(), pass, large, 1).seconds, 10005 * kMicro, 1e-12);
}

TEST(Cost, ArithmeticIsALimitToo) {
  Machine machine = plain_machine();
  machine.kernels.local_columns_per_reading = machine.kernels.remote_columns_per_reading = 4096;
  const PassShape pass{.rows = 4096, .sequences = 1, .past = 0, .logit_rows = 1};
  const double flops = 2.0 * 4096 * 5000 * 10000;
  const OperationTime time = time_at(product(), pass, machine, 0.1);
  EXPECT_NEAR(time.seconds, flops / 1e14 + 2 * kMicro, 1e-9);
  EXPECT_EQ(time.limit, Limit::kCompute);
  machine.kernels.peak_share = 0.5;
  EXPECT_NEAR(time_at(product(), pass, machine, 0.1).seconds, 2 * flops / 1e14 + 2 * kMicro, 1e-9);
}

TEST(Cost, ABusyLinkSlowsTheLocalTier) {
  Machine machine = plain_machine();
  machine.local_loss[1] = 0.1;
  // 0.5 % remote: 50 us of link, of which the local tier loses a tenth.
  EXPECT_NEAR(time_at(product(), kStep, machine, 0.005).seconds, (99.5 + 5 + 2) * kMicro, 1e-12);
}

TEST(Cost, TiersOnOneChannelAddUp) {
  Machine machine = plain_machine();
  machine.tiers[1].channel = "HBM";
  machine.tiers[1].read_bytes_per_s = 1e12;
  machine.kernels.matmul[0].local_share = 0.5;
  for (const double ratio : {0.0, 0.3, 1.0}) {
    EXPECT_NEAR(time_at(product(), kStep, machine, ratio).seconds, 202 * kMicro, 1e-12) << ratio;
  }
}

TEST(Cost, LogitsAreForTheRowsThatWantThem) {
  Operation head = product();
  head.for_logits = true;
  const PassShape pass{.rows = 130, .sequences = 1, .past = 0, .logit_rows = 1};
  EXPECT_NEAR(time_at(head, pass, plain_machine(), 0).seconds, 102 * kMicro, 1e-12);
  const PassShape none{.rows = 130, .sequences = 1, .past = 0, .logit_rows = 0};
  EXPECT_EQ(time_at(head, none, plain_machine(), 0).seconds, 0);
  EXPECT_EQ(flops_of(head, none), 0);
}

TEST(Cost, ALookupReadsARowForEachToken) {
  const Operation table{.kind = OperationKind::kLookup,
                        .operand = 0,
                        .size_bytes = 100'000'000,
                        .rows = 10000,
                        .cols = 5000};
  const PassShape pass{.rows = 10, .sequences = 10, .past = 0, .logit_rows = 10};
  EXPECT_NEAR(time_at(table, pass, plain_machine(), 1).seconds, 1e5 / 1e10, 1e-12);
  EXPECT_EQ(bytes_read(table, pass, plain_machine(), {0, 100'000'000})[1], 1e5);
}

TEST(Cost, AttentionReadsWhatIsSeen) {
  Machine machine = plain_machine();
  Operation attention{.kind = OperationKind::kAttention,
                      .size_bytes = 8000 * 1000,  // room for 8000 tokens
                      .kv_token_bytes = 1000,
                      .query_values = 512};
  // 4 sequences of 999 past tokens and one new one each.
  const PassShape step{.rows = 4, .sequences = 4, .past = 999, .logit_rows = 4};
  const TierBytes local{8000 * 1000};
  EXPECT_NEAR(time_of(cost_of(attention, step, machine), local).seconds, 4e6 / 1e12, 1e-15);
  EXPECT_NEAR(bytes_read(attention, step, machine, local)[0], 4e6, 1e-3);
  EXPECT_NEAR(flops_of(attention, step), 4.0 * 4 * 1000 * 512, 1);
  attention.window = 100;
  EXPECT_NEAR(bytes_read(attention, step, machine, local)[0], 4e5, 1e-3);
  attention.window = 0;
  // A prompt: every row goes over the tokens before it, and crosses a link each time.
  const PassShape prompt{.rows = 99, .sequences = 1, .past = 0, .logit_rows = 1};
  EXPECT_NEAR(bytes_read(attention, prompt, machine, {8000 * 1000})[0], 99e3, 1e-3);
  EXPECT_NEAR(bytes_read(attention, prompt, machine, {0, 8000 * 1000})[1], 99 * 50e3, 1e-3);
  EXPECT_NEAR(flops_of(attention, prompt), 4.0 * 99 * 50 * 512, 1);
  machine.kernels.attention_rows_per_reading = 128;
  EXPECT_NEAR(bytes_read(attention, prompt, machine, {0, 8000 * 1000})[1], 99e3, 1e-3);
  // Tiles of rows: one reading for all of them, and arithmetic at a share of its own.
  machine.kernels.attention_rows_per_reading = 1;
  machine.kernels.attention_tile_rows = 100;
  EXPECT_NEAR(bytes_read(attention, prompt, machine, {0, 8000 * 1000})[1], 99 * 50e3, 1e-3);
  machine.kernels.attention_tile_rows = 99;
  EXPECT_NEAR(bytes_read(attention, prompt, machine, {0, 8000 * 1000})[1], 99e3, 1e-3);
  machine.kernels.attention_peak_share = 0.5;
  machine.peak_flops_per_s = 1e9;
  EXPECT_NEAR(time_of(cost_of(attention, prompt, machine), local).seconds,
              4.0 * 99 * 50 * 512 / 0.5e9, 1e-9);
}

// What the greedy algorithm needs: more offloaded bytes never make the next one cheaper.
TEST(Cost, IsConvexInTheBytesOnEveryMachine) {
  std::mt19937 random(1);
  const auto whole = [&random](int64_t least, int64_t most) {
    return std::uniform_int_distribution(least, most)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    const auto presets = preset_texts();
    const HardwareProfile profile =
        hardware_named(presets[static_cast<size_t>(whole(0, std::ssize(presets) - 1))].name);
    const Machine machine = machine_of(profile, profile.plan_tiers(), DType::kBF16);
    Operation op{.kind = static_cast<OperationKind>(whole(0, 2)),
                 .operand = 0,
                 .rows = 64 * whole(1, 1000),
                 .cols = 64 * whole(1, 300),
                 .for_logits = whole(0, 3) == 0,
                 .kv_token_bytes = 4096,
                 .query_values = 8192};
    op.size_bytes = 2 * op.rows * op.cols;
    const int64_t sequences = whole(1, 64);
    const PassShape pass{.rows = sequences * whole(1, 20),
                         .sequences = sequences,
                         .past = whole(0, 10000),
                         .logit_rows = sequences};
    const OperationCost cost = cost_of(op, pass, machine);
    constexpr int kSteps = 50;
    double before = 0;
    double slope = -1e300;
    for (int i = 0; i <= kSteps; ++i) {
      const int64_t remote = op.size_bytes / kSteps * i;
      const double seconds = time_of(cost, {op.size_bytes - remote, remote}).seconds;
      if (i > 0) {
        EXPECT_GE(seconds - before, slope - 1e-9 * seconds);
        slope = seconds - before;
      }
      before = seconds;
    }
  }
}

}  // namespace
}  // namespace dak
