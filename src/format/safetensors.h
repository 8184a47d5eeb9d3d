// safetensors: https://github.com/huggingface/safetensors (format section of its README).
#pragma once

#include <filesystem>

#include "format/checkpoint.h"

namespace dak {

// A folder with model.safetensors, or with model.safetensors.index.json and its shards. Tensors of
// dtypes F32, F16 and BF16 can be read; those of any other are listed and unreadable. Throws
// dak::Error naming file, field and value.
Checkpoint open_safetensors(const std::filesystem::path& folder);

}  // namespace dak
