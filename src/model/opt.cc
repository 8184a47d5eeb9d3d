// OPT (Zhang et al. 2022): learned positions, layer norms with biases, biases everywhere, ReLU MLP.
#include "model/families.h"
#include "model/pass.h"
#include "ops/embedding.h"
#include "ops/heads.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rows.h"

namespace dak {
namespace {

constexpr int64_t kPositionOffset = 2;  // the position table's first rows are padding
constexpr float kLayerNormEpsilon = 1e-5f;

struct Norm {
  const float* weight;  // [hidden]
  const float* bias;    // [hidden]
};

struct Layer {
  Norm attention_norm;
  const TieredTensor* qkv;  // [3 hidden, hidden]
  const float* qkv_bias;
  const TieredTensor* output;  // [hidden, hidden]
  const float* output_bias;
  Norm mlp_norm;
  const TieredTensor* up;  // [intermediate, hidden]
  const float* up_bias;
  const TieredTensor* down;  // [hidden, intermediate]
  const float* down_bias;
};

class Opt final : public Model {
 public:
  Opt(const ModelConfig& config, const Weights& weights) : config_(config) {
    const auto norm = [&weights](const std::string& name) {
      return Norm{weights.vector(name), weights.vector(name + "_bias")};
    };
    for (int64_t i = 0; i < config.layers; ++i) {
      const std::string prefix = fmt::format("layers.{}.", i);
      layers_.push_back({.attention_norm = norm(prefix + "attention_norm"),
                         .qkv = &weights.matrix(prefix + "qkv"),
                         .qkv_bias = weights.vector(prefix + "qkv_bias"),
                         .output = &weights.matrix(prefix + "output"),
                         .output_bias = weights.vector(prefix + "output_bias"),
                         .mlp_norm = norm(prefix + "mlp_norm"),
                         .up = &weights.matrix(prefix + "up"),
                         .up_bias = weights.vector(prefix + "up_bias"),
                         .down = &weights.matrix(prefix + "down"),
                         .down_bias = weights.vector(prefix + "down_bias")});
    }
    embedding_ = &weights.matrix("embedding");
    positions_ = &weights.matrix("positions");
    final_norm_ = norm("norm");
    lm_head_ = config.tied_embeddings ? embedding_ : &weights.matrix("lm_head");
  }

  Tensor forward(OpContext& ctx, const Batch& batch, Workspace& work) const override {
    Pass pass(config_, batch, work);
    pass.announce_kv(ctx);
    embedding(ctx, batch.tokens, *embedding_, pass.hidden);
    add_positions(ctx, batch.positions, *positions_, kPositionOffset, pass.hidden);
    for (int64_t i = 0; i < config_.layers; ++i) run_layer(ctx, pass, i);
    return logits(ctx, batch.logit_rows, work);
  }

  Tensor logits(OpContext& ctx, std::span<const int32_t> rows, Workspace& work) const override {
    const LastRows last(rows, work);
    if (rows.empty()) return last.logits;
    gather_rows(ctx, work.hidden, rows, last.hidden);
    if (config_.norm_before) normalise(ctx, last.hidden, final_norm_, last.normed);
    matmul(ctx, config_.norm_before ? last.normed : last.hidden, *lm_head_, last.logits);
    return last.logits;
  }

 private:
  static void normalise(OpContext& ctx, const Tensor& x, const Norm& norm, const Tensor& out) {
    layer_norm(ctx, x, norm.weight, norm.bias, kLayerNormEpsilon, out);
  }

  void run_layer(OpContext& ctx, Pass& p, int64_t i) const {
    const Layer& w = layers_[static_cast<size_t>(i)];
    const bool before = config_.norm_before;
    const AttentionConfig cache = p.enter_layer(i);

    if (before) normalise(ctx, p.hidden, w.attention_norm, p.normed);
    matmul(ctx, before ? p.normed : p.hidden, *w.qkv, p.qkv, {.bias = w.qkv_bias});
    split_heads(ctx, cache, p.sequences, p.positions, {}, p.qkv, p.heads());
    attention(ctx, cache, p.sequences, p.q, p.attended);
    matmul(ctx, p.attended.as_matrix(), *w.output, p.hidden,
           {.bias = w.output_bias, .add_to_output = true});
    if (!before) normalise(ctx, p.hidden, w.attention_norm, p.hidden);

    if (before) normalise(ctx, p.hidden, w.mlp_norm, p.normed);
    matmul(ctx, before ? p.normed : p.hidden, *w.up, p.mlp,
           {.bias = w.up_bias, .activation = config_.activation});
    matmul(ctx, p.mlp, *w.down, p.hidden, {.bias = w.down_bias, .add_to_output = true});
    if (!before) normalise(ctx, p.hidden, w.mlp_norm, p.hidden);
  }

