// A model family: how its configuration reads, which tensors it has and how it runs. Each family is
// one file; families.cc lists them.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/config.h"
#include "model/config_keys.h"
#include "model/hf_config.h"
#include "model/model.h"
#include "model/weights.h"

namespace dak {

struct Family {
  std::string_view name;
  std::string_view hf_architecture;    // config.json: architectures[0]
  std::string_view gguf_architecture;  // general.architecture; empty: GGUF has none

  // What becomes of each field of config.json, beside common_hf_keys(). Those used that are missing
  // mean what transformers' class of the family means; tests/model/config_keys_test.py compares.
  const ConfigKeys& (*hf_keys)();
  std::string_view hf_model_type;  // config.json: model_type
  std::string_view hf_activation;  // the field that names the activation

  // Fills what is particular to the family, after the fields all families share.
  void (*read_hf)(const HfConfig& json, ModelConfig& config);
  void (*read_gguf)(const GgufMetadata& metadata, ModelConfig& config);
  // Declares every weight, with the stored tensors it is made of, and every activation in
  // `program`; the model runs on them.
  std::unique_ptr<Model> (*make)(const ModelConfig& config, Naming naming, Program& program);
};

std::span<const Family* const> families();

// The family's own keys of config.json, then the common ones.
ConfigKeys hf_keys_of(const Family& family);

// What Llama, Mistral and Qwen read alike: sizes, RMS norms and RoPE.
void read_gated_hf(const HfConfig& json, ModelConfig& config);

// layer_types of Qwen and Mistral: config.full_layers from "full_attention" and
// "sliding_attention"; any other kind or a wrong length is refused.
void read_layer_types(const HfConfig& json, ModelConfig& config);

// sliding_window in tokens; 0 for null, which means none.
int64_t read_window(const HfConfig& json);

// Qwen's use_sliding_window, sliding_window, max_window_layers and layer_types.
void read_qwen_windows(const HfConfig& json, ModelConfig& config);
const Family& family_named(std::string_view name);  // kInternal: not one of families()

// A comma-separated list, for error messages.
std::string known_hf_architectures();
std::string known_gguf_architectures();

}  // namespace dak
