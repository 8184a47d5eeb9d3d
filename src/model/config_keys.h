// Tables of the keys that files of models have; the families' own are in their files.
#pragma once

#include <string_view>

#include "base/config_key.h"
#include "format/gguf.h"

namespace dak {

// What every family's config.json may have besides its own keys, and generation_config.json.
const ConfigKeys& common_hf_keys();
const ConfigKeys& generation_keys();

// GGUF metadata: keys of an architecture without its name ("rope.freq_base"), and all others.
const ConfigKeys& gguf_architecture_keys();
const ConfigKeys& gguf_other_keys();
void check_gguf_keys(const GgufMetadata& metadata, std::string_view architecture);

}  // namespace dak
