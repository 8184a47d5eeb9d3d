// What a forward pass is, as plain data: the weights and activations that a model declares, and the
// operations that its `forward` runs, in order. Loader, planner, cost model, workspace, prefetch
// and reports read this and nothing else about a model's structure.
//
// A model's constructor declares and keeps the handles; tracing `forward` gives the steps
// (model/declared_model.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dak {

// Handles: places in the lists of a Program. -1: the model has none.
struct MatrixId {
  int32_t index = -1;
  bool operator==(const MatrixId&) const = default;
};
struct VectorId {
  int32_t index = -1;
};
struct TensorId {
  int32_t index = -1;
};

// A stored tensor that gives `rows` rows (or values) to a weight.
struct WeightPart {
  std::string tensor;
  int64_t rows = 0;
  // GGUF's llama stores q and k with each head's rows paired for adjacent-pair RoPE; > 0 undoes it
  // for that many heads.
  int64_t rope_pair_heads = 0;
};

// A matrix that the plan places: its parts one after the other, or (gated) interleaved as
// matmul_gated wants.
struct MatrixDecl {
  std::string part;    // "qkv"
  int64_t layer = -1;  // -1: outside of the layers
  int64_t cols = 0;
  std::vector<WeightPart> parts;
  bool gated = false;

  std::string name() const;  // "layers.7.qkv"
  std::string kind() const;  // "layers.*.qkv"
  int64_t rows() const;

  struct SourceRow {
    size_t part;
    int64_t row;
  };
  // Where row `row` comes from: one of `parts`, and which of its rows.
  SourceRow source_of(int64_t row) const;
};

enum class VectorRole : uint8_t { kNorm, kBias };

// A norm's weight or a bias, kept as f32 in tier 0.
struct VectorDecl {
  std::string part;  // "mlp_norm"
  int64_t layer = -1;
  VectorRole role = VectorRole::kNorm;
  std::vector<WeightPart> parts;

  std::string name() const;
  int64_t size() const;
};

// An activation: [rows, cols] or [rows, heads, cols], in the workspace.
struct TensorDecl {
  int64_t cols = 0;
  int64_t heads = 0;        // 0: a matrix
  bool for_logits = false;  // a row for each that logits are wanted of, else for each of the batch
  bool product_input = false;  // only products read it: of the type that they want, else f32
};

enum class StepKind : uint8_t {
  kLookup,     // a row of a matrix for each row of the batch
  kNorm,       //
  kProduct,    // with a matrix
  kHeads,      // q, k and v out of their product, k and v into the cache
  kAttention,  //
  kGather,     // the rows that logits are wanted of
};

// Of one token in one layer.
struct AttentionShape {
  int64_t query_values = 0;  // heads x head size
  int64_t kv_values = 0;     // keys and values
  int64_t kv_heads = 0;
  int64_t window = 0;  // tokens that it looks back; 0: all

  bool operator==(const AttentionShape&) const = default;
};

struct Step {
  StepKind kind = StepKind::kProduct;
  int64_t layer = -1;             // -1: before the first or after the last
  MatrixId matrix = {};           // kLookup, kProduct
  bool for_logits = false;        // on the rows that logits are wanted of alone
  int64_t cols = 0;               // kNorm: of what is normalised
  AttentionShape attention = {};  // kAttention
};

struct Program {
  std::vector<MatrixDecl> matrices;
  std::vector<VectorDecl> vectors;
  std::vector<TensorDecl> tensors;
  std::vector<Step> steps;  // of a pass that wants logits

  MatrixId declare(MatrixDecl matrix);
  VectorId declare(VectorDecl vector);
  TensorId declare(TensorDecl tensor);

  const MatrixDecl& matrix(MatrixId id) const { return matrices[static_cast<size_t>(id.index)]; }
  const VectorDecl& vector(VectorId id) const { return vectors[static_cast<size_t>(id.index)]; }
  std::vector<MatrixId> matrix_ids() const;  // of all, in order
  std::vector<VectorId> vector_ids() const;
  // Of each matrix, whether a step of this kind reads it.
  std::vector<bool> matrices_of(StepKind kind) const;
  int64_t attention_layers() const;
};

}  // namespace dak
