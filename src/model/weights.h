// A model's weights: what they are called, which stored tensors they are made of, and where they
// lie once loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "memory/arena.h"
#include "memory/tiered_tensor.h"
#include "plan/plan.h"

namespace dak {

// Whose tensor names a checkpoint uses.
enum class Naming : uint8_t { kHuggingFace, kGguf };

// A stored tensor that gives `rows` rows (or values) to a weight.
struct WeightPart {
  std::string tensor;
  int64_t rows = 0;
  // GGUF's llama stores q and k with each head's rows paired for adjacent-pair RoPE; > 0 undoes it
  // for that many heads.
  int64_t rope_pair_heads = 0;
};

// A matrix: its parts one after the other, or (gated) interleaved as matmul_gated wants.
struct MatrixSpec {
  std::string name;
  OperandUse use = OperandUse::kMatmul;
  int64_t cols = 0;
  std::vector<WeightPart> parts;
  bool gated = false;

  int64_t rows() const;

  struct SourceRow {
    size_t part;
    int64_t row;
  };
  SourceRow source_of(int64_t row) const;
};

// A norm or bias, kept as f32 in tier 0.
struct VectorSpec {
  std::string name;
  std::vector<WeightPart> parts;

  int64_t size() const;
};

struct WeightSpecs {
  std::vector<MatrixSpec> matrices;
  std::vector<VectorSpec> vectors;
};

// Loaded weights by name. Owns the arenas they lie in.
class Weights {
 public:
  explicit Weights(std::vector<std::unique_ptr<Arena>> arenas) : arenas_(std::move(arenas)) {}

  Arena& arena(TierIndex tier) { return *arenas_[tier]; }
  TieredTensor& add_matrix(TieredTensor tensor);
  void add_vector(const std::string& name, const float* values) { vectors_[name] = values; }

  // What `move_tier` takes of the other tier's arena.
  int64_t bytes_to_move(TierIndex from) const;
  // Row blocks of one tier move to `room`, allocated from the other's arena. The old places stay
  // until their arena is released; no kernel may be reading, or know the old ones.
  void move_tier(TierIndex from, TierIndex to, std::byte* room);

  const TieredTensor& matrix(const std::string& name) const;  // kInternal: not there
  const float* vector(const std::string& name) const;         // nullptr: the model has none

 private:
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::unordered_map<std::string, std::unique_ptr<TieredTensor>> matrices_;
  std::unordered_map<std::string, const float*> vectors_;
};

}  // namespace dak
