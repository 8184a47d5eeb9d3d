// Qwen2 and Qwen2.5 (Qwen Team 2024): Llama with biases on q, k and v.
#include "model/families.h"
#include "model/gated_decoder.h"
#include "model/gated_keys.h"

namespace dak {
namespace {

// Qwen2Config.
const ConfigKeys& hf_keys() {
  using enum KeyUse;
  static const ConfigKeys keys = with_gated_keys({
      {"vocab_size", kUsed, "151936", "tokens"},
      {"intermediate_size", kUsed, "22016", "the width of the MLP"},
      {"num_key_value_heads", kUsed, "32", "null: num_attention_heads", true},
      {"head_dim", kUsed, "null", "null: hidden_size / num_attention_heads", true},
      {"max_position_embeddings", kUsed, "32768", "positions the model was made for"},
      {"bos_token_id", kUsed, "null", "null: none", true},
      {"eos_token_id", kUsed, "null", "the tokens that end an answer; null: none", true},
      {"use_sliding_window", kUsed, "false", "without it no layer has a window"},
      {"sliding_window", kUsed, "4096", "tokens that a layer attends to; null: all", true},
      {"max_window_layers", kUsed, "28", "without layer_types: the first layer with the window"},
      {"layer_types", kUsed, "null", "layers with the window; null: by max_window_layers", true},
      {"attention_bias", kMustBe, "[true]", "q, k and v of this family have biases"},
      {"mlp_bias", kMustBe, "[false]", "the class of this family does not read it"},
  });
  return keys;
}

void read_hf(const HfConfig& json, ModelConfig& config) {
  read_gated_hf(json, config);
  config.qkv_bias = true;
  read_qwen_windows(json, config);
}

void read_gguf(const GgufMetadata&, ModelConfig& config) { config.qkv_bias = true; }

}  // namespace

const Family kQwen2{.name = "qwen2",
                    .hf_architecture = "Qwen2ForCausalLM",
                    .gguf_architecture = "qwen2",
                    .hf_keys = hf_keys,
                    .hf_model_type = "qwen2",
                    .hf_activation = "hidden_act",
                    .read_hf = read_hf,
                    .read_gguf = read_gguf,
                    .make = make_gated_decoder};

}  // namespace dak
