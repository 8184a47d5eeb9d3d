// Tokens per second against the local budget, drawn.
#pragma once

#include <string>
#include <vector>

#include "cli/plan_question.h"

namespace dak {

struct BudgetSeries {
  std::string name;  // "greedy"
  std::vector<BudgetPoint> points;
};

// A picture of its own: no script, no font, no file beside it. `now_bytes`: the budget that is
// planned for, marked.
std::string budget_svg(const std::string& title, const std::vector<BudgetSeries>& series,
                       int64_t now_bytes);

}  // namespace dak
