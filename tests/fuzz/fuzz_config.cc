// Any bytes as config.json, generation_config.json and the tokenizer's side files: a configuration
// within its bounds, or a dak::Error of one line.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json.h"
#include "model/family.h"
#include "stored_tensors.h"
#include "text/tokenizer_json_added.h"

namespace {

void check_config(const dak::ModelConfig& config) {
  using dak::fuzz_require;
  fuzz_require(config.layers > 0 && config.heads > 0 && config.head_size > 0);
  fuzz_require(std::isfinite(config.norm_epsilon));
  for (int64_t i = 0; i < config.layers; ++i) fuzz_require(config.window_of_layer(i) >= 0);
  if (config.rope.rotary_dims > 0) {
    const dak::RopeFrequencies frequencies = dak::rope_frequencies(config.rope);
    fuzz_require(static_cast<int64_t>(frequencies.inverse.size()) == config.rope.rotary_dims / 2);
  }
}

// The bytes up to the first NUL are config.json; what follows is every other file.
void parse(std::string_view input) {
  const size_t nul = input.find('\0');
  dak::fuzz_parse([&] {
    const dak::Json json = dak::parse_python_json(input.substr(0, nul), "config.json");
    check_config(dak::parse_hf_config(json, "config.json"));
  });
  if (nul == std::string_view::npos) return;
  dak::fuzz_parse([&] {
    const dak::Json json = dak::parse_python_json(input.substr(nul + 1), "other.json");
    dak::fuzz_parse([&] {
      dak::ModelConfig config;
      dak::apply_generation_config(json, "generation_config.json", config);
    });
    const dak::Vocabulary vocabulary({{"a", 0}, {"<s>", 1}});
    const dak::NamedTokens tokens = dak::add_side_tokens(
        {}, vocabulary,
        {.config = {json, "c"}, .special_tokens_map = {json, "m"}, .added_tokens = {json, "a"}});
    for (const dak::AddedToken& token : tokens.added) dak::fuzz_require(!token.content.empty());
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parse({reinterpret_cast<const char*>(data), size});
  return 0;
}
