// The fields of config.json that Llama, Mistral and Qwen have alike; what a missing one means
// differs and stands in each family's file.
#pragma once

#include "model/config_keys.h"

namespace dak {

// RoPE, norms and what else has the same default in each of these classes.
ConfigKeys with_gated_keys(ConfigKeys own);

}  // namespace dak
