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
};

struct DTypeTraits {
  DType dtype;
  std::string_view name;  // as users write it: "bf16", "q4_k"
  int block_elements;     // 1 for plain types
  int block_bytes;
};

const DTypeTraits& traits(DType dtype);

inline std::string_view name(DType dtype) { return traits(dtype).name; }
inline bool is_quantised(DType dtype) { return traits(dtype).block_elements > 1; }

// Bytes of `elements` consecutive values; `elements` must be a multiple of the block.
inline int64_t bytes_of(DType dtype, int64_t elements) {
  return elements / traits(dtype).block_elements * traits(dtype).block_bytes;
}

// Parses "f32", "f16", "bf16"; throws kInvalidArgument naming `where` otherwise.
DType parse_compute_dtype(std::string_view text, std::string_view where);

}  // namespace dak
