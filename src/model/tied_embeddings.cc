// Which tensor serves as embedding table and output projection where config.json ties the two.
#include <algorithm>
#include <vector>

#include "model/config.h"
#include "model/family.h"
#include "model/loader.h"

namespace dak {
namespace {

// The stored tensor of a weight that is one tensor.
const StoredTensor* find_weight(const WeightSpecs& specs, std::string_view name,
                                const Checkpoint& checkpoint) {
  for (const MatrixSpec& spec : specs.matrices) {
    if (spec.name == name) return find_tensor(checkpoint, spec.parts.front().tensor);
  }
  return nullptr;
}

// Values, whatever the types; tensors that cannot be compared are not the same.
bool same_values(const Checkpoint& checkpoint, const StoredTensor& a, const StoredTensor& b) {
  if (a.shape != b.shape || !a.readable() || !b.readable()) return false;
  constexpr int64_t kRows = 1024;
  for (int64_t row = 0; row < a.rows(); row += kRows) {
    const int64_t count = std::min(kRows, a.rows() - row);
    std::vector<float> of_a(static_cast<size_t>(count * a.cols()));
    std::vector<float> of_b(of_a.size());
    checkpoint.read_rows(a, row, count, of_a);
    checkpoint.read_rows(b, row, count, of_b);
    if (of_a != of_b) return false;
  }
  return true;
}

}  // namespace

std::string settle_tied_embeddings(const Checkpoint& checkpoint, ModelConfig& config) {
  if (!config.tied_embeddings) return {};
  ModelConfig untied = config;
  untied.tied_embeddings = false;
  const WeightSpecs specs = family_named(config.family).weights(untied, Naming::kHuggingFace);
  const StoredTensor* embedding = find_weight(specs, "embedding", checkpoint);
  const StoredTensor* head = find_weight(specs, "lm_head", checkpoint);
  if (head == nullptr) return {};
  if (embedding == nullptr) {
    config.embedding_as_lm_head = true;
    return {};
  }
  if (same_values(checkpoint, *embedding, *head)) return {};
  config.tied_embeddings = false;
  return fmt::format(
      "tie_word_embeddings is true, but {} and {} differ: they are not tied, as in transformers",
      embedding->name, head->name);
}

}  // namespace dak
