// Activations of a forward pass, allocated once for the largest batch.
#pragma once

#include <cstdint>

#include "base/tensor.h"
#include "memory/arena.h"
#include "model/config.h"

namespace dak {

class Workspace {
 public:
  // For at most `max_rows` tokens a batch and logits of at most `max_logit_rows` of them.
  Workspace(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows, Arena& arena);

  // What the constructor takes from the arena.
  static int64_t size_bytes(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows);

  // All f32.
  Tensor hidden;    // [max_rows, hidden]: the residual stream
  Tensor normed;    // [max_rows, hidden]
  Tensor qkv;       // [max_rows, q_rows + 2 kv_rows]
  Tensor q;         // [max_rows, heads, head_size]
  Tensor k;         // [max_rows, kv_heads, head_size]
  Tensor v;         // [max_rows, kv_heads, head_size]
  Tensor attended;  // [max_rows, heads, head_size]
  Tensor mlp;       // [max_rows, intermediate]
  Tensor last;      // [max_logit_rows, hidden]: rows whose logits are wanted
  Tensor logits;    // [max_logit_rows, vocabulary]
};

}  // namespace dak
