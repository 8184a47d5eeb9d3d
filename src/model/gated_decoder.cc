#include "model/gated_decoder.h"

#include "model/pass.h"
#include "ops/embedding.h"
#include "ops/heads.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "ops/rows.h"

namespace dak {
namespace {

struct Layer {
  const float* attention_norm;  // [hidden]
  const TieredTensor* qkv;      // [q_rows + 2 kv_rows, hidden]
  const float* qkv_bias;        // nullptr: none
  const float* q_norm;          // [head_size]; nullptr: none
  const float* k_norm;
  const TieredTensor* output;   // [hidden, q_rows]
  const float* output_bias;     // nullptr: none
  const float* mlp_norm;        // [hidden]
  const TieredTensor* gate_up;  // [2 intermediate, hidden], interleaved
  const TieredTensor* down;     // [hidden, intermediate]
};

class GatedDecoder final : public Model {
 public:
  GatedDecoder(const ModelConfig& config, const Weights& weights)
      : config_(config), frequencies_(rope_frequencies(config.rope)) {
    for (int64_t i = 0; i < config.layers; ++i) {
      const std::string prefix = fmt::format("layers.{}.", i);
      layers_.push_back({
          .attention_norm = weights.vector(prefix + "attention_norm"),
          .qkv = &weights.matrix(prefix + "qkv"),
          .qkv_bias = weights.vector(prefix + "qkv_bias"),
          .q_norm = weights.vector(prefix + "q_norm"),
          .k_norm = weights.vector(prefix + "k_norm"),
          .output = &weights.matrix(prefix + "output"),
          .output_bias = weights.vector(prefix + "output_bias"),
          .mlp_norm = weights.vector(prefix + "mlp_norm"),
          .gate_up = &weights.matrix(prefix + "gate_up"),
          .down = &weights.matrix(prefix + "down"),
      });
    }
    embedding_ = &weights.matrix("embedding");
    norm_ = weights.vector("norm");
    lm_head_ = config.tied_embeddings ? embedding_ : &weights.matrix("lm_head");
  }

  Tensor forward(OpContext& ctx, const Batch& batch, Workspace& work) const override {
    Pass pass(config_, batch, work);
    pass.announce_kv(ctx);
    embedding(ctx, batch.tokens, *embedding_, pass.hidden);
    for (int64_t i = 0; i < config_.layers; ++i) run_layer(ctx, pass, i);
    return logits(ctx, batch.logit_rows, work);
  }

  Tensor logits(OpContext& ctx, std::span<const int32_t> rows, Workspace& work) const override {
    const LastRows last(rows, work);
    if (rows.empty()) return last.logits;
    gather_rows(ctx, work.hidden, rows, last.hidden);
    rms_norm(ctx, last.hidden, norm_, config_.norm_epsilon, last.normed);
    matmul(ctx, last.normed, *lm_head_, last.logits);
    return last.logits;
  }

 private:
  void run_layer(OpContext& ctx, Pass& p, int64_t i) const {
    const Layer& w = layers_[static_cast<size_t>(i)];
    const float epsilon = config_.norm_epsilon;
    const AttentionConfig cache = p.enter_layer(i);

    rms_norm(ctx, p.hidden, w.attention_norm, epsilon, p.normed);
    matmul(ctx, p.normed, *w.qkv, p.qkv, {.bias = w.qkv_bias});
    const HeadTransform transform{w.q_norm, w.k_norm, epsilon, &frequencies_};
    split_heads(ctx, cache, p.sequences, p.positions, transform, p.qkv, p.heads());
    attention(ctx, cache, p.sequences, p.q, p.attended);
    matmul(ctx, p.attended.as_matrix(), *w.output, p.hidden,
           {.bias = w.output_bias, .add_to_output = true});

    rms_norm(ctx, p.hidden, w.mlp_norm, epsilon, p.normed);
    matmul_gated(ctx, p.normed, *w.gate_up, p.mlp, config_.activation);
    matmul(ctx, p.mlp, *w.down, p.hidden, {.add_to_output = true});
  }

