// What tracing notes of a model's forward pass, against what it runs.
#include "pass/program.h"

#include <gtest/gtest.h>

#include "engine/model_costs.h"
#include "model/synthetic.h"
#include "model/synthetic_support.h"
#include "ops/rows.h"
#include "pass/names.h"
#include "plan/pass_bytes.h"

namespace dak {
namespace {

const std::string kModels = std::string(DAK_TEST_DATA) + "/model/hf/";

Program program_in(const std::string& model) {
  return program_of(open_model(kModels + model, /*need_weights=*/false).config);
}

// "norm", or of which matrix: "lookup embedding".
std::string text_of(const Program& program, const Step& step) {
  constexpr const char* kNames[] = {"lookup", "norm", "product", "heads", "attention", "gather"};
  const std::string name = kNames[static_cast<size_t>(step.kind)];
  return step.matrix.index < 0 ? name : name + " " + program.matrix(step.matrix).part;
}

std::vector<std::string> steps_of(const Program& program, int64_t layer) {
  std::vector<std::string> texts;
  for (const Step& step : program.steps) {
    if (step.layer == layer) texts.push_back(text_of(program, step));
  }
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Program, OfAGatedDecoderIsItsLayersAndWhatIsAroundThem) {
  const Program program = program_in("qwen3");
  const Texts layer{"norm",           "product qkv", "heads",           "attention",
                    "product output", "norm",        "product gate_up", "product down"};
  const int64_t layers = program.attention_layers();
  EXPECT_GT(layers, 1);
  for (int64_t i = 0; i < layers; ++i) EXPECT_EQ(steps_of(program, i), layer) << i;
  EXPECT_TRUE(steps_of(program, layers).empty());
  EXPECT_EQ(std::ssize(program.steps), layers * std::ssize(layer) + 4);
}

TEST(Program, OfOptHasNormsBeforeOrBehindAPart) {
  EXPECT_EQ(steps_of(program_in("opt"), 0),
            (Texts{"norm", "product qkv", "heads", "attention", "product output", "norm",
                   "product up", "product down"}));
  const Program behind = program_in("opt_post_norm");
  EXPECT_EQ(steps_of(behind, 1), (Texts{"product qkv", "heads", "attention", "product output",
                                        "norm", "product up", "product down", "norm"}));
  EXPECT_EQ(steps_of(behind, -1).back().substr(0, 7), "product");
}

TEST(Program, LogitsAreOfTheirRowsAlone) {
  for (const std::string model : {"llama_mha", "smollm2", "opt", "opt_post_norm"}) {
    const Program program = program_in(model);
    for (const Step& step : program.steps) {
      EXPECT_FALSE(step.layer >= 0 && step.for_logits) << model;
    }
    const Step& first = program.steps.front();
    const Step& last = program.steps.back();
    EXPECT_EQ(first.kind, StepKind::kLookup);
    EXPECT_FALSE(first.for_logits);
    EXPECT_EQ(last.kind, StepKind::kProduct);
    EXPECT_TRUE(last.for_logits);
    const bool tied = open_model(kModels + model, false).config.tied_embeddings;
    EXPECT_EQ(first.matrix == last.matrix, tied) << model;
  }
}

TEST(Program, AttentionKnowsItsWindow) {
  const ModelConfig config = open_model(kModels + "mistral", false).config;
  ASSERT_GT(config.sliding_window, 0);
  for (const Step& step : program_of(config).steps) {
    if (step.kind != StepKind::kAttention) continue;
    EXPECT_EQ(step.attention, (AttentionShape{.query_values = config.q_rows(),
                                              .kv_values = 2 * config.kv_rows(),
                                              .kv_heads = config.kv_heads,
                                              .window = config.window_of_layer(step.layer)}));
  }
}

// As timers count it.
std::string kind_of(const Program& program, const Step& step) {
  switch (step.kind) {
    case StepKind::kLookup:
    case StepKind::kProduct:
      return program.matrix(step.matrix).kind();
    case StepKind::kNorm:
      return std::string(kNormsKind);
    case StepKind::kHeads:
    case StepKind::kAttention:
      return std::string(kAttentionKind);
    case StepKind::kGather:
      return std::string(kPassKind);
  }
  return {};
}

// Every operation of a pass is a step and every step is run: by kind, with their numbers, in order.
TEST(Program, StepsAreWhatARealPassRuns) {
  for (const std::string name :
       {"llama3_gqa", "qwen2", "qwen3", "mistral", "opt", "opt_post_norm"}) {
    test::SyntheticModel model(kModels + name + "/config.json",
                               {.offload_ratio = 0.3, .context = 64, .dtype = DType::kBF16}, 1);
    const Program& program = model.declared.program;
    std::vector<std::pair<std::string, int64_t>> expected;
    for (const Step& step : program.steps) {
      const std::string kind = kind_of(program, step);
      const auto known = std::ranges::find(expected, kind, &std::pair<std::string, int64_t>::first);
      if (known == expected.end()) {
        expected.emplace_back(kind, 1);
      } else {
        known->second += 1;
      }
    }
    Workspace work(program, 2, 1, model.weights.arena(0));
    KvCache cache(model.files.config, DType::kF32, 64, model.weights.arena(0));
    KvHold hold;
    cache.reserve(hold, 2);
    const Batch batch{.tokens = {1, 2},
                      .positions = {0, 1},
                      .sequences = {{.pages = &hold.pages, .past = 0, .rows = 2}},
                      .logit_rows = {1}};
    OpContext ctx;
    ctx.pool = &model.pool;
    const auto timer = make_operation_timer(ctx);
    ctx.timer = timer.get();
    timer->begin();
    model.declared.model->forward(ctx, model.weights, batch, work);
    std::vector<std::pair<std::string, int64_t>> found;
    for (const OperationTimer::Seconds& one : timer->finish())
      found.emplace_back(one.name, one.count);
    EXPECT_EQ(found, expected) << name;
  }
}

// A decode step counts what plans and the cost model say that it reads of weights.
TEST(Program, BytesOfAStepAreThoseThatItCounts) {
  for (const std::string name : {"llama3_gqa", "smollm2", "opt", "opt_post_norm"}) {
    test::SyntheticModel model(kModels + name + "/config.json",
                               {.offload_ratio = 0.4, .context = 64, .dtype = DType::kBF16}, 1);
    const Program& program = model.declared.program;
    TierBytes products{};
    TierBytes by_costs{};
    int64_t rows_bytes = 0;  // of looked-up rows
    int64_t only_looked_up = 0;
    const Machine machine{.tiers = model.plan.tiers, .kernels = {}};
    std::vector<Operand> operands;
    for (const OperandPlan& entry : model.plan.operands) operands.push_back(entry.operand);
    for (const Operation& op : operations_of(program, operands, DType::kF32, model.plan.fixed)) {
      if (op.kind != OperationKind::kMatmul) continue;
      const TierBytes placed =
          placed_bytes(model.plan.operands.at(static_cast<size_t>(op.operand)));
      const auto read = bytes_read(op, {}, machine, placed);
      for (size_t t = 0; t < read.size(); ++t) by_costs[t] += static_cast<int64_t>(read[t]);
    }
    for (const Step& step : program.steps) {
      if (step.matrix.index < 0) continue;
      const OperandPlan& entry = model.plan.operands.at(static_cast<size_t>(step.matrix.index));
      const TierBytes placed = placed_bytes(entry);
      if (step.kind == StepKind::kLookup) {
        const int64_t row = bytes_of(entry.operand.dtype, entry.operand.cols);
        rows_bytes += row;
        only_looked_up += entry.operand.use == OperandUse::kLookup ? row : 0;
        continue;
      }
      for (size_t t = 0; t < placed.size(); ++t) products[t] += placed[t];
    }
    EXPECT_EQ(by_costs, products) << name;
    EXPECT_EQ(remote_weight_bytes(program, model.plan, 1), products[1]) << name;
    EXPECT_EQ(decode_weight_traffic(model.plan, 1).total_bytes(),
              products[0] + products[1] + only_looked_up)
        << name;

    Workspace work(program, 1, 1, model.weights.arena(0));
    KvCache cache(model.files.config, DType::kF32, 64, model.weights.arena(0));
    KvHold hold;
    cache.reserve(hold, 1);
    const Batch batch{.tokens = {5},
                      .positions = {0},
                      .sequences = {{.pages = &hold.pages, .past = 0, .rows = 1}},
                      .logit_rows = {0}};
    OpContext ctx;
    ctx.pool = &model.pool;
    model.declared.model->forward(ctx, model.weights, batch, work);
    const TierTraffic& counted = ctx.traffic;
    int64_t looked_up = 0;
    for (size_t t = 0; t < products.size(); ++t) {
      const int64_t others = counted.read_bytes[t] - counted.kv_bytes[t] - products[t];
      EXPECT_GE(others, 0) << name << ", tier " << t;
      looked_up += others;
    }
    EXPECT_EQ(looked_up, rows_bytes) << name;
  }
}

}  // namespace
}  // namespace dak
