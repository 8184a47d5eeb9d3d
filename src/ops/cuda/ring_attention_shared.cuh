// What a thread block of attention shares: a ring of half pages in shared memory, the units they
// belong to, and what its warps leave of each part. A stage holds keys and values of half a page,
// or a unit's queries.
#pragma once

#include "kernels/link_window.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ring.cuh"
#include "kernels/sm90_gemm_feed.cuh"
#include "ops/cuda/ring_attention_units.cuh"

namespace dak::cuda::ring {

inline constexpr int kStageTiles = 4;  // of queries: 32 heads in f32 are as large as half a page
inline constexpr int kUnitSlots = 8;
// Of a thread block's local copies at a time: see LocalInFlight in kernels/sm90_split_stages.cuh.
inline constexpr uint32_t kInFlightBytes = 96 * 1024;

__host__ __device__ constexpr int query_stages_of(int tiles) {
  return (tiles + kStageTiles - 1) / kStageTiles;
}

using UnitPosition = RingPosition<kUnitSlots>;
using StatePosition = RingPosition<1>;

template <int kHeadSize>
struct AttentionShape {
  static constexpr int kSteps = kHeadSize / 16;            // of the dot products
  static constexpr int kUnits = kHeadSize / 8;             // of 16 bytes in a row
  static constexpr int kWarps = kHeadSize <= 128 ? 8 : 4;  // that multiply; registers
  static constexpr int kThreads = (kWarps + kMergeWarps + 2) * 32;
  static constexpr uint32_t kTileBytes = kHalfTokens * kHeadSize * 2;
  static constexpr uint32_t kStageBytes = 2 * kTileBytes;
  static constexpr int kHeadStride = kHeadSize + 8;  // heads 8 banks apart
  static constexpr int kStateFloats = kTileHeads * (kHeadStride + 2);
  static constexpr uint32_t kControlBytes = 6 * 1024;
  static constexpr uint32_t kRoom =
      227 * 1024 - 128 - kFeedChunkBytes - kControlBytes - kWarps * kStateFloats * sizeof(float);
  static constexpr int kStages = kRoom / kStageBytes < 32 ? kRoom / kStageBytes : 32;
  static constexpr uint32_t kInFlight =
      kInFlightBytes / kStageBytes < kStages ? kInFlightBytes / kStageBytes : kStages - 1;
  static_assert(kInFlight >= 2);
  static constexpr uint32_t kSharedBytes = 128 + kStages * kStageBytes + kFeedChunkBytes +
                                           kControlBytes + kWarps * kStateFloats * sizeof(float);
  // The stage of the n-th half page or queries, and the phase of its barriers.
  struct Place {
    uint32_t stage;
    uint32_t phase;
  };
  static __device__ Place place(uint32_t n) {
    constexpr uint32_t kAll = kStages;
    return {n % kAll, n / kAll & 1};
  }
};

template <int kHeadSize>
struct AttentionShared {
  using Shape = AttentionShape<kHeadSize>;
  // Of each warp that multiplies: values [kTileHeads, kHeadStride], most and sum [kTileHeads].
  float states[Shape::kWarps][Shape::kStateFloats];
  AttentionUnit units[kUnitSlots];  // without heads: there are no more
  AttentionUnit found[32];
  const std::byte* pages[2][32];  // of a unit and the next
  ptx::Barrier full[Shape::kStages];
  ptx::Barrier empty[Shape::kStages];
  ptx::Barrier unit_full[kUnitSlots];
  ptx::Barrier unit_empty[kUnitSlots];
  ptx::Barrier state_full[Shape::kWarps];
  ptx::Barrier state_empty[Shape::kWarps];
  ptx::Barrier copied;  // a chunk for a GEMM to come
  ReaderMailbox mailbox;
  volatile uint32_t issue_cycles[Shape::kStages];  // of a remote stage; 0: it is local
  volatile uint32_t issued_stages;                 // their places were free
  volatile uint32_t no_more;

  // One thread, before a __syncthreads.
  __device__ void init() {
    for (int i = 0; i < Shape::kStages; ++i) {
      ptx::mbarrier_init(&full[i], 1);
      ptx::mbarrier_init(&empty[i], Shape::kWarps);
    }
    for (int i = 0; i < kUnitSlots; ++i) {
      ptx::mbarrier_init(&unit_full[i], 1);
      ptx::mbarrier_init(&unit_empty[i], kMergeWarps);
    }
    for (int i = 0; i < Shape::kWarps; ++i) {
      ptx::mbarrier_init(&state_full[i], 1);
      ptx::mbarrier_init(&state_empty[i], kMergeWarps);
    }
    ptx::mbarrier_init(&copied, 1);
    mailbox.init();
    issued_stages = 0;
    no_more = 0;
    ptx::fence_barrier_init();
  }
};

// Until the n-th half page or queries have arrived. A warp takes few of a stage's turns, and copies
// arrive in any order: while the stage's last turn is still on its way, the parity of the one
// before that looks like that of the next. It has arrived once its place was free again.
template <int kHeadSize>
__device__ void wait_full(AttentionShared<kHeadSize>& shared, uint32_t n) {
  while (static_cast<int32_t>(shared.issued_stages - n) <= 0) {
  }
  const auto at = AttentionShape<kHeadSize>::place(n);
  ptx::mbarrier_wait(&shared.full[at.stage], at.phase);
}

// Warps by tiles of heads and, of each tile, by streams: every `streams`-th half page.
struct WarpShare {
  int tile;
  int stream;
  int streams;
};
template <int kHeadSize>
__device__ WarpShare warp_share(int tiles, int warp) {
  int streams = AttentionShape<kHeadSize>::kWarps;
  for (int room = 1; room < tiles; room *= 2) streams /= 2;
  return {.tile = warp / streams, .stream = warp % streams, .streams = streams};
}

}  // namespace dak::cuda::ring
