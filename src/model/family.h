// A model family: how its configuration reads, which tensors it has and how it runs. Each family is
// one file; families.cc lists them.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/config.h"
#include "model/hf_config.h"
#include "model/model.h"
#include "model/weights.h"

namespace dak {

struct Family {
  std::string_view name;
  std::string_view hf_architecture;    // config.json: architectures[0]
  std::string_view gguf_architecture;  // general.architecture; empty: GGUF has none

  // Fills what is particular to the family, after the fields all families share.
  void (*read_hf)(const HfConfig& json, ModelConfig& config);
  void (*read_gguf)(const GgufMetadata& metadata, ModelConfig& config);
  // Every weight, with the stored tensors it is made of.
  WeightSpecs (*weights)(const ModelConfig& config, Naming naming);
  std::unique_ptr<Model> (*make)(const ModelConfig& config, const Weights& weights);
};

std::span<const Family* const> families();
const Family& family_named(std::string_view name);  // kInternal: not one of families()

// A comma-separated list, for error messages.
std::string known_hf_architectures();
std::string known_gguf_architectures();

}  // namespace dak
