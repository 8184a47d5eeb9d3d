// One forward pass in flight: the workspace cut to the batch, and the cache of the current layer.
#pragma once

#include <span>
#include <vector>

#include "model/batch.h"
#include "model/config.h"
#include "model/workspace.h"
#include "ops/attention.h"
#include "ops/context.h"
#include "ops/heads.h"

namespace dak {

struct Pass {
  Pass(const ModelConfig& model, const Batch& input, Workspace& work);

  // Points `sequences` at layer i's pages; its attention parameters.
  AttentionConfig enter_layer(int64_t i);

  const ModelConfig& config;
  const Batch& batch;
  std::span<const int32_t> positions;  // [m]
  std::vector<KvSequence> sequences;   // of the current layer

  // Views of the workspace, m rows each; see workspace.h for their widths.
  Tensor hidden, normed, qkv, q, k, v, attended, mlp;
  Heads heads() const { return {q, k, v}; }
  // Says which pages every layer will read, before the first operation.
  void announce_kv(OpContext& ctx);
};

// Views of the workspace, as many rows as logits are wanted.
struct LastRows {
  LastRows(std::span<const int32_t> rows, Workspace& work);

  Tensor hidden, normed, logits;
};

// What the attention of every layer reads in this batch.
TierTraffic kv_traffic_of(const ModelConfig& config, const Batch& batch);

}  // namespace dak
