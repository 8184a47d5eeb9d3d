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

// The stored tensors that weights are made of.
class StoredParts {
 public:
  StoredParts(const ModelConfig& config, Naming naming)
      : config_(config),
        gguf_(naming == Naming::kGguf),
        // llama.cpp's converter pairs the rows of q and k for llama alone; qwen keeps rotate-half.
        paired_(gguf_ && config.family == "llama") {}

  WeightPart part(const TensorName& tensor, int64_t layer, std::string_view kind, int64_t rows,
                  int64_t heads = 0) const {
    const std::string_view pattern = gguf_ ? tensor.gguf : tensor.hugging_face;
    return {fmt::format(fmt::runtime(pattern), layer) + std::string(kind), rows,
            paired_ ? heads : 0};
  }
  std::vector<WeightPart> qkv(int64_t layer, std::string_view kind) const {
    return {part(kQ, layer, kind, config_.q_rows(), config_.heads),
            part(kK, layer, kind, config_.kv_rows(), config_.kv_heads),
            part(kV, layer, kind, config_.kv_rows())};
  }

 private:
  const ModelConfig& config_;
  bool gguf_;
  bool paired_;
};

struct Layer {
  VectorId attention_norm;  // [hidden]
  MatrixId qkv;             // [q_rows + 2 kv_rows, hidden]
  VectorId qkv_bias;        // may be none
  VectorId q_norm;          // [head_size]; may be none
  VectorId k_norm;
  MatrixId output;       // [hidden, q_rows]
  VectorId output_bias;  // may be none
  VectorId mlp_norm;     // [hidden]
  MatrixId gate_up;      // [2 intermediate, hidden], interleaved
  MatrixId down;         // [hidden, intermediate]
};

Layer declare_layer(const ModelConfig& c, const StoredParts& stored, int64_t i, Program& program) {
  const auto matrix = [&](std::string part, int64_t cols, std::vector<WeightPart> parts,
                          bool gated = false) {
    return program.declare(MatrixDecl{.part = std::move(part),
                                      .layer = i,
                                      .cols = cols,
                                      .parts = std::move(parts),
                                      .gated = gated});
  };
  const auto vector = [&](std::string part, VectorRole role, std::vector<WeightPart> parts) {
    return program.declare(
        VectorDecl{.part = std::move(part), .layer = i, .role = role, .parts = std::move(parts)});
  };
  const auto norm = [&](std::string part, const TensorName& tensor, int64_t size) {
    return vector(std::move(part), VectorRole::kNorm, {stored.part(tensor, i, ".weight", size)});
  };
  Layer layer;
  layer.qkv = matrix("qkv", c.hidden, stored.qkv(i, ".weight"));
  layer.output = matrix("output", c.q_rows(), {stored.part(kOutput, i, ".weight", c.hidden)});
  layer.gate_up = matrix("gate_up", c.hidden,
                         {stored.part(kGate, i, ".weight", c.intermediate),
                          stored.part(kUp, i, ".weight", c.intermediate)},
                         /*gated=*/true);
  layer.down = matrix("down", c.intermediate, {stored.part(kDown, i, ".weight", c.hidden)});
  layer.attention_norm = norm("attention_norm", kAttentionNorm, c.hidden);
  layer.mlp_norm = norm("mlp_norm", kMlpNorm, c.hidden);
  if (c.qkv_bias) layer.qkv_bias = vector("qkv_bias", VectorRole::kBias, stored.qkv(i, ".bias"));
  if (c.output_bias) {
    layer.output_bias =
        vector("output_bias", VectorRole::kBias, {stored.part(kOutput, i, ".bias", c.hidden)});
  }
  if (c.qk_norm) layer.q_norm = norm("q_norm", kQNorm, c.head_size);
  if (c.qk_norm) layer.k_norm = norm("k_norm", kKNorm, c.head_size);
  return layer;
}

class GatedDecoder final : public Model {
 public:
  GatedDecoder(const ModelConfig& c, Naming naming, Program& program)
      : config_(c), tensors_(c, program), frequencies_(rope_frequencies(c.rope)) {
    if (c.intermediate % kCoreSide != 0) {
      throw_unsupported(c.name, "intermediate_size", std::to_string(c.intermediate),
                        "is not a multiple of 8");
    }
    const StoredParts stored(config_, naming);
    const auto matrix = [&](std::string part, const TensorName& tensor) {
      return program.declare(
          MatrixDecl{.part = std::move(part),
                     .cols = c.hidden,
                     .parts = {stored.part(tensor, 0, ".weight", c.vocabulary)}});
    };
    embedding_ = matrix("embedding", c.embedding_as_lm_head ? kLmHead : kEmbedding);
    for (int64_t i = 0; i < c.layers; ++i) {
      layers_.push_back(declare_layer(c, stored, i, program));
    }
    norm_ = program.declare(
        VectorDecl{.part = "norm", .parts = {stored.part(kNorm, 0, ".weight", c.hidden)}});
    lm_head_ = c.tied_embeddings ? embedding_ : matrix("lm_head", kLmHead);
  }

  Tensor forward(OpContext& ctx, const Weights& weights, const Batch& batch,
                 Workspace& work) const override {
    Pass pass(config_, tensors_, weights, batch, work);
    pass.announce_kv(ctx);
    embedding(ctx, batch.tokens, pass[embedding_], pass.hidden);
    for (int64_t i = 0; i < config_.layers; ++i) run_layer(ctx, pass, i);
    return logits(ctx, weights, batch.logit_rows, work);
  }

  Tensor logits(OpContext& ctx, const Weights& weights, std::span<const int32_t> rows,
                Workspace& work) const override {
    const LastRows last(tensors_, weights, rows, work);
    if (rows.empty()) return last.logits;
    gather_rows(ctx, last.of_batch, rows, last.hidden);
    rms_norm(ctx, last.hidden, last[norm_], config_.norm_epsilon, last.normed);
    matmul(ctx, last.normed, last[lm_head_], last.logits);
    return last.logits;
  }

 private:
  void run_layer(OpContext& ctx, Pass& p, int64_t i) const {
    const Layer& w = layers_[static_cast<size_t>(i)];
    const float epsilon = config_.norm_epsilon;
    const InLayer layer(p, ctx, i);

    rms_norm(ctx, p.hidden, p[w.attention_norm], epsilon, p.normed);
    matmul(ctx, p.normed, p[w.qkv], p.qkv, {.bias = p[w.qkv_bias]});
    const HeadTransform transform{p[w.q_norm], p[w.k_norm], epsilon, &frequencies_};
    split_heads(ctx, layer.cache, p.sequences, p.positions, transform, p.qkv, p.heads());
    attention(ctx, layer.cache, p.sequences, p.q, p.attended);
    matmul(ctx, p.attended.as_matrix(), p[w.output], p.hidden,
           {.bias = p[w.output_bias], .add_to_output = true});

    rms_norm(ctx, p.hidden, p[w.mlp_norm], epsilon, p.normed);
    matmul_gated(ctx, p.normed, p[w.gate_up], p.mlp, config_.activation);
    matmul(ctx, p.mlp, p[w.down], p.hidden, {.add_to_output = true});
  }

  ModelConfig config_;
  PassTensors tensors_;
  RopeFrequencies frequencies_;
  std::vector<Layer> layers_;
  MatrixId embedding_;
  VectorId norm_;
  MatrixId lm_head_;
};

}  // namespace

std::unique_ptr<Model> make_gated_decoder(const ModelConfig& config, Naming naming,
                                          Program& program) {
  return std::make_unique<GatedDecoder>(config, naming, program);
}

}  // namespace dak
