#include "pass/program.h"

#include <algorithm>

#include "memory/weight_layout.h"
#include "pass/names.h"

namespace dak {
namespace {

int64_t sum_rows(const std::vector<WeightPart>& parts) {
  int64_t rows = 0;
  for (const WeightPart& part : parts) rows += part.rows;
  return rows;
}

// Row `row` of the rotate-half order, in GGUF's order for llama: within a head, dimension j of the
// first half and of the second half are neighbours.
int64_t paired_row(int64_t row, int64_t rows, int64_t heads) {
  const int64_t head_size = rows / heads;
  const int64_t head = row / head_size;
  const int64_t in_head = row % head_size;
  const int64_t half = head_size / 2;
  return head * head_size + (in_head % half) * 2 + in_head / half;
}

template <class Id, class Decl>
Id added(std::vector<Decl>& list, Decl decl) {
  list.push_back(std::move(decl));
  return {.index = static_cast<int32_t>(list.size()) - 1};
}

template <class Id, class Decl>
std::vector<Id> ids_of(const std::vector<Decl>& list) {
  std::vector<Id> ids;
  for (size_t i = 0; i < list.size(); ++i) ids.push_back({.index = static_cast<int32_t>(i)});
  return ids;
}

}  // namespace

std::string MatrixDecl::name() const { return name_of_part(layer, part); }
std::string MatrixDecl::kind() const { return kind_of_part(layer, part); }
int64_t MatrixDecl::rows() const { return sum_rows(parts); }

MatrixDecl::SourceRow MatrixDecl::source_of(int64_t row) const {
  if (gated) {
    const GatedRow source = gated_source_row(row);
    return {.part = source.is_up ? size_t{1} : size_t{0}, .row = source.row};
  }
  size_t at = 0;
  while (row >= parts[at].rows) row -= parts[at++].rows;
  const WeightPart& from = parts[at];
  if (from.rope_pair_heads > 0) row = paired_row(row, from.rows, from.rope_pair_heads);
  return {.part = at, .row = row};
}

std::string VectorDecl::name() const { return name_of_part(layer, part); }
int64_t VectorDecl::size() const { return sum_rows(parts); }

MatrixId Program::declare(MatrixDecl matrix) {
  return added<MatrixId>(matrices, std::move(matrix));
}
VectorId Program::declare(VectorDecl vector) { return added<VectorId>(vectors, std::move(vector)); }
TensorId Program::declare(TensorDecl tensor) { return added<TensorId>(tensors, tensor); }

std::vector<MatrixId> Program::matrix_ids() const { return ids_of<MatrixId>(matrices); }
std::vector<VectorId> Program::vector_ids() const { return ids_of<VectorId>(vectors); }

std::vector<bool> Program::matrices_of(StepKind kind) const {
  std::vector<bool> read(matrices.size());
  for (const Step& step : steps) {
    if (step.kind == kind) read.at(static_cast<size_t>(step.matrix.index)) = true;
  }
  return read;
}

int64_t Program::attention_layers() const {
  return std::ranges::count(steps, StepKind::kAttention, &Step::kind);
}

}  // namespace dak
