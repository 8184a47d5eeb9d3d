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

Pass::Pass(const ModelConfig& model, const Batch& input, Workspace& work)
    : config(model), batch(input), positions(input.positions) {
  const int64_t m = batch.rows();
  require(m > 0 && m <= work.hidden.dim(0), "batch larger than its workspace");
  require(batch.positions.size() == batch.tokens.size(), "a position for each token");
  hidden = work.hidden.first_rows(m);
  normed = work.normed.first_rows(m);
  qkv = work.qkv.first_rows(m);
  q = work.q.first_rows(m);
  k = work.k.first_rows(m);
  v = work.v.first_rows(m);
  attended = work.attended.first_rows(m);
  mlp = work.mlp.first_rows(m);
}

LastRows::LastRows(std::span<const int32_t> rows, Workspace& work) {
  const auto wanted = static_cast<int64_t>(rows.size());
  require(wanted <= work.logits.dim(0), "more logits wanted than the workspace holds");
  hidden = work.last.first_rows(wanted);
  normed = work.last_normed.first_rows(wanted);
  logits = work.logits.first_rows(wanted);
}

AttentionConfig Pass::enter_layer(int64_t i) {
  enter(batch, i, sequences);
  return attention_of(config, batch, i);
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
