// The function that a product applies to its sums before it stores them.
#pragma once

#include <cstdint>

namespace dak {

enum class Activation : uint8_t { kNone, kRelu, kSilu, kGelu, kGeluTanh };

}  // namespace dak
