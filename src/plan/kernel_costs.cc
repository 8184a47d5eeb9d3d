// What dak's kernels were measured to lose: kernel_costs.json, and the CPU's.
#include "plan/kernel_costs.h"

#include "base/json.h"
#include "base/json_field.h"
#include "plan/cost.h"

namespace dak {
namespace {

constexpr int64_t kAnyRows = int64_t{1} << 40;
constexpr double kMostUs = 1e4;
constexpr double kMostPerSecond = 1e18;

double constant(const JsonField& kinds, std::string_view name, double high) {
  const JsonField one = kinds.at(name);
  one.expect_only({"value", "from"});
  one.at("from").string();
  return one.at("value").number(0, high);
}

MatmulCost matmul_cost(const JsonField& one) {
  one.expect_only({"rows", "local_share", "local_fixed_us", "link_fixed_us", "reader_share",
                   "link_gb_s", "overlap_loss", "from"});
  one.at("from").string();
  const JsonField rows = one.at("rows");
  return {.rows = rows.is_null() ? kAnyRows : rows.integer(1, kAnyRows),
          .local_share = one.at("local_share").number(0.01, 2),
          .local_fixed_us = one.at("local_fixed_us").number(0, kMostUs),
          .link_fixed_us = one.at("link_fixed_us").number(0, kMostUs),
          .reader_share = one.at("reader_share").number(0, 1),
          .link_bytes_per_s = one.at("link_gb_s").number(0, kMostPerSecond) * 1e9,
          .overlap_loss = one.at("overlap_loss").number(0, 1)};
}

void add_products(const JsonField& list, KernelCosts& costs) {
  for (const JsonField& one : list.items()) {
    costs.matmul.push_back(matmul_cost(one));
    const size_t n = costs.matmul.size();
    if (n > 1 && costs.matmul[n - 1].rows <= costs.matmul[n - 2].rows) {
      one.at("rows").corrupt("must grow from one entry to the next");
    }
  }
}

}  // namespace

KernelCosts parse_kernel_costs(std::string_view json, bool reads_once, std::string_view where) {
  const Json document = parse_json(json, where);
  const JsonField all(document, "", where);
  all.expect_only({"about", "products", "products_tma", "constants", "constants_tma"});
  KernelCosts costs;
  add_products(all.at("products"), costs);
  if (costs.matmul.empty()) all.at("products").corrupt("must not be empty");
  const JsonField same = all.at("constants");
  same.expect_only({"attention_local_share", "attention_many_local_share", "attention_fixed_us",
                    "attention_run_us", "norm_us", "pass_us", "peak_share", "l2_bytes_per_s"});
  costs.attention_local_share = constant(same, "attention_local_share", 2);
  costs.attention_many_local_share = constant(same, "attention_many_local_share", 2);
  costs.attention_fixed_us = constant(same, "attention_fixed_us", kMostUs);
  costs.attention_run_us = constant(same, "attention_run_us", kMostUs);
  costs.norm_us = constant(same, "norm_us", kMostUs);
  costs.pass_us = constant(same, "pass_us", kMostUs);
  const JsonField tma = all.at("constants_tma");
  tma.expect_only({"peak_share", "l2_bytes_per_s", "attention_peak_share", "attention_tile_rows"});
  const JsonField& own = reads_once ? tma : same;
  costs.peak_share = constant(own, "peak_share", 1);
  costs.l2_bytes_per_s = constant(own, "l2_bytes_per_s", kMostPerSecond);
  if (!reads_once) return costs;
  add_products(all.at("products_tma"), costs);
  costs.local_columns_per_reading = kAnyRows;
  costs.remote_columns_per_reading = kAnyRows;
  costs.attention_peak_share = constant(tma, "attention_peak_share", 1);
  costs.attention_tile_rows = tma.at("attention_tile_rows").at("value").integer(1, kAnyRows);
  return costs;
}

KernelCosts cuda_kernel_costs(bool reads_once) {
  static const KernelCosts tma = parse_kernel_costs(kernel_costs_json(), true, "kernel_costs.json");
  static const KernelCosts plain =
      parse_kernel_costs(kernel_costs_json(), false, "kernel_costs.json");
  return reads_once ? tma : plain;
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
  const CpuCosts costs = measured.value_or(assumed_cpu_costs(loop_us));
  return {.matmul = {{.rows = kAnyRows,
                      .local_share = costs.product_local_share,
                      .local_fixed_us = costs.product_fixed_us,
                      .link_fixed_us = costs.product_fixed_us}},
          .local_columns_per_reading = kAnyRows,
          .remote_columns_per_reading = kAnyRows,
          .peak_share = 1,  // the probe measures the backend's own products
          .attention_local_share = costs.attention_local_share,
          .attention_many_local_share = costs.attention_local_share,
          .attention_fixed_us = costs.attention_fixed_us,
          .attention_rows_per_reading = 8,
          .l2_bytes_per_s = 0,
          .norm_us = costs.norm_us,
          .pass_us = costs.pass_us};
}

}  // namespace dak
