#include "engine/cpu_costs.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>

#include "base/seconds.h"
#include "engine/sampler.h"
#include "hardware/memory_info.h"
#include "hardware/read_bandwidth.h"
#include "memory/arena.h"
#include "ops/attention.h"
#include "ops/heads.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "ops/rows.h"

namespace dak {
namespace {

// Weights stream from memory in a real step, so these are together twice the last-level cache. (64
// MiB lie in the cache of a large server: on two of its 16 processors, 300 MiB of cache, products
// seemed to read as fast as a read loop, and decode was predicted 21 to 34 % too fast.)
constexpr int64_t kLeastStreamBytes = int64_t{64} << 20;
constexpr int64_t kMostStreamBytes = int64_t{640} << 20;
// Where an eighth of what is available is less than these, there is nothing to measure with.
constexpr int64_t kFewestStreamBytes = int64_t{1} << 20;
// A small model's product and a large one's.
constexpr int64_t kSmallSide = 576;
constexpr int64_t kLargeRows = 4096;
constexpr int64_t kLargeCols = 4096;
constexpr int64_t kNormCols = 2048;
constexpr int64_t kVocabulary = 50'000;
constexpr AttentionConfig kHeads{
    .heads = 16, .kv_heads = 4, .head_size = 64, .scale = 0.125F, .kv_dtype = DType::kBF16};
constexpr int64_t kShortPast = 15;
constexpr int64_t kLongPast = 32'768;  // 32 MiB of it
constexpr int64_t kPastTokenBytes = 1024;
constexpr int kRepeats = 25;
// Of measure_cpu_peak: enough reuse to leave memory out of it.
constexpr int64_t kPeakRows = 256;
constexpr int64_t kPeakSide = 512;

class CostBench {
 public:
  explicit CostBench(ThreadPool& pool) : arena_(make_cpu_arena({.name = "local"})) {
    ctx_.pool = &pool;
    const int64_t wanted =
        std::clamp(2 * last_level_cache_bytes(), kLeastStreamBytes, kMostStreamBytes);
    stream_bytes_ = std::max(kFewestStreamBytes, probe_bytes(wanted));
    // Where memory is short: a large weight that fits, and half as many bytes of KV.
    constexpr int64_t kFewRows = 128;
    large_rows_ = std::min(kLargeRows, stream_bytes_ / (kLargeCols * 2) / kFewRows * kFewRows);
    long_past_ = std::min(kLongPast, stream_bytes_ / 2 / kPastTokenBytes);
    stream_ = memory(stream_bytes_);
  }

  CpuCosts run() {
    CpuCosts costs;
    // A share is of what a read loop gets at the same time: on a shared host that changes by a
    // fifth from second to second.
    const double before = read_rate();
    const auto [small_s, small_bytes] = product(kSmallSide, kSmallSide);
    const auto [large_s, large_bytes] = product(large_rows_, kLargeCols);
    read_bytes_per_s_ = std::max(before, read_rate());
    // Two equations: seconds = bytes / (share x rate) + fixed.
    const double per_byte =
        std::max((large_s - small_s) / (large_bytes - small_bytes), 1 / read_bytes_per_s_);
    costs.product_local_share = share(per_byte);
    costs.product_fixed_us = us(small_s - small_bytes * per_byte);
    const auto [short_s, short_bytes] = attention_step(kShortPast);
    const auto [long_s, long_bytes] = attention_step(long_past_);
    const double kv_per_byte =
        std::max((long_s - short_s) / (long_bytes - short_bytes), 1 / read_bytes_per_s_);
    costs.attention_local_share = share(kv_per_byte);
    costs.attention_fixed_us = us(short_s - short_bytes * kv_per_byte);
    costs.norm_us = us(norm());
    costs.pass_us = us(choice());
    return costs;
  }

 private:
  struct Timed {
    double seconds = 0;
    double bytes = 0;
  };

  static double us(double seconds) { return std::max(0.0, seconds * 1e6); }
  double share(double seconds_per_byte) const {
    return std::min(1.0, 1 / (seconds_per_byte * read_bytes_per_s_));
  }

  // The median of one call among `count`, the first few left out.
  template <typename Work>
  static double median_seconds(int count, const Work& work) {
    constexpr int kWarmUps = 3;
    std::vector<double> times;
    for (int i = 0; i < count + kWarmUps; ++i) {
      const auto start = std::chrono::steady_clock::now();
      work(i);
      const double took = seconds_since(start);
      if (i >= kWarmUps) times.push_back(took);
    }
    std::ranges::nth_element(times, times.begin() + std::ssize(times) / 2);
    return times[times.size() / 2];
  }

  // Written, so that it lies in memory of its own, and with numbers as usual as any: 0.0115 as f32
  // and as bf16.
  std::byte* memory(int64_t bytes) {
    std::byte* data = arena_->allocate(bytes);
    std::memset(data, 0x3c, static_cast<size_t>(bytes));
    return data;
  }

  Tensor matrix(int64_t rows, int64_t cols) {
    return make_tensor(memory(bytes_of(DType::kF32, rows * cols)), DType::kF32, rows, cols);
  }
  Tensor heads(int64_t count) {
    return {.data = memory(bytes_of(DType::kF32, count * kHeads.head_size)),
            .dtype = DType::kF32,
            .rank = 3,
            .shape = {1, count, kHeads.head_size}};
  }

