// How a GPU lays out KV pages and shares out their reading. No CUDA here.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace dak::cuda {

// Head sizes and types that paged_attention.cuh multiplies with tensor cores. Their pages are
// stored swizzled, whichever kernels read them.
constexpr bool on_tensor_cores(DType kv_dtype, int64_t head_size) {
  return kv_dtype != DType::kF32 &&
         (head_size == 16 || head_size == 32 || head_size == 64 || head_size == 80 ||
          head_size == 96 || head_size == 128 || head_size == 256);
}
// Where the 16-byte unit `unit` of a token's row of `units` lies in the row: neighbouring tokens'
// units fall into different banks of shared memory.
constexpr int kv_unit(int token, int unit, int units) {
  return unit < units / 8 * 8 ? (unit & ~7) | ((unit ^ token) & 7) : unit;
}

// A row's pages are cut into runs of at least kMinRunPages, at most kMaxSplits of them. Batches of
// more rows than decode ever has are busy enough without cutting.
inline constexpr int kMinRunPages = 16;
inline constexpr int kMaxSplits = 32;
inline constexpr int64_t kMaxSplitRows = 64;
inline constexpr int kTileHeads = 8;

}  // namespace dak::cuda
