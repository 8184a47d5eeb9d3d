// The numbers that GGUF gives element types, and which of them dak reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace dak {

// As ggml spells it: "Q4_K", "IQ2_XXS"; empty for a number that ggml never assigned.
std::string_view ggml_type_name(uint32_t type);

// nullopt: dak does not read this type.
std::optional<DType> dtype_of_ggml_type(uint32_t type);

// Those dak reads, for error messages.
inline constexpr std::string_view kReadableGgmlTypes =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K, Q6_K";

}  // namespace dak
