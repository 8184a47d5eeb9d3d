// The cost model: how long each operation of a forward pass takes, as a function of where its bytes
// lie. docs/design/placement.md derives the formulas and says where each constant comes from.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hardware/profile.h"
#include "plan/pass_bytes.h"
#include "plan/plan.h"
#include "plan/workload.h"

namespace dak {

// What products lose against the hardware, for passes of up to `rows` rows.
struct MatmulCost {
  int64_t rows = 0;
  double local_share = 1;     // of the local tier's bandwidth that they reach
  double local_fixed_us = 0;  // beside the bytes, when the local tier is the limit
  double link_fixed_us = 0;   // when a link is
  double reader_share = 1;    // of what the SMs that read a link would read of the local tier: lost
  double link_bytes_per_s = 0;  // the most that they read of a link; 0: no limit
  double overlap_loss = 0;      // share of the shorter of link and arithmetic that the longer one
                                // does not hide
};

inline constexpr int64_t kManySequences = 64;

// What dak's kernels add to the hardware's numbers: measured once, the same for every machine.
// plan/kernel_costs.h has where from.
struct KernelCosts {
  std::vector<MatmulCost> matmul;  // ascending rows; more rows than the last cost as it does
  // Rows of a pass that one reading of a weight serves, where it is local and where it is remote:
  // a pass of more rows reads it again.
  int64_t local_columns_per_reading = 64;
  int64_t remote_columns_per_reading = 64;
  double peak_share = 1;                  // of the peak FLOP/s that products reach
  double attention_local_share = 1;       // of the local bandwidth that attention reaches
  double attention_many_local_share = 1;  // the same for more than kManySequences
  double attention_fixed_us = 0;          // a layer, with the heads before it
  double attention_run_us = 0;  // a reader's, at least, for a run of remote tokens of a KV head
  int64_t attention_rows_per_reading = 1;  // query rows of a sequence that one reading serves
  int64_t attention_tile_rows = 0;         // from so many on it serves all; 0: never
  double attention_peak_share = 1;         // of the peak FLOP/s that attention then reaches
  double l2_bytes_per_s = 0;  // at which readings after the first come from cache; 0: no limit
  double norm_us = 0;         // two of them a layer
  double pass_us = 0;         // a pass: embedding, last norm, choice of tokens, launch
};

// `reads_once`: with the TMA kernels, whose products of more than 64 rows read a weight once.
KernelCosts cuda_kernel_costs(bool reads_once);
// As measured, or those of the machine of docs/design/placement.md where they were not. `loop_us`:
// of one parallel loop over nothing, as probed.
KernelCosts cpu_kernel_costs(const std::optional<CpuCosts>& measured, double loop_us);

// A machine as the cost model sees it.
struct Machine {
  std::vector<Tier> tiers;  // bandwidths and channels
  // Share of the local bandwidth that is lost while a tier is read at full speed, as measured; 0
  // for local.
  std::vector<double> local_loss;
  std::vector<int> readers;  // SMs that read a tier: they do not read local memory; 0 for local
  std::optional<int64_t> sm_count;  // of the GPU, if that is known
  double peak_flops_per_s = 0;      // for the weights' type; 0: not known, no limit
  KernelCosts kernels;
};

// `tiers`: with the capacities and bandwidths that count, the profile's or measured now. What else
// is known of a tier is looked up in `profile` by name.
Machine machine_of(const HardwareProfile& profile, std::vector<Tier> tiers, DType weight_dtype);

enum class OperationKind : uint8_t {
  kMatmul,
  kLookup,
  kAttention,
  kNorms,  // those of a layer
  kPass,   // what a pass does once
};

// One operation of a forward pass, at most one of whose operands has a place in the plan.
struct Operation {
  std::string name;  // alike in all layers: as its operand's kind, or of pass/names.h
  OperationKind kind = OperationKind::kPass;
  int64_t operand = -1;        // index in the list that is planned; -1: none
  int64_t size_bytes = 0;      // of the operand; attention: of the layer's KV cache
  TierBytes remote_bytes{};    // without an operand: those of them in each tier but 0
  int64_t rows = 0;            // matmul: outputs; lookup: of the table
  int64_t cols = 0;            // of an operand, or of what is normalised
  int64_t norms = 0;           // kNorms: how many
  bool for_logits = false;     // runs for PassShape::logit_rows rows instead of all
  int64_t kv_token_bytes = 0;  // attention: of one token, keys and values
  int64_t query_values = 0;    // attention: heads x head size
  int64_t kv_heads = 0;        // attention: runs of a sequence's remote tokens
  int64_t window = 0;          // attention: tokens that it looks back, 0: all

  bool operator==(const Operation&) const = default;
};

// What an operation waits for.
enum class Limit : uint8_t { kMemory, kCompute, kCache, kOverhead };

// One of the lines whose maximum is an operation's time: seconds = fixed + sum of per_byte[t] x the
// operand's bytes in tier t. Linear, so that the maximum is convex in the bytes.
struct CostLine {
  double fixed_s = 0;
  std::array<double, kMaxTiers> per_byte{};
  Limit limit = Limit::kOverhead;
  TierIndex tier = 0;  // kMemory: the first tier of the channel that it waits for

  bool operator==(const CostLine&) const = default;
};

struct OperationCost {
  std::vector<CostLine> lines;
  double fixed_s = 0;  // comes on top of the maximum

  bool operator==(const OperationCost&) const = default;
};

// Arithmetic of the operation in a pass.
double flops_of(const Operation& operation, const PassShape& pass);

OperationCost cost_of(const Operation& operation, const PassShape& pass, const Machine& machine);

struct OperationTime {
  double seconds = 0;
  Limit limit = Limit::kOverhead;
  TierIndex tier = 0;
};
OperationTime time_of(const OperationCost& cost, const TierBytes& bytes);

// Bytes that the operation reads from each tier in a pass, readings counted.
std::array<double, kMaxTiers> bytes_read(const Operation& operation, const PassShape& pass,
                                         const Machine& machine, const TierBytes& bytes);

// "HBM", "host link", "compute", "cache", "overhead".
std::string limit_name(Limit limit, TierIndex tier, const std::vector<Tier>& tiers);

}  // namespace dak
