// Stored values to f32. Formulas: GGUF's block layouts, one function per type in dequantise.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace dak {

// `elements` is a multiple of the type's block; `in` holds bytes_of(dtype, elements) bytes.
void dequantise(DType dtype, const std::byte* in, int64_t elements, float* out);

}  // namespace dak
