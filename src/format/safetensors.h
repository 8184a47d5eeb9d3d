// safetensors: https://github.com/huggingface/safetensors (format section of its README).
#pragma once

#include <filesystem>

#include "format/checkpoint.h"

namespace dak {

// A folder with model.safetensors, or with model.safetensors.index.json and its shards. dtypes F32,
// F16 and BF16; any other dtype is kUnsupported when the tensor is listed with that dtype, naming
// the tensor. Throws dak::Error naming file, field and value.
Checkpoint open_safetensors(const std::filesystem::path& folder);

}  // namespace dak
