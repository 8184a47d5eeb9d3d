#include "plan/linear_program.h"

#include <cmath>

#include "base/error.h"

namespace dak {
namespace {

constexpr double kZero = 1e-11;
// Steps without progress after which Bland's rule takes over, which cannot cycle (Bland, New finite
// pivoting rules for the simplex method, 1977).
constexpr int kPatience = 50;
constexpr int kMostSteps = 200'000;

// The simplex method on the dual program: maximise least . y over y >= 0 with columns . y <= cost.
// Since cost >= 0, y = 0 is where it starts. One column for each row of the program, one slack for
// each variable; the program's x are the slacks' prices at the end.
class DualTableau {
 public:
  explicit DualTableau(const LinearProgram& program)
      : height_(program.cost.size()),
        width_(program.rows.size() + program.cost.size() + 1),
        cells_((height_ + 1) * width_),
        basis_(height_) {
    const size_t columns = program.rows.size();
    for (size_t i = 0; i < height_; ++i) {
      for (size_t j = 0; j < columns; ++j) at(i, j) = program.rows[j].factors[i];
      at(i, columns + i) = 1;
      at(i, width_ - 1) = program.cost[i];
      basis_[i] = columns + i;
    }
    for (size_t j = 0; j < columns; ++j) at(height_, j) = -program.rows[j].least;
  }

  // False: unbounded, so that the program has no solution.
  bool maximise() {
    int stalled = 0;
    double value = 0;
    for (int step = 0; step < kMostSteps; ++step) {
      const size_t column = entering(stalled > kPatience);
      if (column == kNone) return true;
      const size_t row = leaving(column);
      if (row == kNone) return false;
      pivot(row, column);
      stalled = at(height_, width_ - 1) > value + kZero ? 0 : stalled + 1;
      value = at(height_, width_ - 1);
    }
    require(false, "the simplex method does not end");
    return false;
  }

  double price(size_t variable) { return at(height_, width_ - 1 - height_ + variable); }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  double& at(size_t row, size_t column) { return cells_[row * width_ + column]; }

  size_t entering(bool bland) {
    size_t best = kNone;
    double least = -kZero;
    for (size_t j = 0; j + 1 < width_; ++j) {
      if (at(height_, j) >= least) continue;
      best = j;
      if (bland) return best;
      least = at(height_, j);
    }
    return best;
  }

  size_t leaving(size_t column) {
    size_t best = kNone;
    double least = 0;
    for (size_t i = 0; i < height_; ++i) {
      if (at(i, column) <= kZero) continue;
      const double ratio = at(i, width_ - 1) / at(i, column);
      const bool tie = best != kNone && ratio == least;
      if (best == kNone || ratio < least || (tie && basis_[i] < basis_[best])) {
        best = i;
        least = ratio;
      }
    }
    return best;
  }

  void pivot(size_t row, size_t column) {
    const double scale = 1 / at(row, column);
    for (size_t j = 0; j < width_; ++j) at(row, j) *= scale;
    for (size_t i = 0; i <= height_; ++i) {
      const double factor = at(i, column);
      if (i == row || factor == 0) continue;
      for (size_t j = 0; j < width_; ++j) at(i, j) -= factor * at(row, j);
      at(i, column) = 0;
    }
    basis_[row] = column;
  }

  size_t height_;
  size_t width_;
  std::vector<double> cells_;  // [height + 1, width]: constraints, then the objective
  std::vector<size_t> basis_;  // column of each row
};

}  // namespace

std::optional<std::vector<double>> solve(const LinearProgram& program) {
  for (const double cost : program.cost) require(cost >= 0, "a cost below zero has no least");
  DualTableau tableau(program);
  if (!tableau.maximise()) return std::nullopt;
  std::vector<double> x(program.cost.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::max(0.0, tableau.price(i));
  return x;
}

}  // namespace dak
