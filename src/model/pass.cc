#include "model/pass.h"

#include <cmath>

namespace dak {
namespace {

AttentionConfig attention_of(const ModelConfig& config, const Batch& batch, int64_t layer) {
  return {.heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_size = config.head_size,
          .scale = 1.0f / std::sqrt(static_cast<float>(config.head_size)),
          .window = config.window_of_layer(layer),
          .kv_dtype = batch.kv_dtype,
          .layer = layer,
          .table_pages = batch.table_pages,
          .layers = config.layers};
}

// Points `sequences` at the pages of `layer`.
void enter(const Batch& batch, int64_t layer, std::vector<KvSequence>& sequences) {
  sequences.resize(batch.sequences.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    const BatchSequence& from = batch.sequences[s];
    sequences[s] = {.pages = from.pages != nullptr ? (*from.pages)[static_cast<size_t>(layer)]
                                                   : std::span<const KvPage>(),
                    .past = from.past,
                    .first_row = from.first_row,
                    .rows = from.rows};
  }
}

}  // namespace

AttentionConfig BatchKv::enter_layer(int64_t i) {
  enter(batch, i, sequences);
  return attention_of(config, batch, i);
}

PassTensors::PassTensors(const ModelConfig& c, Program& program) {
  hidden = program.declare(TensorDecl{.cols = c.hidden});
  qkv = program.declare(TensorDecl{.cols = c.q_rows() + 2 * c.kv_rows()});
  q = program.declare(TensorDecl{.cols = c.head_size, .heads = c.heads});
  k = program.declare(TensorDecl{.cols = c.head_size, .heads = c.kv_heads});
  v = program.declare(TensorDecl{.cols = c.head_size, .heads = c.kv_heads});
  last = program.declare(TensorDecl{.cols = c.hidden, .for_logits = true});
  logits = program.declare(TensorDecl{.cols = c.vocabulary, .for_logits = true});
  normed = program.declare(TensorDecl{.cols = c.hidden, .product_input = true});
  attended =
      program.declare(TensorDecl{.cols = c.head_size, .heads = c.heads, .product_input = true});
  mlp = program.declare(TensorDecl{.cols = c.intermediate, .product_input = true});
  last_normed =
      program.declare(TensorDecl{.cols = c.hidden, .for_logits = true, .product_input = true});
}

Pass::Pass(const ModelConfig& model, const PassTensors& tensors, const Weights& loaded,
           const Batch& input, Workspace& work)
    : BatchKv(model, input), WeightsByHandle{loaded}, positions(input.positions) {
  const int64_t m = batch.rows();
  require(m > 0, "a batch of no rows");
  require(batch.positions.size() == batch.tokens.size(), "a position for each token");
  hidden = work.rows_of(tensors.hidden, m);
  normed = work.rows_of(tensors.normed, m);
  qkv = work.rows_of(tensors.qkv, m);
  q = work.rows_of(tensors.q, m);
  k = work.rows_of(tensors.k, m);
  v = work.rows_of(tensors.v, m);
  attended = work.rows_of(tensors.attended, m);
  mlp = work.rows_of(tensors.mlp, m);
}

LastRows::LastRows(const PassTensors& tensors, const Weights& loaded, std::span<const int32_t> rows,
                   Workspace& work)
    : WeightsByHandle{loaded} {
  const auto wanted = static_cast<int64_t>(rows.size());
  of_batch = work.rows_of(tensors.hidden, work.max_rows());
  hidden = work.rows_of(tensors.last, wanted);
  normed = work.rows_of(tensors.last_normed, wanted);
  logits = work.rows_of(tensors.logits, wanted);
}

void Pass::announce_kv(OpContext& ctx) {
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const AttentionConfig attention = enter_layer(layer);
    dak::announce_kv(ctx, attention, sequences);
  }
}

TierTraffic kv_traffic_of(const ModelConfig& config, const Batch& batch) {
  TierTraffic traffic;
  std::vector<KvSequence> sequences;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    enter(batch, layer, sequences);
    count_kv_traffic(attention_of(config, batch, layer), sequences, traffic);
  }
  return traffic;
}

}  // namespace dak
