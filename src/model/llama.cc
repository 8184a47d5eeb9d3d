// Llama 2 and 3 (Touvron et al. 2023, Llama Team 2024), and every model that names itself
// LlamaForCausalLM: SmolLM2, TinyLlama, Yi and others.
#include "model/families.h"
#include "model/gated_decoder.h"

namespace dak {
namespace {

void read_hf(const HfConfig& json, ModelConfig& config) {
  config.intermediate = json.integer("intermediate_size");
  config.qkv_bias = json.flag_or("attention_bias", false);
  config.output_bias = config.qkv_bias;
  if (json.flag_or("mlp_bias", false)) {
    throw_unsupported(json.where(), "mlp_bias", "true", "Llama with MLP biases is not supported");
  }
}

void read_gguf(const GgufMetadata&, ModelConfig&) {}

}  // namespace

const Family kLlama{.name = "llama",
                    .hf_architecture = "LlamaForCausalLM",
                    .gguf_architecture = "llama",
                    .read_hf = read_hf,
                    .read_gguf = read_gguf,
                    .weights = gated_decoder_weights,
                    .make = make_gated_decoder};

}  // namespace dak
