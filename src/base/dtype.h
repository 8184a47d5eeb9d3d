// Element types, as stored in files and as computed with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dak {

// Stored types. The block-quantised ones are GGUF's: a block of `block_elements` values shares
// scales and takes `block_bytes`.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kQ5_0,
  kQ5_1,
  kQ3_K,
  kIQ4_NL,
  kIQ4_XS,
  kMXFP4,
  kNVFP4,
};

struct DTypeTraits {
  DType dtype;
  std::string_view name;  // as users write it: "bf16", "q4_k"
  int block_elements;     // 1 for plain types
  int block_bytes;
};

// Throws kInternal for a number that names no type.
const DTypeTraits& traits(DType dtype);

inline std::string_view name(DType dtype) { return traits(dtype).name; }
inline bool is_quantised(DType dtype) { return traits(dtype).block_elements > 1; }

// For code that has no case for `dtype`: throws kUnsupported, naming `where` and the types that it
// has cases for.
[[noreturn]] void refuse_dtype(std::string_view where, DType dtype,
                               std::string_view known = "f32, f16 and bf16");
[[noreturn]] void refuse_part_of_block(DType dtype, int64_t elements);

// Bytes of `elements` consecutive values. Throws kInternal for part of a block.
inline int64_t bytes_of(DType dtype, int64_t elements) {
  const DTypeTraits& type = traits(dtype);
  if (elements % type.block_elements != 0) [[unlikely]] {
    refuse_part_of_block(dtype, elements);
  }
  return elements / type.block_elements * type.block_bytes;
}

// The types whose values stand alone: what kernels read, multiply and write. Code that takes one
// has a case for each, where a kernel could not refuse a DType that it does not know.
enum class Element : uint8_t { kF32, kF16, kBF16 };

// Throws kUnsupported naming `where` for a quantised type.
Element element_of(DType dtype, std::string_view where);
constexpr DType dtype_of(Element element) {
  return element == Element::kF32   ? DType::kF32
         : element == Element::kF16 ? DType::kF16
                                    : DType::kBF16;
}
constexpr int64_t bytes_of(Element element, int64_t elements) {
  return elements * (element == Element::kF32 ? 4 : 2);
}

// Parses "f32", "f16", "bf16"; throws kInvalidArgument naming `where` otherwise.
DType parse_compute_dtype(std::string_view text, std::string_view where);

}  // namespace dak
