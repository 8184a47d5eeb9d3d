// What becomes of the keys of tokenizer_config.json and special_tokens_map.json.
#pragma once

#include "base/config_key.h"

namespace dak {

const ConfigKeys& tokenizer_config_keys();

}  // namespace dak
