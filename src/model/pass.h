// One forward pass in flight: the workspace cut to the batch, and the cache of the current layer.
#pragma once

#include <span>
#include <vector>

#include "model/batch.h"
#include "model/config.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/attention.h"
#include "ops/context.h"
#include "ops/heads.h"
#include "pass/program.h"

namespace dak {

// The pages of a batch, layer by layer.
struct BatchKv {
  BatchKv(const ModelConfig& model, const Batch& input) : config(model), batch(input) {}

  // Points `sequences` at layer i's pages; its attention parameters.
  AttentionConfig enter_layer(int64_t i);

  const ModelConfig& config;
  const Batch& batch;
  std::vector<KvSequence> sequences;  // of the current layer
};

// The activations of a decoder; all f32 but for those that only products read.
struct PassTensors {
  PassTensors(const ModelConfig& config, Program& program);

  TensorId hidden;  // [rows, hidden]: the residual stream
  TensorId qkv;     // [rows, q_rows + 2 kv_rows]
  TensorId q;       // [rows, heads, head_size]
  TensorId k;       // [rows, kv_heads, head_size]
  TensorId v;       // likewise
  TensorId last;    // [logit rows, hidden]: rows whose logits are wanted
  TensorId logits;  // [logit rows, vocabulary]
  // Of what products want:
  TensorId normed;       // [rows, hidden]
  TensorId attended;     // [rows, heads, head_size]
  TensorId mlp;          // [rows, intermediate]
  TensorId last_normed;  // [logit rows, hidden]
};

// What handles stand for.
struct WeightsByHandle {
  const TieredTensor& operator[](MatrixId id) const { return weights.matrix(id); }
  const float* operator[](VectorId id) const { return weights.vector(id); }

  const Weights& weights;
};

struct Pass : BatchKv, WeightsByHandle {
  Pass(const ModelConfig& model, const PassTensors& tensors, const Weights& loaded,
       const Batch& input, Workspace& work);

  std::span<const int32_t> positions;  // [m]

  // Views of the workspace, m rows each; see PassTensors for their widths.
  Tensor hidden, normed, qkv, q, k, v, attended, mlp;
  Heads heads() const { return {q, k, v}; }
  // Says which pages every layer will read, before the first operation.
  void announce_kv(OpContext& ctx);
};

// Views of the workspace, as many rows as logits are wanted.
struct LastRows : WeightsByHandle {
  LastRows(const PassTensors& tensors, const Weights& loaded, std::span<const int32_t> rows,
           Workspace& work);

  Tensor of_batch;  // the residual stream of the batch that ran last: all that there is room for
  Tensor hidden, normed, logits;
};

// The operations of one layer for as long as it lives.
class InLayer {
 public:
  InLayer(Pass& pass, OpContext& ctx, int64_t layer)
      : cache(pass.enter_layer(layer)), notes_(ctx.notes) {
    if (notes_ != nullptr) notes_->enter_layer(layer);
  }
  ~InLayer() {
    if (notes_ != nullptr) notes_->leave_layer();
  }
  InLayer(const InLayer&) = delete;
  InLayer& operator=(const InLayer&) = delete;

  const AttentionConfig cache;

 private:
  PassNotes* notes_;
};

// What the attention of every layer reads in this batch.
TierTraffic kv_traffic_of(const ModelConfig& config, const Batch& batch);

}  // namespace dak
