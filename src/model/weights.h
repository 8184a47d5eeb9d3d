// A model's weights once they are loaded: where they lie.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/arena.h"
#include "memory/tiered_tensor.h"
#include "pass/program.h"

namespace dak {

// Whose tensor names a checkpoint uses.
enum class Naming : uint8_t { kHuggingFace, kGguf };

// Loaded weights, as a Program declares them. Owns the arenas they lie in.
class Weights {
 public:
  explicit Weights(std::vector<std::unique_ptr<Arena>> arenas) : arenas_(std::move(arenas)) {}
  // Their shapes alone, for tracing: matrices without row blocks, vectors that must not be read.
  static Weights shapes_of(const Program& program);

  Arena& arena(TierIndex tier) { return *arenas_[tier]; }
  const TieredTensor& add_matrix(MatrixId id, TieredTensor tensor);
  void add_vector(VectorId id, const float* values);

  // What `move_tier` takes of the other tier's arena.
  int64_t bytes_to_move(TierIndex from) const;
  // Row blocks of one tier move to `room`, allocated from the other's arena. The old places stay
  // until their arena is released; no kernel may be reading, or know the old ones.
  void move_tier(TierIndex from, TierIndex to, std::byte* room);

  const TieredTensor& matrix(MatrixId id) const;  // kInternal: not there
  const float* vector(VectorId id) const;         // nullptr: the model has none

 private:
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::vector<std::unique_ptr<TieredTensor>> matrices_;  // by MatrixId; stay where they are
  std::vector<const float*> vectors_;                    // by VectorId
};

}  // namespace dak
