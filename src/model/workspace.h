// Activations of a forward pass, allocated once for the largest batch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "memory/arena.h"
#include "ops/context.h"
#include "pass/program.h"
#include "plan/plan.h"

namespace dak {

class Workspace {
 public:
  // What `program` declares, for at most `max_rows` tokens a batch and logits of at most
  // `max_logit_rows` of them. `input_dtype`: of tensors that only products read, see
  // matmul_input_dtype.
  Workspace(const Program& program, int64_t max_rows, int64_t max_logit_rows, Arena& arena,
            DType input_dtype = DType::kF32);

  // What the constructor takes from the arena.
  static int64_t size_bytes(const Program& program, int64_t max_rows, int64_t max_logit_rows,
                            DType input_dtype = DType::kF32);
  // Shapes alone, for tracing.
  static Workspace shapes_of(const Program& program, int64_t max_rows, int64_t max_logit_rows);

  int64_t max_rows() const { return max_rows_; }
  int64_t max_logit_rows() const { return max_logit_rows_; }
  // Its first `rows` rows. Throws kInternal if it has fewer.
  Tensor rows_of(TensorId id, int64_t rows) const;

 private:
  Workspace(int64_t max_rows, int64_t max_logit_rows)
      : max_rows_(max_rows), max_logit_rows_(max_logit_rows) {}

  int64_t max_rows_;
  int64_t max_logit_rows_;
  std::vector<Tensor> tensors_;  // by TensorId
};

// What matmuls want their inputs in: f32 on the CPU; on a GPU the weights' own 16 bits, if all
// agree and rows are whole 16-byte units.
DType matmul_input_dtype(Backend backend, const std::vector<Operand>& operands);

}  // namespace dak
