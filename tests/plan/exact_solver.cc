#include "exact_solver.h"

#include <glpk.h>

#include <cmath>
#include <memory>

#include "base/error.h"

namespace dak::test {
namespace {

// Columns and rows are added as they come; GLPK counts from 1.
class Glpk {
 public:
  Glpk() : lp_(glp_create_prob(), glp_delete_prob) {
    glp_term_out(GLP_OFF);
    glp_set_obj_dir(lp_.get(), GLP_MIN);
  }

  int column(double cost, double most, bool whole = false) {
    const int index = glp_add_cols(lp_.get(), 1);
    glp_set_obj_coef(lp_.get(), index, cost);
    glp_set_col_bnds(lp_.get(), index, most > 0 ? GLP_DB : GLP_FX, 0, most);
    if (whole) glp_set_col_kind(lp_.get(), index, GLP_IV);
    return index;
  }
  int free_column(double cost) {
    const int index = glp_add_cols(lp_.get(), 1);
    glp_set_obj_coef(lp_.get(), index, cost);
    glp_set_col_bnds(lp_.get(), index, GLP_LO, 0, 0);
    return index;
  }
  // sum of values x columns >= least; divided by the largest value, or GLPK may cycle.
  void row(const std::vector<int>& columns, const std::vector<double>& values, double least) {
    double unit = 0;
    for (const double value : values) unit = std::max(unit, std::abs(value));
    if (unit == 0) unit = 1;
    const int index = glp_add_rows(lp_.get(), 1);
    glp_set_row_bnds(lp_.get(), index, GLP_LO, least / unit, 0);
    std::vector<int> indices{0};
    std::vector<double> factors{0};
    for (size_t i = 0; i < columns.size(); ++i) {
      if (values[i] == 0) continue;
      indices.push_back(columns[i]);
      factors.push_back(values[i] / unit);
    }
    glp_set_mat_row(lp_.get(), index, static_cast<int>(indices.size()) - 1, indices.data(),
                    factors.data());
  }

  std::optional<double> solve() {
    glp_smcp options;
    glp_init_smcp(&options);
    options.msg_lev = GLP_MSG_OFF;
    options.it_lim = 100'000;
    require(glp_simplex(lp_.get(), &options) == 0, "GLPK failed");
    if (glp_get_status(lp_.get()) != GLP_OPT) return std::nullopt;
    return glp_get_obj_val(lp_.get());
  }
  std::optional<double> solve_whole() {
    if (!solve()) return std::nullopt;
    glp_iocp options;
    glp_init_iocp(&options);
    options.msg_lev = GLP_MSG_OFF;
    require(glp_intopt(lp_.get(), &options) == 0, "GLPK failed");
    if (glp_mip_status(lp_.get()) != GLP_OPT) return std::nullopt;
    return glp_mip_obj_val(lp_.get());
  }

 private:
  std::unique_ptr<glp_prob, decltype(&glp_delete_prob)> lp_;
};

// Blocks of each item in each remote tier, or their share of the item, and a time for each of its
// terms.
void build(const PlacementProblem& problem, bool whole, Glpk& lp, double& constant) {
  const size_t tiers = problem.capacity_bytes.size();
  std::vector<int> all;
  std::vector<double> all_bytes;
  std::vector<std::vector<int>> by_tier(tiers);
  std::vector<std::vector<double>> bytes_by_tier(tiers);
  double total = 0;
  for (const PlacedItem& item : problem.items) {
    const auto size = static_cast<double>(item.size_bytes());
    const double most = whole ? static_cast<double>(item.blocks) : item.blocks > 0 ? 1 : 0;
    const double unit_bytes = most > 0 ? size / most : 0;
    total += size;
    std::vector<int> own(tiers);
    for (size_t t = 1; t < tiers; ++t) {
      own[t] = lp.column(0, most, whole);
      all.push_back(own[t]);
      all_bytes.push_back(unit_bytes);
      by_tier[t].push_back(own[t]);
      bytes_by_tier[t].push_back(-unit_bytes);
    }
    lp.row({own.begin() + 1, own.end()}, std::vector<double>(tiers - 1, -1.0), -most);
    for (const PlacedItem::Term& term : item.terms) {
      constant += term.weight * term.cost.fixed_s;
      const int time = lp.free_column(term.weight);
      for (const CostLine& line : term.cost.lines) {
        std::vector<int> columns{time};
        std::vector<double> values{1};
        for (size_t t = 1; t < tiers; ++t) {
          columns.push_back(own[t]);
          values.push_back((line.per_byte[0] - line.per_byte[t]) * unit_bytes);
        }
        lp.row(columns, values, line.fixed_s + line.per_byte[0] * size);
      }
    }
  }
  const double need = problem.offload_bytes
                          ? static_cast<double>(*problem.offload_bytes)
                          : total - static_cast<double>(problem.capacity_bytes[0]);
  if (need > 0) lp.row(all, all_bytes, need);
  if (problem.offload_bytes) {  // exactly so much
    std::vector<double> less = all_bytes;
    for (double& factor : less) factor = -factor;
    lp.row(all, less, -need);
  }
  for (size_t t = 1; t < tiers; ++t) {
    lp.row(by_tier[t], bytes_by_tier[t], -static_cast<double>(problem.capacity_bytes[t]));
  }
}

}  // namespace

std::optional<double> least_cost(const PlacementProblem& problem) {
  Glpk lp;
  double constant = 0;
  build(problem, /*whole=*/false, lp, constant);
  const std::optional<double> least = lp.solve();
  return least ? std::optional(*least + constant) : std::nullopt;
}

std::optional<double> least_cost_of_blocks(const PlacementProblem& problem) {
  Glpk lp;
  double constant = 0;
  build(problem, /*whole=*/true, lp, constant);
  const std::optional<double> least = lp.solve_whole();
  return least ? std::optional(*least + constant) : std::nullopt;
}

std::optional<double> least_of(const LinearProgram& program) {
  Glpk lp;
  std::vector<int> columns;
  for (const double cost : program.cost) columns.push_back(lp.free_column(cost));
  for (const LinearProgram::Row& row : program.rows) lp.row(columns, row.factors, row.least);
  return lp.solve();
}

}  // namespace dak::test
