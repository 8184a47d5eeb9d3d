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

// A tensor's blocks lie together, on a boundary as allocate has it.
int64_t Weights::bytes_to_move(TierIndex from) const {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : matrices_) {
    const auto blocks = std::ranges::count(tensor->blocks, from, &RowBlock::tier);
    bytes += round_up_to_page(blocks * tensor->block_bytes());
  }
  return bytes;
}

void Weights::move_tier(TierIndex from, TierIndex to, std::byte* room) {
  const Arena& source = *arenas_[from];
  Arena& target = *arenas_[to];
  std::vector<std::byte> passing;  // where the CPU cannot write to the target
  for (const auto& [name, tensor] : matrices_) {
    const std::byte* begin = room;
    const auto bytes = static_cast<size_t>(tensor->block_bytes());
    for (RowBlock& block : tensor->blocks) {
      if (block.tier != from) continue;
      if (target.host_writable()) {
        source.read(block.data, {room, bytes});
      } else {
        passing.resize(bytes);
        source.read(block.data, passing);
        target.write(room, passing);
      }
      block = {.data = room, .tier = to};
      room += bytes;
    }
    room += round_up_to_page(room - begin) - (room - begin);
  }
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
