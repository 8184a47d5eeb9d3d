// Prefill attention: what lies where in shared memory, and the counters that thread blocks share.
#pragma once

#include <cstddef>

#include "kernels/ptx/cluster.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ptx/wgmma.cuh"
#include "kernels/ring.cuh"
#include "memory/weight_layout.h"
#include "ops/cuda/prefill_units.h"
#include "ops/cuda/sm90_prefill_attention.h"

namespace dak::cuda {

template <int kHeadSize>
struct PrefillShape {
  static constexpr int kTokens = kPrefillTokens;
  static constexpr int kPages = kTokens / static_cast<int>(kKvPageTokens);
  static constexpr int kUnits = kHeadSize / 8;  // of 16 bytes in a row
  static constexpr int kPanel = kv_panel_units(kUnits);
  static constexpr ptx::Swizzle kSwizzle = kPanel == 8   ? ptx::Swizzle::k128
                                           : kPanel == 4 ? ptx::Swizzle::k64
                                                         : ptx::Swizzle::k32;
  static constexpr uint32_t kPanelBytes = 8 * kPanel * 16;
  static constexpr uint32_t kEightBytes = 8 * kHeadSize * 2;             // eight rows or tokens
  static constexpr uint32_t kPageBytes = kKvPageTokens * kHeadSize * 2;  // keys or values of a head
  static constexpr uint32_t kTileBytes = kPages * kPageBytes;
  static constexpr uint32_t kQueryBytes = kPrefillTileRows * kHeadSize * 2;
  static constexpr int kStages = kHeadSize <= 64 ? 4 : kHeadSize <= 96 ? 3 : 2;
  // A reader's copy: a whole, half or quarter of a page's keys or values.
  static constexpr uint32_t kCopyBytes = kPageBytes <= kChunkBytes ? kPageBytes : kPageBytes / 2;
  static constexpr uint32_t kItemCopies = 2 * kPageBytes / kCopyBytes;
  static constexpr int kThreads = 3 * 128;  // producers, and two warpgroups with half a tile each
  static constexpr uint32_t kControlBytes = 1024;
  static constexpr uint32_t kSharedBytes =
      2 * kQueryBytes + kStages * 2 * kTileBytes + kCopyBytes + kControlBytes + 1024;
  static_assert(kSharedBytes <= 227 * 1024);
  static_assert(kTileBytes % 1024 == 0 && kQueryBytes % 2048 == 0 && kCopyBytes <= kChunkBytes);
};

template <typename Shape>
struct PrefillControl {
  ptx::Barrier keys_full[Shape::kStages];
  ptx::Barrier keys_empty[Shape::kStages];
  ptx::Barrier values_full[Shape::kStages];
  ptx::Barrier values_empty[Shape::kStages];
  ptx::Barrier unit_full[2];   // units[i] is there
  ptx::Barrier query_full[2];  // and its queries
  ptx::Barrier unit_empty[2];  // both are done with
  ptx::Barrier copied;         // the reader's
  PrefillUnit units[2];
  uint32_t is_last;
};

template <typename Shape>
struct PrefillShared {
  std::byte* queries;  // [2][rows], as keys lie in a page
  std::byte* stages;
  std::byte* copy;  // the reader's
  PrefillControl<Shape>* control;

  __device__ explicit PrefillShared(std::byte* raw) {
    queries = raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
    stages = queries + 2 * Shape::kQueryBytes;
    copy = stages + Shape::kStages * 2 * Shape::kTileBytes;
    control = reinterpret_cast<PrefillControl<Shape>*>(copy + Shape::kCopyBytes);
    static_assert(sizeof(PrefillControl<Shape>) <= Shape::kControlBytes);
  }
  __device__ std::byte* query(uint32_t slot) const { return queries + slot * Shape::kQueryBytes; }
  __device__ std::byte* keys(uint32_t stage) const {
    return stages + stage * 2 * Shape::kTileBytes;
  }
  __device__ std::byte* values(uint32_t stage) const { return keys(stage) + Shape::kTileBytes; }
};

__device__ inline uint32_t* prefill_done(const PrefillParams& p) {
  return reinterpret_cast<uint32_t*>(p.counters + 1);
}
__device__ inline uint32_t* prefill_ready(const PrefillParams& p) {
  return prefill_done(p) + p.groups;
}
__device__ inline uint32_t* prefill_progress(const PrefillParams& p) {
  return prefill_ready(p) + p.slots;
}

}  // namespace dak::cuda
