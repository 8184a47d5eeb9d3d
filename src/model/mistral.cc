// Mistral 7B (Jiang et al. 2023): Llama with a sliding attention window. GGUF files of Mistral call
// themselves llama.
#include "model/families.h"
#include "model/gated_decoder.h"

namespace dak {
namespace {

void read_hf(const HfConfig& json, ModelConfig& config) {
  config.intermediate = json.integer("intermediate_size");
  config.sliding_window = json.integer_or("sliding_window", 0);
}

void read_gguf(const GgufMetadata&, ModelConfig&) {}

}  // namespace

const Family kMistral{.name = "mistral",
                      .hf_architecture = "MistralForCausalLM",
                      .gguf_architecture = "",
                      .read_hf = read_hf,
                      .read_gguf = read_gguf,
                      .weights = gated_decoder_weights,
                      .make = make_gated_decoder};

}  // namespace dak
