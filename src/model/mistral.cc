// Mistral 7B (Jiang et al. 2023): Llama with a sliding attention window. GGUF files of Mistral call
// themselves llama.
#include "model/families.h"
#include "model/gated_decoder.h"
#include "model/gated_keys.h"

namespace dak {
namespace {

// MistralConfig; layer_types as MinistralConfig, which tells such models apart.
const ConfigKeys& hf_keys() {
  using enum KeyUse;
  static const ConfigKeys keys = with_gated_keys({
      {"vocab_size", kUsed, "32000", "tokens"},
      {"intermediate_size", kUsed, "14336", "the width of the MLP"},
      {"num_key_value_heads", kUsed, "8", "null: num_attention_heads", true},
      {"head_dim", kUsed, "null", "null: hidden_size / num_attention_heads", true},
      {"max_position_embeddings", kUsed, "131072", "positions the model was made for"},
      {"bos_token_id", kUsed, "1", "null: none", true},
      {"eos_token_id", kUsed, "2", "the tokens that end an answer; null: none", true},
      {"sliding_window", kUsed, "4096", "tokens that a layer attends to; null: all", true},
      {"layer_types", kUsed, "null", "layers with the window; null: every one", true},
      {"use_sliding_window", kMustBe, "[true]", "the class of this family does not read it"},
      {"attention_bias", kMustBe, "[false]", "the class of this family has no biases"},
      {"mlp_bias", kMustBe, "[false]", "the class of this family has no biases"},
  });
  return keys;
}

void read_hf(const HfConfig& json, ModelConfig& config) {
  read_gated_hf(json, config);
  config.sliding_window = read_window(json);
  read_layer_types(json, config);
}

void read_gguf(const GgufMetadata&, ModelConfig&) {}

}  // namespace

const Family kMistral{.name = "mistral",
                      .hf_architecture = "MistralForCausalLM",
                      .gguf_architecture = "",
                      .hf_keys = hf_keys,
                      .hf_model_type = "mistral",
                      .hf_activation = "hidden_act",
                      .read_hf = read_hf,
                      .read_gguf = read_gguf,
                      .make = make_gated_decoder};

}  // namespace dak
