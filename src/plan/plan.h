// The plan: where every byte of a model will lie, as plain data. The same Plan drives the loader,
// every backend, `dak plan`, the benchmarks and the tests.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "memory/tier.h"
#include "memory/tiered_tensor.h"

namespace dak {

// How an operand is read in one step.
enum class OperandUse : uint8_t {
  kMatmul,  // every byte, once
  kLookup,  // a row per token: token and position embeddings
  kKv,  // a layer's KV cache, 64 tokens a block: in what-ifs alone: the engine takes one --kv-ratio
};

std::string_view name(OperandUse use);

// What the planner is given about one weight, before anything is loaded.
struct Operand {
  std::string name;       // "layers.0.qkv"
  std::string kind = {};  // alike in all layers: "layers.*.qkv"
  OperandUse use = OperandUse::kMatmul;
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kBF16;   // as it will lie in memory
  DType stored = DType::kBF16;  // as it lies in the file
  WeightLayout layout = WeightLayout::kPacked;

  int64_t blocks() const;
  int64_t block_bytes() const;  // packed: for a row-major operand an upper bound
  int64_t size_bytes() const { return blocks() * block_bytes(); }
};

// A run of consecutive row blocks in one tier.
struct TierSpan {
  TierIndex tier = 0;
  int64_t first_block = 0;
  int64_t blocks = 0;
};

struct OperandPlan {
  Operand operand;
  std::vector<TierSpan> spans;  // in order of first_block, covering every block once

  int64_t bytes_in(TierIndex tier) const;
  double offload_ratio() const;  // share of bytes outside tier 0
  TierIndex tier_of(int64_t block) const;
};

// Everything else that is allocated, all of it in tier 0 unless said.
struct FixedMemory {
  int64_t vector_bytes = 0;                          // norms and biases
  int64_t kv_bytes = 0;                              // the cache's pages in tier 0
  std::array<int64_t, kMaxTiers> kv_remote_bytes{};  // and in each of the others
  int64_t kv_tokens = 0;                             // tokens it holds, over all sequences
  int64_t prefill_chunk = 0;                         // most tokens of a prompt in one forward pass
  int64_t activation_bytes = 0;                      // workspace of the largest batch
  int64_t prefetch_bytes = 0;   // mode prefetch: what remote parts of weights are copied into
  int64_t kv_buffer_bytes = 0;  // and what remote KV pages are
  int64_t uva_bytes = 0;        // mode uva: cuBLASLt's workspace and its sums
  int64_t backend_bytes = 0;    // a GPU backend's own: schedules, partial sums, tables, graphs

  int64_t kv_all_remote_bytes() const {
    return std::accumulate(kv_remote_bytes.begin(), kv_remote_bytes.end(), int64_t{0});
  }
  // In tier 0.
  int64_t total_bytes() const {
    return vector_bytes + kv_bytes + activation_bytes + prefetch_bytes + kv_buffer_bytes +
           uva_bytes + backend_bytes;
  }
};

// Mode prefetch: the buffers that the remote parts of weights pass through. Neighbours in the cycle
// have different buffers, so that one is filled while the other is read.
struct PrefetchPlan {
  struct Stage {
    size_t operand = 0;  // in Plan::operands
    size_t buffer = 0;
  };
  std::vector<Stage> cycle;  // one forward pass: the next begins where it ends
  std::vector<int64_t> buffer_bytes;

  int64_t total_bytes() const;
};

struct Plan {
  std::string model;
  std::string policy;  // "uniform", "greedy" or "whole operands"
  std::string reason;  // one sentence: why this ratio
  std::vector<Tier> tiers;
  std::vector<OperandPlan> operands;
  FixedMemory fixed;
  PrefetchPlan prefetch;                    // empty in the other modes
  int64_t smallest_local_budget_bytes = 0;  // with which this plan's mode would work

  int64_t weight_bytes() const;
  int64_t weight_bytes_in(TierIndex tier) const;
  int64_t bytes_in(TierIndex tier) const;  // weights and fixed memory
  double offload_ratio() const;
  const OperandPlan& operand(std::string_view name) const;  // throws kInternal
};

void to_json(nlohmann::json& json, const Plan& plan);

}  // namespace dak
