#include "model/weights.h"

#include <algorithm>

#include "base/error.h"
#include "ops/matmul.h"

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

}  // namespace

int64_t MatrixSpec::rows() const { return sum_rows(parts); }
int64_t VectorSpec::size() const { return sum_rows(parts); }

MatrixSpec::SourceRow MatrixSpec::source_of(int64_t row) const {
  if (gated) {
    const GatedRow source = gated_source_row(row);
    return {.part = source.is_up ? size_t{1} : size_t{0}, .row = source.row};
  }
  size_t part = 0;
  while (row >= parts[part].rows) row -= parts[part++].rows;
  const WeightPart& from = parts[part];
  if (from.rope_pair_heads > 0) row = paired_row(row, from.rows, from.rope_pair_heads);
  return {.part = part, .row = row};
}

TieredTensor& Weights::add_matrix(TieredTensor tensor) {
  auto owned = std::make_unique<TieredTensor>(std::move(tensor));
  TieredTensor& added = *owned;
  const bool is_new = matrices_.emplace(added.name, std::move(owned)).second;
  require(is_new, "a weight was added twice");
  return added;
}

const TieredTensor& Weights::matrix(const std::string& name) const {
  const auto found = matrices_.find(name);
  require(found != matrices_.end(), fmt::format("no weight {}", name));
  return *found->second;
}

const float* Weights::vector(const std::string& name) const {
  const auto found = vectors_.find(name);
  return found == vectors_.end() ? nullptr : found->second;
}

}  // namespace dak
