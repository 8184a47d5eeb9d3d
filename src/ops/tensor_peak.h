// The arithmetic that a GPU reaches: cuBLASLt on one large product. For `dak probe`.
#pragma once

#include <optional>

#include "base/dtype.h"

namespace dak {

// FLOP/s of an 8192^3 product of random bf16 or f16 numbers with f32 sums, the least time of ten in
// a row; takes 0.6 GiB and, with the library's start, about a second. nullopt where cuBLASLt is not
// installed; throws kUnsupported in a build without CUDA.
std::optional<double> measure_tensor_peak(int ordinal, DType dtype);

}  // namespace dak