  // Of the better of two passes over the weights' memory.
  double read_rate() {
    const std::span<const std::byte> bytes(stream_, static_cast<size_t>(stream_bytes_));
    const double first = time_read_pass(*ctx_.pool, bytes);
    return static_cast<double>(stream_bytes_) / std::min(first, time_read_pass(*ctx_.pool, bytes));
  }

  // One row through weights of this shape, one after the other, as many as the stream holds.
  Timed product(int64_t rows, int64_t cols) {
    std::vector<TieredTensor> weights;
    for (std::byte* at = stream_;;) {
      TieredTensor weight{
          .name = "product", .dtype = DType::kBF16, .rows = rows, .cols = cols, .blocks = {}};
      const int64_t bytes = weight.block_bytes() * row_blocks_of(rows);
      if (at + bytes > stream_ + stream_bytes_) break;
      for (int64_t i = 0; i < row_blocks_of(rows); ++i, at += weight.block_bytes()) {
        weight.blocks.push_back({.data = at, .tier = 0});
      }
      weights.push_back(std::move(weight));
    }
    const Tensor x = matrix(1, cols);
    const Tensor out = matrix(1, rows);
    const int count = std::max(kRepeats, static_cast<int>(weights.size()));
    const double seconds = median_seconds(count, [&](int i) {
      matmul(ctx_, x, weights[static_cast<size_t>(i) % weights.size()], out);
    });
    return {seconds, static_cast<double>(weights[0].block_bytes() * row_blocks_of(rows))};
  }

  // The heads and attention of one token after `past` others.
  Timed attention_step(int64_t past) {
    std::vector<KvPage> pages;
    for (int64_t i = 0; i < (past + kPageTokens) / kPageTokens; ++i) {
      pages.push_back({.data = memory(kHeads.page_bytes()), .tier = 0});
    }
    const std::array<KvSequence, 1> sequences{
        KvSequence{.pages = pages, .past = past, .first_row = 0, .rows = 1}};
    const std::array<int32_t, 1> positions{static_cast<int32_t>(past)};
    const RopeFrequencies frequencies = rope_frequencies({.rotary_dims = kHeads.head_size});
    const HeadTransform transform{.frequencies = &frequencies};
    const Tensor qkv = matrix(1, (kHeads.heads + 2 * kHeads.kv_heads) * kHeads.head_size);
    const Heads parts{
        .q = heads(kHeads.heads), .k = heads(kHeads.kv_heads), .v = heads(kHeads.kv_heads)};
    const Tensor attended = heads(kHeads.heads);
    const double seconds = median_seconds(past == long_past_ ? 3 : kRepeats, [&](int) {
      split_heads(ctx_, kHeads, sequences, positions, transform, qkv, parts);
      attention(ctx_, kHeads, sequences, parts.q, attended);
    });
    TierTraffic traffic;
    count_kv_traffic(kHeads, sequences, traffic);
    return {seconds, static_cast<double>(traffic.total_bytes())};
  }

  double norm() {
    const Tensor x = matrix(1, kNormCols);
    const Tensor weight = matrix(1, kNormCols);
    const Tensor out = matrix(1, kNormCols);
    return median_seconds(kRepeats, [&](int) { rms_norm(ctx_, x, weight.f32(), 1e-5F, out); });
  }

  double choice() {
    const Tensor logits = matrix(1, kVocabulary);
    return median_seconds(kRepeats, [&](int) { most_likely(host_values(ctx_, logits)); });
  }

  double read_bytes_per_s_ = 0;
  OpContext ctx_;
  std::unique_ptr<Arena> arena_;
  int64_t large_rows_ = 0;
  int64_t long_past_ = 0;
  int64_t stream_bytes_ = 0;
  std::byte* stream_ = nullptr;  // weights
};

}  // namespace

double measure_cpu_peak(ThreadPool& pool, DType dtype, double seconds) {
  OpContext ctx;
  ctx.pool = &pool;
  const std::unique_ptr<Arena> arena = make_cpu_arena({.name = "local"});
  TieredTensor weight{
      .name = "peak", .dtype = dtype, .rows = kPeakSide, .cols = kPeakSide, .blocks = {}};
  for (int64_t i = 0; i < row_blocks_of(weight.rows); ++i) {
    weight.blocks.push_back({.data = arena->allocate(weight.block_bytes()), .tier = 0});
  }
  const auto matrix = [&] {
    std::byte* data = arena->allocate(bytes_of(DType::kF32, kPeakRows * kPeakSide));
    return make_tensor(data, DType::kF32, kPeakRows, kPeakSide);
  };
  const Tensor x = matrix();
  const Tensor out = matrix();
  const auto begin = std::chrono::steady_clock::now();
  std::chrono::duration<double> least{1e9};
  for (std::chrono::duration<double> all{0}; all.count() < seconds;) {
    const auto start = std::chrono::steady_clock::now();
    matmul(ctx, x, weight, out);
    const auto end = std::chrono::steady_clock::now();
    least = std::min(least, std::chrono::duration<double>(end - start));
    all = end - begin;
  }
  return 2.0 * static_cast<double>(kPeakRows * kPeakSide * kPeakSide) / least.count();
}

CpuCosts measure_cpu_costs(ThreadPool& pool) { return CostBench(pool).run(); }

}  // namespace dak
