// What dak's kernels were measured to lose: docs/design/placement.md has the fits and the commands.
#include "plan/cost.h"

namespace dak {

// H200, bench/results/2026-11-23_h200-host_*: split_matmul.json for products, ratio 0 against
// ratios from 5 % on; decode_*.json for attention and norms.
KernelCosts cuda_kernel_costs(bool reads_once) {
  constexpr int64_t kAnyRows = int64_t{1} << 40;
  KernelCosts costs{
      .matmul = {{.rows = 8, .local_share = 0.98, .local_fixed_us = 3.5, .link_fixed_us = 6},
                 // Not measured: between its neighbours.
                 {.rows = 16, .local_share = 0.93, .local_fixed_us = 5.6, .link_fixed_us = 7.2},
                 {.rows = 32, .local_share = 0.888, .local_fixed_us = 7.7, .link_fixed_us = 8.4},
                 {.rows = 64, .local_share = 0.96, .local_fixed_us = 24, .link_fixed_us = 24}},
      .local_columns_per_reading = 64,  // plain kernels: a slice of a longer pass
      .remote_columns_per_reading = 64,
      .peak_share = 0.6,
      .attention_local_share = 0.77,
      .attention_fixed_us = 13,
      .attention_rows_per_reading = 1,  // a thread block takes one row
      .l2_bytes_per_s = 5e12,  // what products of 32 rows take in: assumed for plain kernels
      .norm_us = 3.5,
      .pass_us = 20};
  if (!reads_once) return costs;
  // A GEMM alone reaches 500 to 755 TFLOP/s (gemm.json) of the 780 that cuBLASLt reaches on 8192^3;
  // whole prompts of Llama-3.1-8B give what is left of it with all that a layer does besides.
  // Decode of many: four layers of OPT-30B and Llama-3.1-70B (many_*_4layers.json). Up to 192 rows
  // have few tiles, and little to do in each.
  costs.matmul.push_back(
      {.rows = 128, .local_share = 0.95, .local_fixed_us = 60, .link_fixed_us = 25});
  costs.matmul.push_back(
      {.rows = 192, .local_share = 0.9, .local_fixed_us = 45, .link_fixed_us = 25});
  // What is lost where link and arithmetic take about as long: fit to workload_llama-8b.json.
  costs.matmul.push_back({.rows = kAnyRows,
                          .local_share = 0.9,
                          .local_fixed_us = 10,
                          .link_fixed_us = 12,
                          .overlap_loss = 0.1});
  costs.local_columns_per_reading = kAnyRows;
  costs.remote_columns_per_reading = kAnyRows;
  costs.peak_share = 0.70;
  // dak_bench_prefill_attention: 0.77 at 8,192 rows, 0.81 and more behind 32,768 tokens.
  costs.attention_tile_rows = 16;
  costs.attention_peak_share = 0.77;
  costs.l2_bytes_per_s = 9.5e12;  // fit to prompts when attention took a row at a time
  return costs;
}

namespace {

// Two cores of an AMD EPYC on a busy day (`make bench`): layers of SmolLM2-135M at 69 % of a
// read loop and of Llama-3-8B at 95 % give products' share and fixed time; a step of SmolLM2 gives
// the rest, as attention and norms to about equal parts.
CpuCosts assumed_cpu_costs(double loop_us) {
  return {.product_local_share = 0.96,
          .product_fixed_us = 14 + loop_us,
          .attention_local_share = 0.5,  // at long contexts
          .attention_fixed_us = 60 + loop_us,
          .norm_us = 20 + loop_us,
          .pass_us = 50};
}

}  // namespace

// A weight is read once by a pass of any length.
KernelCosts cpu_kernel_costs(const std::optional<CpuCosts>& measured, double loop_us) {
  constexpr int64_t kAnyRows = int64_t{1} << 40;
  const CpuCosts costs = measured.value_or(assumed_cpu_costs(loop_us));
  return {.matmul = {{.rows = kAnyRows,
                      .local_share = costs.product_local_share,
                      .local_fixed_us = costs.product_fixed_us,
                      .link_fixed_us = costs.product_fixed_us}},
          .local_columns_per_reading = kAnyRows,
          .remote_columns_per_reading = kAnyRows,
          .peak_share = 1,  // the probe measures the backend's own products
          .attention_local_share = costs.attention_local_share,
          .attention_fixed_us = costs.attention_fixed_us,
          .attention_rows_per_reading = 8,
          .l2_bytes_per_s = 0,
          .norm_us = costs.norm_us,
          .pass_us = costs.pass_us};
}

}  // namespace dak
