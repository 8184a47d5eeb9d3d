// How a model's files say its answers are drawn where neither a request nor a flag says otherwise.
#pragma once

#include <cstdint>
#include <optional>

#include "format/gguf.h"

namespace dak {

class HfConfig;

struct SamplingDefaults {
  std::optional<float> temperature;  // 0: the most likely token
  std::optional<int> top_k;          // 0: all
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<int64_t> max_tokens;  // of an answer
};

// generation_config.json. As in transformers an explicit "do_sample": false is temperature 0; where
// it is missing a temperature counts all the same, as in vLLM. kCorrupt for a value out of range.
SamplingDefaults sampling_defaults(const HfConfig& generation);
// general.sampling.*
SamplingDefaults sampling_defaults(const GgufMetadata& metadata);

}  // namespace dak
