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
  VectorId weight;  // [hidden]
  VectorId bias;    // [hidden]
};

struct Layer {
  Norm attention_norm;
  MatrixId qkv;  // [3 hidden, hidden]
  VectorId qkv_bias;
  MatrixId output;  // [hidden, hidden]
  VectorId output_bias;
  Norm mlp_norm;
  MatrixId up;  // [intermediate, hidden]
  VectorId up_bias;
  MatrixId down;  // [hidden, intermediate]
  VectorId down_bias;
};

constexpr std::string_view kRoot = "model.decoder.";

// Declares weights of one layer, or of none (-1).
class Declare {
 public:
  Declare(const ModelConfig& config, int64_t layer, Program& program)
      : config_(config), layer_(layer), program_(program) {}

  MatrixId matrix(std::string part, int64_t cols, std::vector<WeightPart> parts) {
    return program_.declare(MatrixDecl{
        .part = std::move(part), .layer = layer_, .cols = cols, .parts = std::move(parts)});
  }
  VectorId bias(std::string part, std::vector<WeightPart> parts) {
    return vector(std::move(part), VectorRole::kBias, std::move(parts));
  }
  Norm norm(const std::string& part, const std::string& tensor) {
    const VectorId weight = vector(part, VectorRole::kNorm, {{tensor + ".weight", config_.hidden}});
    return {weight, bias(part + "_bias", {{tensor + ".bias", config_.hidden}})};
  }

 private:
  VectorId vector(std::string part, VectorRole role, std::vector<WeightPart> parts) {
    return program_.declare(VectorDecl{
        .part = std::move(part), .layer = layer_, .role = role, .parts = std::move(parts)});
  }

  const ModelConfig& config_;
  int64_t layer_;
  Program& program_;
};

Layer declare_layer(const ModelConfig& c, int64_t i, Program& program) {
  Declare declare(c, i, program);
  const std::string stored = fmt::format("{}layers.{}.", kRoot, i);
  const auto qkv = [&stored, &c](const std::string& kind) {
    std::vector<WeightPart> parts;
    for (const char* which : {"q", "k", "v"}) {
      parts.push_back({fmt::format("{}self_attn.{}_proj.{}", stored, which, kind), c.hidden});
    }
    return parts;
  };
  Layer layer;
  layer.qkv = declare.matrix("qkv", c.hidden, qkv("weight"));
  layer.qkv_bias = declare.bias("qkv_bias", qkv("bias"));
  layer.output =
      declare.matrix("output", c.hidden, {{stored + "self_attn.out_proj.weight", c.hidden}});
  layer.output_bias = declare.bias("output_bias", {{stored + "self_attn.out_proj.bias", c.hidden}});
  layer.up = declare.matrix("up", c.hidden, {{stored + "fc1.weight", c.intermediate}});
  layer.up_bias = declare.bias("up_bias", {{stored + "fc1.bias", c.intermediate}});
  layer.down = declare.matrix("down", c.intermediate, {{stored + "fc2.weight", c.hidden}});
  layer.down_bias = declare.bias("down_bias", {{stored + "fc2.bias", c.hidden}});
  layer.attention_norm = declare.norm("attention_norm", stored + "self_attn_layer_norm");
  layer.mlp_norm = declare.norm("mlp_norm", stored + "final_layer_norm");
  return layer;
}

class Opt final : public Model {
 public:
  Opt(const ModelConfig& c, Program& program) : config_(c), tensors_(c, program) {
    Declare declare(config_, -1, program);
    const std::string embedding =
        c.embedding_as_lm_head ? "lm_head.weight" : fmt::format("{}embed_tokens.weight", kRoot);
    embedding_ = declare.matrix("embedding", c.hidden, {{embedding, c.vocabulary}});
    positions_ = declare.matrix(
        "positions", c.hidden,
        {{fmt::format("{}embed_positions.weight", kRoot), c.context_length + kPositionOffset}});
    for (int64_t i = 0; i < c.layers; ++i) layers_.push_back(declare_layer(c, i, program));
    if (c.norm_before) final_norm_ = declare.norm("norm", fmt::format("{}final_layer_norm", kRoot));
    lm_head_ = c.tied_embeddings
                   ? embedding_
                   : declare.matrix("lm_head", c.hidden, {{"lm_head.weight", c.vocabulary}});
  }

  Tensor forward(OpContext& ctx, const Weights& weights, const Batch& batch,
                 Workspace& work) const override {
    Pass pass(config_, tensors_, weights, batch, work);
    pass.announce_kv(ctx);
    embedding(ctx, batch.tokens, pass[embedding_], pass.hidden);
    add_positions(ctx, batch.positions, pass[positions_], kPositionOffset, pass.hidden);
    for (int64_t i = 0; i < config_.layers; ++i) run_layer(ctx, pass, i);
    return logits(ctx, weights, batch.logit_rows, work);
  }

  Tensor logits(OpContext& ctx, const Weights& weights, std::span<const int32_t> rows,
                Workspace& work) const override {
    const LastRows last(tensors_, weights, rows, work);
    if (rows.empty()) return last.logits;
    gather_rows(ctx, last.of_batch, rows, last.hidden);
    if (config_.norm_before) normalise(ctx, last, last.hidden, final_norm_, last.normed);
    matmul(ctx, config_.norm_before ? last.normed : last.hidden, last[lm_head_], last.logits);
    return last.logits;
  }

 private:
  static void normalise(OpContext& ctx, const WeightsByHandle& p, const Tensor& x, const Norm& norm,
                        const Tensor& out) {
    layer_norm(ctx, x, p[norm.weight], p[norm.bias], kLayerNormEpsilon, out);
  }

  void run_layer(OpContext& ctx, Pass& p, int64_t i) const {
    const Layer& w = layers_[static_cast<size_t>(i)];
    const bool before = config_.norm_before;
    const InLayer layer(p, ctx, i);

    if (before) normalise(ctx, p, p.hidden, w.attention_norm, p.normed);
    matmul(ctx, before ? p.normed : p.hidden, p[w.qkv], p.qkv, {.bias = p[w.qkv_bias]});
    split_heads(ctx, layer.cache, p.sequences, p.positions, {}, p.qkv, p.heads());
    attention(ctx, layer.cache, p.sequences, p.q, p.attended);
    matmul(ctx, p.attended.as_matrix(), p[w.output], p.hidden,
           {.bias = p[w.output_bias], .add_to_output = true});
    if (!before) normalise(ctx, p, p.hidden, w.attention_norm, p.hidden);

    if (before) normalise(ctx, p, p.hidden, w.mlp_norm, p.normed);
    matmul(ctx, before ? p.normed : p.hidden, p[w.up], p.mlp,
           {.bias = p[w.up_bias], .activation = config_.activation});
    matmul(ctx, p.mlp, p[w.down], p.hidden, {.bias = p[w.down_bias], .add_to_output = true});
    if (!before) normalise(ctx, p, p.hidden, w.mlp_norm, p.hidden);
  }

  ModelConfig config_;
  PassTensors tensors_;
  std::vector<Layer> layers_;
  MatrixId embedding_;
  MatrixId positions_;
  Norm final_norm_;
  MatrixId lm_head_;
};

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

std::unique_ptr<Model> make(const ModelConfig& config, Naming, Program& program) {
  return std::make_unique<Opt>(config, program);
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
                  .make = make};

}  // namespace dak
