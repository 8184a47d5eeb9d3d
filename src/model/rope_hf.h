// The rotary embedding as config.json describes it.
#pragma once

#include "model/hf_config.h"
#include "ops/rope.h"

namespace dak {

// Up to transformers 4: rope_theta and rope_scaling; from 5: rope_parameters with everything, also
// one for each kind of layer. `head_size` and `context_length` are those of the model.
RopeConfig parse_hf_rope(const HfConfig& config, int64_t head_size, int64_t context_length);

// Members of rope_parameters and rope_scaling (transformers' RopeParameters). A type ignores what
// it does not use, as in transformers; a member that is not here is refused.
const ConfigKeys& hf_rope_keys();

}  // namespace dak
