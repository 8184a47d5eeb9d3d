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

// A row of a tensor is a whole number of blocks.
struct GgmlBlock {
  int64_t elements;
  int64_t bytes;
};

// nullopt: ggml never assigned the number, or withdrew the type.
std::optional<GgmlBlock> block_of_ggml_type(uint32_t type);

}  // namespace dak
