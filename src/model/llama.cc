// Llama 2 and 3 (Touvron et al. 2023, Llama Team 2024), and every model that names itself
// LlamaForCausalLM: SmolLM2, TinyLlama, Yi and others.
#include <algorithm>

#include "base/error.h"
#include "model/families.h"
#include "model/gated_decoder.h"
#include "model/gated_keys.h"

namespace dak {
namespace {

// LlamaConfig.
const ConfigKeys& hf_keys() {
  using enum KeyUse;
  static const ConfigKeys keys = with_gated_keys({
      {"vocab_size", kUsed, "32000", "tokens"},
      {"intermediate_size", kUsed, "11008", "the width of the MLP"},
      {"num_key_value_heads", kUsed, "null", "null: num_attention_heads", true},
      {"head_dim", kUsed, "null", "null: hidden_size / num_attention_heads", true},
      {"max_position_embeddings", kUsed, "2048", "positions the model was made for"},
      {"bos_token_id", kUsed, "1", "null: none", true},
      {"eos_token_id", kUsed, "2", "the tokens that end an answer; null: none", true},
      {"attention_bias", kUsed, "false", "biases of q, k, v and the output"},
      {"mlp_bias", kMustBe, "[false]", "Llama with MLP biases is not supported"},
      {"layer_types", kUsed, "null", "must be full_attention everywhere", true},
      {"use_sliding_window", kMustBe, "[false]", "LlamaForCausalLM has no window"},
      {"sliding_window", kUsed, "null",
       "must reach over all positions, or use_sliding_window be "
       "false: LlamaForCausalLM has no window",
       true},
      {"max_window_layers", kIgnored, {}, "LlamaForCausalLM has no window"},
  });
  return keys;
}

void read_hf(const HfConfig& json, ModelConfig& config) {
  read_gated_hf(json, config);
  config.qkv_bias = json.flag("attention_bias");
  config.output_bias = config.qkv_bias;
  read_layer_types(json, config);
  if (std::ranges::find(config.full_layers, false) != config.full_layers.end()) {
    json.unsupported("layer_types", "LlamaForCausalLM has no layers with a window");
  }
  const auto window = json.optional_integer("sliding_window");
  if (window && *window < config.context_length && !json.has("use_sliding_window")) {
    json.unsupported("sliding_window", "LlamaForCausalLM has no window",
                     "set it to null if the model has none");
  }
}

void read_gguf(const GgufMetadata&, ModelConfig&) {}

}  // namespace

const Family kLlama{.name = "llama",
                    .hf_architecture = "LlamaForCausalLM",
                    .gguf_architecture = "llama",
                    .hf_keys = hf_keys,
                    .hf_model_type = "llama",
                    .hf_activation = "hidden_act",
                    .read_hf = read_hf,
                    .read_gguf = read_gguf,
                    .make = make_gated_decoder};

}  // namespace dak
