// Activations of a forward pass, allocated once for the largest batch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "memory/arena.h"
#include "model/config.h"
#include "ops/context.h"
#include "plan/plan.h"

namespace dak {

class Workspace {
 public:
  // For at most `max_rows` tokens a batch and logits of at most `max_logit_rows` of them.
  // `input_dtype`: of tensors that only matmuls read, see matmul_input_dtype.
  Workspace(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows, Arena& arena,
            DType input_dtype = DType::kF32);

  // What the constructor takes from the arena.
  static int64_t size_bytes(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows,
                            DType input_dtype = DType::kF32);

  Tensor hidden;  // [max_rows, hidden] f32: the residual stream
  Tensor qkv;     // [max_rows, q_rows + 2 kv_rows] f32
  Tensor q;       // [max_rows, heads, head_size] f32
  Tensor k;       // [max_rows, kv_heads, head_size] f32
  Tensor v;       // [max_rows, kv_heads, head_size] f32
  Tensor last;    // [max_logit_rows, hidden] f32: rows whose logits are wanted
  Tensor logits;  // [max_logit_rows, vocabulary] f32
  // Of input_dtype:
  Tensor normed;       // [max_rows, hidden]
  Tensor attended;     // [max_rows, heads, head_size]
  Tensor mlp;          // [max_rows, intermediate]
  Tensor last_normed;  // [max_logit_rows, hidden]
};

// What matmuls want their inputs in: f32 on the CPU; on a GPU the weights' own 16 bits, if all
// agree and rows are whole 16-byte units.
DType matmul_input_dtype(Backend backend, const ModelConfig& config,
                         const std::vector<Operand>& operands);

}  // namespace dak
