// Which tensor serves as embedding table and output projection where config.json ties the two.
#include <algorithm>
#include <vector>

#include "model/config.h"
#include "model/declared_model.h"
#include "model/loader.h"

namespace dak {
namespace {

// The stored tensor of the matrix of the first step of a kind; a matrix that is one tensor.
const StoredTensor* tensor_of_step(const Program& program, StepKind kind, bool for_logits,
                                   const Checkpoint& checkpoint) {
  const auto step = std::ranges::find_if(program.steps, [&](const Step& one) {
    return one.kind == kind && one.for_logits == for_logits;
  });
  require(step != program.steps.end(), "a model without an embedding or logits");
  return find_tensor(checkpoint, program.matrix(step->matrix).parts.front().tensor);
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
  const Program program = program_of(untied);
  const StoredTensor* embedding = tensor_of_step(program, StepKind::kLookup, false, checkpoint);
  const StoredTensor* head = tensor_of_step(program, StepKind::kProduct, true, checkpoint);
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
