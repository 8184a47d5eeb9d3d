// What a model is, whatever file it came from.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/activation.h"
#include "base/dtype.h"
#include "format/gguf.h"
#include "model/sampling_defaults.h"
#include "ops/rope.h"

namespace dak {

struct ModelConfig {
  std::string family;  // "llama", "mistral", "qwen2", "qwen3", "opt"
  std::string name;    // for people: the folder's, file's or checkpoint's own

  int64_t vocabulary = 0;
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_size = 0;
  int64_t intermediate = 0;
  int64_t context_length = 0;     // positions the model was made for
  int64_t sliding_window = 0;     // tokens; 0: none
  std::vector<bool> full_layers;  // true: attends to everything all the same; empty: none does

  float norm_epsilon = 1e-6f;
  Activation activation = Activation::kSilu;
  RopeConfig rope;

  bool tied_embeddings = false;  // the output projection is the embedding table
  // Of tied embeddings: the file has the output projection's name for them only.
  bool embedding_as_lm_head = false;
  bool qkv_bias = false;
  bool output_bias = false;  // attention's output projection
  bool mlp_bias = false;
  bool qk_norm = false;
  bool norm_before = true;  // OPT: layer norm before (true) or after each block

  DType stored_dtype = DType::kF32;  // most of the weights; quantised types included
  std::vector<int32_t> eos_tokens;   // each ends an answer
  std::vector<int32_t> bos_tokens;
  SamplingDefaults sampling;
  // Sizes that config.json leaves to its class, with the class's value: "hidden_size 4096".
  std::vector<std::string> defaulted;

  int64_t q_rows() const { return heads * head_size; }
  int64_t kv_rows() const { return kv_heads * head_size; }
  // The window of layer `i`, 0: none.
  int64_t window_of_layer(int64_t i) const {
    return !full_layers.empty() && full_layers[static_cast<size_t>(i)] ? 0 : sliding_window;
  }
};

// From config.json; `where` names the file in errors. What becomes of each field is in the family's
// table (config_keys.h); impossible numbers, refused fields and unknown architectures throw
// dak::Error naming the field.
ModelConfig parse_hf_config(const nlohmann::json& json, std::string_view where);

// Untied where config.json ties the embeddings and the files hold two that differ, as transformers
// has it; from then on embedding_as_lm_head is right. A sentence for the user, or "".
std::string settle_tied_embeddings(const Checkpoint& checkpoint, ModelConfig& config);

// generation_config.json: eos and bos, which may be a number or a list, and defaults of sampling.
void apply_generation_config(const nlohmann::json& json, std::string_view where,
                             ModelConfig& config);

// From GGUF metadata; `checkpoint` tells what the metadata leaves out (biases, tied embeddings).
ModelConfig parse_gguf_config(const GgufMetadata& metadata, const Checkpoint& checkpoint);

// Checks that sizes are positive, bounded and agree with each other.
void validate(const ModelConfig& config, std::string_view where);

}  // namespace dak
