#include "model/workspace.h"

#include <array>
#include <optional>

namespace dak {
namespace {

// A tensor of the workspace: its place and its shape; heads 0: a matrix.
struct Part {
  Tensor Workspace::*tensor;
  DType dtype;
  int64_t rows;
  int64_t cols;
  int64_t heads = 0;
};

std::array<Part, 11> parts_of(const ModelConfig& c, int64_t rows, int64_t logit_rows, DType input) {
  constexpr DType kF32 = DType::kF32;
  return {{{&Workspace::hidden, kF32, rows, c.hidden},
           {&Workspace::qkv, kF32, rows, c.q_rows() + 2 * c.kv_rows()},
           {&Workspace::q, kF32, rows, c.head_size, c.heads},
           {&Workspace::k, kF32, rows, c.head_size, c.kv_heads},
           {&Workspace::v, kF32, rows, c.head_size, c.kv_heads},
           {&Workspace::last, kF32, logit_rows, c.hidden},
           {&Workspace::logits, kF32, logit_rows, c.vocabulary},
           {&Workspace::normed, input, rows, c.hidden},
           {&Workspace::attended, input, rows, c.head_size, c.heads},
           {&Workspace::mlp, input, rows, c.intermediate},
           {&Workspace::last_normed, input, logit_rows, c.hidden}}};
}

int64_t bytes_of_part(const Part& part) {
  return bytes_of(part.dtype, part.rows * part.cols * std::max<int64_t>(1, part.heads));
}

}  // namespace

Workspace::Workspace(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows,
                     Arena& arena, DType input_dtype) {
  for (const Part& part : parts_of(config, max_rows, max_logit_rows, input_dtype)) {
    Tensor& tensor = this->*part.tensor;
    tensor = make_tensor(arena.allocate(bytes_of_part(part)), part.dtype, part.rows, part.cols);
    if (part.heads == 0) continue;
    tensor.rank = 3;
    tensor.shape = {part.rows, part.heads, part.cols};
  }
}

int64_t Workspace::size_bytes(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows,
                              DType input_dtype) {
  int64_t total = 0;
  for (const Part& part : parts_of(config, max_rows, max_logit_rows, input_dtype)) {
    total += round_up_to_page(bytes_of_part(part));
  }
  return total;
}

DType matmul_input_dtype(Backend backend, const ModelConfig& config,
                         const std::vector<Operand>& operands) {
  constexpr int64_t kUnit = 8;  // 16 bytes of 16-bit values, what a tensor copy wants of a row
  if (backend == Backend::kCpu || config.hidden % kUnit != 0 || config.q_rows() % kUnit != 0 ||
      config.intermediate % kUnit != 0) {
    return DType::kF32;
  }
  std::optional<DType> common;
  for (const Operand& operand : operands) {
    if (operand.use != OperandUse::kMatmul) continue;
    if (common && *common != operand.dtype) return DType::kF32;
    common = operand.dtype;
  }
  return common.value_or(DType::kF32);
}

}  // namespace dak