  ModelConfig config_;
  std::vector<Layer> layers_;
  const TieredTensor* embedding_ = nullptr;
  const TieredTensor* positions_ = nullptr;
  Norm final_norm_{};
  const TieredTensor* lm_head_ = nullptr;
};

WeightSpecs weights(const ModelConfig& c, Naming) {
  const std::string root = "model.decoder.";
  WeightSpecs specs;
  const auto matrix = [&specs](std::string name, int64_t cols, std::vector<WeightPart> parts,
                               OperandUse use = OperandUse::kMatmul) {
    specs.matrices.push_back(
        {.name = std::move(name), .use = use, .cols = cols, .parts = std::move(parts)});
  };
  const auto vector = [&specs](std::string name, std::vector<WeightPart> parts) {
    specs.vectors.push_back({std::move(name), std::move(parts)});
  };
  const auto norm = [&vector, &c](const std::string& name, const std::string& tensor) {
    vector(name, {{tensor + ".weight", c.hidden}});
    vector(name + "_bias", {{tensor + ".bias", c.hidden}});
  };

  const std::string embedding =
      c.embedding_as_lm_head ? "lm_head.weight" : root + "embed_tokens.weight";
  matrix("embedding", c.hidden, {{embedding, c.vocabulary}},
         c.tied_embeddings ? OperandUse::kMatmul : OperandUse::kLookup);
  matrix("positions", c.hidden,
         {{root + "embed_positions.weight", c.context_length + kPositionOffset}},
         OperandUse::kLookup);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string prefix = fmt::format("layers.{}.", i);
    const std::string stored = fmt::format("{}layers.{}.", root, i);
    const auto qkv = [&stored, &c](const std::string& kind) {
      std::vector<WeightPart> parts;
      for (const char* which : {"q", "k", "v"}) {
        parts.push_back({fmt::format("{}self_attn.{}_proj.{}", stored, which, kind), c.hidden});
      }
      return parts;
    };
    matrix(prefix + "qkv", c.hidden, qkv("weight"));
    vector(prefix + "qkv_bias", qkv("bias"));
    matrix(prefix + "output", c.hidden, {{stored + "self_attn.out_proj.weight", c.hidden}});
    vector(prefix + "output_bias", {{stored + "self_attn.out_proj.bias", c.hidden}});
    matrix(prefix + "up", c.hidden, {{stored + "fc1.weight", c.intermediate}});
    vector(prefix + "up_bias", {{stored + "fc1.bias", c.intermediate}});
    matrix(prefix + "down", c.intermediate, {{stored + "fc2.weight", c.hidden}});
    vector(prefix + "down_bias", {{stored + "fc2.bias", c.hidden}});
    norm(prefix + "attention_norm", stored + "self_attn_layer_norm");
    norm(prefix + "mlp_norm", stored + "final_layer_norm");
  }
  if (c.norm_before) norm("norm", root + "final_layer_norm");
  if (!c.tied_embeddings) matrix("lm_head", c.hidden, {{"lm_head.weight", c.vocabulary}});
  return specs;
}

// OPTConfig.
const ConfigKeys& hf_keys() {
  using enum KeyUse;
  constexpr std::string_view kVariant = "this variant of OPT is not supported";
  static const ConfigKeys keys{
      {"vocab_size", kUsed, "50272", "tokens"},
      {"hidden_size", kUsed, "768", "the size of a hidden state"},
      {"num_hidden_layers", kUsed, "12", "layers"},
      {"ffn_dim", kUsed, "3072", "the width of the MLP"},
      {"max_position_embeddings", kUsed, "2048", "positions the model was made for"},
      {"num_attention_heads", kUsed, "12", "heads"},
      {"activation_function", kUsed, "\"relu\"", "the activation of the MLP"},
      {"do_layer_norm_before", kUsed, "true", "norms before each part, or after it"},
      {"tie_word_embeddings", kUsed, "true", "the output projection is the embedding table"},
      {"bos_token_id", kUsed, "2", "null: none", true},
      {"eos_token_id", kUsed, "2", "the tokens that end an answer; null: none", true},
      {"word_embed_proj_dim", kUsed, "null", "must be hidden_size, which null means", true},
      {"_remove_final_layer_norm", kMustBe, "[false]", kVariant},
      {"enable_bias", kMustBe, "[true]", kVariant},
      {"layer_norm_elementwise_affine", kMustBe, "[true]", kVariant},
      {"layerdrop", kIgnored, {}, "of training"},
  };
  return keys;
}

void read_hf(const HfConfig& json, ModelConfig& config) {
  config.intermediate = json.integer("ffn_dim");
  config.norm_before = json.flag("do_layer_norm_before");
  config.qkv_bias = config.output_bias = config.mlp_bias = true;
  config.rope.rotary_dims = 0;
  const auto projection = json.optional_integer("word_embed_proj_dim");
  if (projection.value_or(config.hidden) != config.hidden) {
    json.unsupported("word_embed_proj_dim", "this variant of OPT is not supported");
  }
}

std::unique_ptr<Model> make(const ModelConfig& config, const Weights& loaded) {
  return std::make_unique<Opt>(config, loaded);
}

}  // namespace

const Family kOpt{.name = "opt",
                  .hf_architecture = "OPTForCausalLM",
                  .gguf_architecture = "",  // GGUF has no OPT
                  .hf_keys = hf_keys,
                  .hf_model_type = "opt",
                  .hf_activation = "activation_function",
                  .read_hf = read_hf,
                  .read_gguf = nullptr,
                  .weights = weights,
                  .make = make};

}  // namespace dak
