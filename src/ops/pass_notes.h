// In place of a backend: operations note what they are, and nothing is computed. Tensors need no
// memory and weights no row blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "pass/program.h"

namespace dak {

class PassNotes {
 public:
  // A pass of `rows` rows; what runs on fewer runs on those that logits are wanted of.
  explicit PassNotes(int64_t rows) : rows_(rows) {}

  void enter_layer(int64_t layer) { layer_ = layer; }
  void leave_layer() { layer_ = -1; }

  void add(Step step, int64_t rows) {
    step.layer = layer_;
    step.for_logits = rows < rows_;
    steps_.push_back(step);
  }
  const std::vector<Step>& steps() const { return steps_; }

 private:
  int64_t rows_;
  int64_t layer_ = -1;
  std::vector<Step> steps_;
};

}  // namespace dak
