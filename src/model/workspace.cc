#include "model/workspace.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace dak {
namespace {

Tensor shaped(const TensorDecl& decl, int64_t max_rows, int64_t max_logit_rows, DType input) {
  const int64_t rows = decl.for_logits ? max_logit_rows : max_rows;
  const DType dtype = decl.product_input ? input : DType::kF32;
  Tensor tensor = make_tensor(nullptr, dtype, rows, decl.cols);
  if (decl.heads == 0) return tensor;
  tensor.rank = 3;
  tensor.shape = {rows, decl.heads, decl.cols};
  return tensor;
}

int64_t bytes_of_tensor(const Tensor& tensor) { return bytes_of(tensor.dtype, tensor.elements()); }

}  // namespace

Workspace::Workspace(const Program& program, int64_t max_rows, int64_t max_logit_rows, Arena& arena,
                     DType input_dtype)
    : Workspace(max_rows, max_logit_rows) {
  for (const TensorDecl& decl : program.tensors) {
    Tensor tensor = shaped(decl, max_rows, max_logit_rows, input_dtype);
    tensor.data = arena.allocate(bytes_of_tensor(tensor));
    tensors_.push_back(tensor);
  }
}

Workspace Workspace::shapes_of(const Program& program, int64_t max_rows, int64_t max_logit_rows) {
  Workspace shapes(max_rows, max_logit_rows);
  for (const TensorDecl& decl : program.tensors) {
    shapes.tensors_.push_back(shaped(decl, max_rows, max_logit_rows, DType::kF32));
  }
  return shapes;
}

int64_t Workspace::size_bytes(const Program& program, int64_t max_rows, int64_t max_logit_rows,
                              DType input_dtype) {
  int64_t total = 0;
  for (const TensorDecl& decl : program.tensors) {
    total += round_up_to_page(bytes_of_tensor(shaped(decl, max_rows, max_logit_rows, input_dtype)));
  }
  return total;
}

Tensor Workspace::rows_of(TensorId id, int64_t rows) const {
  const Tensor& tensor = tensors_.at(static_cast<size_t>(id.index));
  require(rows <= tensor.dim(0), "batch larger than its workspace");
  return tensor.first_rows(rows);
}

DType matmul_input_dtype(Backend backend, const std::vector<Operand>& operands) {
  constexpr int64_t kUnit = 8;  // 16 bytes of 16-bit values, what a tensor copy wants of a row
  if (backend == Backend::kCpu) return DType::kF32;
  std::optional<DType> common;
  for (const Operand& operand : operands) {
    if (operand.use != OperandUse::kMatmul) continue;
    if (operand.cols % kUnit != 0 || (common && *common != operand.dtype)) return DType::kF32;
    common = operand.dtype;
  }
  return common.value_or(DType::kF32);
}

}  // namespace dak
