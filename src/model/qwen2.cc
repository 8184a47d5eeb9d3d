// Qwen2 and Qwen2.5 (Qwen Team 2024): Llama with biases on q, k and v.
#include "model/families.h"
#include "model/gated_decoder.h"

namespace dak {
namespace {

void read_hf(const HfConfig& json, ModelConfig& config) {
  config.intermediate = json.integer("intermediate_size");
  config.qkv_bias = true;
  if (json.flag_or("use_sliding_window", false)) {
    config.sliding_window = json.integer_or("sliding_window", 0);
    config.first_window_layer = json.integer_or("max_window_layers", 28);
  }
}

void read_gguf(const GgufMetadata&, ModelConfig& config) { config.qkv_bias = true; }

}  // namespace

const Family kQwen2{.name = "qwen2",
                    .hf_architecture = "Qwen2ForCausalLM",
                    .gguf_architecture = "qwen2",
                    .read_hf = read_hf,
                    .read_gguf = read_gguf,
                    .weights = gated_decoder_weights,
                    .make = make_gated_decoder};

}  // namespace dak
