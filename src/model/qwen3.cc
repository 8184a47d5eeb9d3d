// Qwen3 (Qwen Team 2025): Llama with RMS norms on every head of q and k, and a head size of its
// own.
#include "model/families.h"
#include "model/gated_decoder.h"

namespace dak {
namespace {

constexpr int64_t kDefaultHeadSize = 128;  // Qwen3Config

void read_hf(const HfConfig& json, ModelConfig& config) {
  config.intermediate = json.integer("intermediate_size");
  config.head_size = json.integer_or("head_dim", kDefaultHeadSize);
  config.rope.rotary_dims = config.head_size;
  config.qkv_bias = json.flag_or("attention_bias", false);
  config.output_bias = config.qkv_bias;
  config.qk_norm = true;
  if (json.flag_or("use_sliding_window", false)) {
    config.sliding_window = json.integer_or("sliding_window", 0);
    config.first_window_layer = json.integer_or("max_window_layers", 28);
  }
}

void read_gguf(const GgufMetadata&, ModelConfig& config) { config.qk_norm = true; }

}  // namespace

const Family kQwen3{.name = "qwen3",
                    .hf_architecture = "Qwen3ForCausalLM",
                    .gguf_architecture = "qwen3",
                    .read_hf = read_hf,
                    .read_gguf = read_gguf,
                    .weights = gated_decoder_weights,
                    .make = make_gated_decoder};

}  // namespace dak