  ModelConfig config_;
  RopeFrequencies frequencies_;
  std::vector<Layer> layers_;
  const TieredTensor* embedding_ = nullptr;
  const float* norm_ = nullptr;
  const TieredTensor* lm_head_ = nullptr;
};

// A tensor's name in both worlds; {} is the layer.
struct TensorName {
  std::string_view hugging_face;
  std::string_view gguf;
};

constexpr TensorName kEmbedding{"model.embed_tokens", "token_embd"};
constexpr TensorName kNorm{"model.norm", "output_norm"};
constexpr TensorName kLmHead{"lm_head", "output"};
constexpr TensorName kAttentionNorm{"model.layers.{}.input_layernorm", "blk.{}.attn_norm"};
constexpr TensorName kQ{"model.layers.{}.self_attn.q_proj", "blk.{}.attn_q"};
constexpr TensorName kK{"model.layers.{}.self_attn.k_proj", "blk.{}.attn_k"};
constexpr TensorName kV{"model.layers.{}.self_attn.v_proj", "blk.{}.attn_v"};
constexpr TensorName kQNorm{"model.layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm"};
constexpr TensorName kKNorm{"model.layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm"};
constexpr TensorName kOutput{"model.layers.{}.self_attn.o_proj", "blk.{}.attn_output"};
constexpr TensorName kMlpNorm{"model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm"};
constexpr TensorName kGate{"model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate"};
constexpr TensorName kUp{"model.layers.{}.mlp.up_proj", "blk.{}.ffn_up"};
constexpr TensorName kDown{"model.layers.{}.mlp.down_proj", "blk.{}.ffn_down"};

}  // namespace

WeightSpecs gated_decoder_weights(const ModelConfig& c, Naming naming) {
  const auto named = [naming](const TensorName& tensor, int64_t layer, std::string_view kind) {
    const std::string_view pattern = naming == Naming::kGguf ? tensor.gguf : tensor.hugging_face;
    return fmt::format(fmt::runtime(pattern), layer) + std::string(kind);
  };
  // llama.cpp's converter pairs the rows of q and k for llama alone; qwen keeps rotate-half.
  const bool paired = naming == Naming::kGguf && c.family == "llama";
  const auto part = [&](const TensorName& tensor, int64_t layer, std::string_view kind,
                        int64_t rows, int64_t heads = 0) {
    return WeightPart{named(tensor, layer, kind), rows, paired ? heads : 0};
  };
  WeightSpecs specs;
  specs.matrices.push_back(
      {.name = "embedding",
       .use = c.tied_embeddings ? OperandUse::kMatmul : OperandUse::kLookup,
       .cols = c.hidden,
       .parts = {part(c.embedding_as_lm_head ? kLmHead : kEmbedding, 0, ".weight", c.vocabulary)}});
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string prefix = fmt::format("layers.{}.", i);
    const auto qkv = [&](std::string_view kind) {
      return std::vector{part(kQ, i, kind, c.q_rows(), c.heads),
                         part(kK, i, kind, c.kv_rows(), c.kv_heads),
                         part(kV, i, kind, c.kv_rows())};
    };
    specs.matrices.push_back({.name = prefix + "qkv", .cols = c.hidden, .parts = qkv(".weight")});
    specs.matrices.push_back({.name = prefix + "output",
                              .cols = c.q_rows(),
                              .parts = {part(kOutput, i, ".weight", c.hidden)}});
    specs.matrices.push_back({.name = prefix + "gate_up",
                              .cols = c.hidden,
                              .parts = {part(kGate, i, ".weight", c.intermediate),
                                        part(kUp, i, ".weight", c.intermediate)},
                              .gated = true});
    specs.matrices.push_back({.name = prefix + "down",
                              .cols = c.intermediate,
                              .parts = {part(kDown, i, ".weight", c.hidden)}});
    const auto vector = [&](std::string_view name, std::vector<WeightPart> parts) {
      specs.vectors.push_back({prefix + std::string(name), std::move(parts)});
    };
    vector("attention_norm", {part(kAttentionNorm, i, ".weight", c.hidden)});
    vector("mlp_norm", {part(kMlpNorm, i, ".weight", c.hidden)});
    if (c.qkv_bias) vector("qkv_bias", qkv(".bias"));
    if (c.output_bias) vector("output_bias", {part(kOutput, i, ".bias", c.hidden)});
    if (c.qk_norm) vector("q_norm", {part(kQNorm, i, ".weight", c.head_size)});
    if (c.qk_norm) vector("k_norm", {part(kKNorm, i, ".weight", c.head_size)});
  }
  specs.vectors.push_back({"norm", {part(kNorm, 0, ".weight", c.hidden)}});
  if (!c.tied_embeddings) {
    specs.matrices.push_back({.name = "lm_head",
                              .cols = c.hidden,
                              .parts = {part(kLmHead, 0, ".weight", c.vocabulary)}});
  }
  return specs;
}

std::unique_ptr<Model> make_gated_decoder(const ModelConfig& config, const Weights& weights) {
  return std::make_unique<GatedDecoder>(config, weights);
}

}  // namespace dak
