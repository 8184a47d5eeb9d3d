#include "model/weights.h"

#include <algorithm>

#include "base/error.h"

namespace dak {

Weights Weights::shapes_of(const Program& program) {
  static constexpr float kNoValue = 0;
  Weights shapes({});
  for (const MatrixDecl& matrix : program.matrices) {
    const MatrixId id{static_cast<int32_t>(shapes.matrices_.size())};
    shapes.add_matrix(id, {.name = matrix.name(),
                           .rows = matrix.rows(),
                           .cols = matrix.cols,
                           .blocks = {},
                           .id = id.index});
  }
  shapes.vectors_.assign(program.vectors.size(), &kNoValue);
  return shapes;
}

const TieredTensor& Weights::add_matrix(MatrixId id, TieredTensor tensor) {
  const auto at = static_cast<size_t>(id.index);
  if (at >= matrices_.size()) matrices_.resize(at + 1);
  require(matrices_[at] == nullptr, "a weight was added twice");
  matrices_[at] = std::make_unique<TieredTensor>(std::move(tensor));
  return *matrices_[at];
}

void Weights::add_vector(VectorId id, const float* values) {
  const auto at = static_cast<size_t>(id.index);
  if (at >= vectors_.size()) vectors_.resize(at + 1);
  vectors_[at] = values;
}

// A tensor's blocks lie together, on a boundary as allocate has it.
int64_t Weights::bytes_to_move(TierIndex from) const {
  int64_t bytes = 0;
  for (const auto& tensor : matrices_) {
    const auto blocks = std::ranges::count(tensor->blocks, from, &RowBlock::tier);
    bytes += round_up_to_page(blocks * tensor->block_bytes());
  }
  return bytes;
}

void Weights::move_tier(TierIndex from, TierIndex to, std::byte* room) {
  const Arena& source = *arenas_[from];
  Arena& target = *arenas_[to];
  std::vector<std::byte> passing;  // where the CPU cannot write to the target
  for (const auto& tensor : matrices_) {
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

const TieredTensor& Weights::matrix(MatrixId id) const {
  const auto at = static_cast<size_t>(id.index);
  require(at < matrices_.size() && matrices_[at] != nullptr, "a weight that is not there");
  return *matrices_[at];
}

const float* Weights::vector(VectorId id) const {
  return id.index < 0 ? nullptr : vectors_.at(static_cast<size_t>(id.index));
}

}  // namespace dak
