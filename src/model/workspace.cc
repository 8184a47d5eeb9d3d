#include "model/workspace.h"

#include "ops/matmul.h"

namespace dak {
namespace {

int64_t rounded_f32_bytes(int64_t rows, int64_t cols) {
  const int64_t bytes = bytes_of(DType::kF32, rows * cols);
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

}  // namespace

Workspace::Workspace(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows,
                     Arena& arena) {
  const auto matrix = [&arena](int64_t rows, int64_t cols) {
    return make_tensor(arena.allocate(bytes_of(DType::kF32, rows * cols)), DType::kF32, rows, cols);
  };
  const auto heads_of = [&arena, &config, max_rows](int64_t heads) {
    const int64_t elements = max_rows * heads * config.head_size;
    return Tensor{.data = arena.allocate(bytes_of(DType::kF32, elements)),
                  .dtype = DType::kF32,
                  .rank = 3,
                  .shape = {max_rows, heads, config.head_size}};
  };
  hidden = matrix(max_rows, config.hidden);
  normed = matrix(max_rows, config.hidden);
  qkv = matrix(max_rows, config.q_rows() + 2 * config.kv_rows());
  q = heads_of(config.heads);
  k = heads_of(config.kv_heads);
  v = heads_of(config.kv_heads);
  attended = heads_of(config.heads);
  mlp = matrix(max_rows, config.intermediate);
  last = matrix(max_logit_rows, config.hidden);
  logits = matrix(max_logit_rows, config.vocabulary);
}

int64_t Workspace::size_bytes(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows) {
  return 2 * rounded_f32_bytes(max_rows, config.hidden) +
         rounded_f32_bytes(max_rows, config.q_rows() + 2 * config.kv_rows()) +
         2 * rounded_f32_bytes(max_rows, config.q_rows()) +
         2 * rounded_f32_bytes(max_rows, config.kv_rows()) +
         rounded_f32_bytes(max_rows, config.intermediate) +
         rounded_f32_bytes(max_logit_rows, config.hidden) +
         rounded_f32_bytes(max_logit_rows, config.vocabulary);
}

}  // namespace dak
