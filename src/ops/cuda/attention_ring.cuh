// What a thread block of attention shares: a ring of half pages in shared memory, the units they
// belong to, and what its warps leave of each part. And who fills the ring.
//
// A stage holds keys and values of half a page, or a unit's queries. One warp fills stages in the
// order of units, far ahead of those who multiply, so that memory is not idle while a unit ends and
// the next begins. Pages of earlier passes are nobody's result: they come while the kernels before
// still run; queries and the rest after them.
#pragma once

#include "kernels/link_window.cuh"
#include "kernels/ptx/bulk_copy.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ring.cuh"
#include "ops/cuda/attention_units.cuh"

namespace dak::cuda {

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
      227 * 1024 - 128 - kControlBytes - kWarps * kStateFloats * sizeof(float);
  static constexpr uint32_t kStages = kRoom / kStageBytes < 32 ? kRoom / kStageBytes : 32;
  static constexpr uint32_t kInFlight =
      kInFlightBytes / kStageBytes < kStages ? kInFlightBytes / kStageBytes : kStages - 1;
  static_assert(kInFlight >= 2);
  static constexpr uint32_t kSharedBytes =
      128 + kStages * kStageBytes + kControlBytes + kWarps * kStateFloats * sizeof(float);
  // The stage of the n-th half page or queries, and the phase of its barriers.
  struct Place {
    uint32_t stage;
    uint32_t phase;
  };
  static __device__ Place place(uint32_t n) { return {n % kStages, n / kStages & 1}; }
};

template <int kHeadSize>
struct AttentionShared {
  using Shape = AttentionShape<kHeadSize>;
  // Of each warp that multiplies: values [kTileHeads, kHeadStride], most and sum [kTileHeads].
  float states[Shape::kWarps][Shape::kStateFloats];
  AttentionUnit units[kUnitSlots];  // without heads: there are no more
  AttentionUnit found[32];
  ptx::Barrier keys_full[Shape::kStages];
  ptx::Barrier values_full[Shape::kStages];
  ptx::Barrier empty[Shape::kStages];
  ptx::Barrier unit_full[kUnitSlots];
  ptx::Barrier unit_empty[kUnitSlots];
  ptx::Barrier state_full[Shape::kWarps];
  ptx::Barrier state_empty[Shape::kWarps];
  ReaderMailbox mailbox;
  volatile uint32_t issue_cycles[Shape::kStages];  // of a remote stage; 0: it is local
  volatile uint32_t issued_stages;
  volatile uint32_t no_more;

  // One thread, before a __syncthreads.
  __device__ void init() {
    for (uint32_t i = 0; i < Shape::kStages; ++i) {
      ptx::mbarrier_init(&keys_full[i], 1);
      ptx::mbarrier_init(&values_full[i], 1);
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
    mailbox.init();
    issued_stages = 0;
    no_more = 0;
    ptx::fence_barrier_init();
  }
};

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

// The warp that fills the ring.
template <int kHeadSize>
class RingFiller {
 public:
  using Shape = AttentionShape<kHeadSize>;

  __device__ RingFiller(const AttentionParams& params, AttentionShared<kHeadSize>& shared,
                        std::byte* stages, const UnitShare& share, int lane)
      : p_(params),
        shared_(shared),
        stages_(stages),
        finder_(params, share),
        reader_(share.tier > 0),
        lane_(lane),
        policy_(ptx::policy_evict_first()) {}

  __device__ void run() {
    while (!finder_.done()) {
      AttentionUnit own;
      uint32_t left = finder_.find(lane_, own);
      shared_.found[lane_] = own;
      __syncwarp();
      const std::byte* pages = left != 0 ? load_pages(shared_.found[__ffs(left) - 1], 0) : nullptr;
      while (left != 0) {
        const AttentionUnit& unit = shared_.found[__ffs(left) - 1];
        left &= left - 1;
        const std::byte* next = left != 0 ? load_pages(shared_.found[__ffs(left) - 1], 0) : nullptr;
        post(&unit);
        add_queries(unit);
        for (int32_t half = unit.first_half; half < unit.last_half; ++half) {
          const int32_t page = half / kPageHalves - unit.first_half / kPageHalves;
          if (page % 32 == 0 && page > 0 && half % kPageHalves == 0) pages = load_pages(unit, page);
          add_half(unit, half,
                   __shfl_sync(0xffffffffu, reinterpret_cast<uint64_t>(pages), page % 32));
        }
        pages = next;
      }
      __syncwarp();
    }
    if (!started_) start();
    post(nullptr);
    shared_.no_more = 1;
  }

 private:
  // Lane l's: the unit's page `from` + l.
  __device__ const std::byte* load_pages(const AttentionUnit& unit, int32_t from) const {
    const int32_t page = unit.first_half / kPageHalves + from + lane_;
    return page * kPageHalves < unit.last_half ? p_.kv.pages[unit.first_page + page] : nullptr;
  }

  // For those who multiply and sum up; null: there are no more.
  __device__ void post(const AttentionUnit* unit) {
    ptx::mbarrier_wait(&shared_.unit_empty[slot_.stage], slot_.phase ^ 1);
    constexpr int kWords = sizeof(AttentionUnit) / 4;
    static_assert(kWords <= 32);
    if (lane_ < kWords) {
      reinterpret_cast<int32_t*>(&shared_.units[slot_.stage])[lane_] =
          unit != nullptr ? reinterpret_cast<const int32_t*>(unit)[lane_] : 0;
    }
    __syncwarp();
    if (lane_ == 0) ptx::mbarrier_arrive(&shared_.unit_full[slot_.stage]);
    slot_.advance();
  }

  // What the kernels before have written is there from here on: so are the first unit's queries,
  // whose places were kept.
  __device__ void start() {
    if (reader_ && lane_ == 0) {  // must not take from their window
      while (issued_ != shared_.mailbox.samples) {
      }
      shared_.mailbox.idle = 1;
    }
    __syncwarp();
    ptx::grid_dependency_wait();
    started_ = true;
    if (next_ > 0 && lane_ == 0) copy_queries(shared_.units[0], 0);
    __syncwarp();
  }

  // One lane: until the n-th stage is free.
  __device__ void wait_free(uint32_t n) {
    const auto at = Shape::place(n);
    if (!reader_) {
      ptx::mbarrier_wait(&shared_.empty[at.stage], at.phase ^ 1);
      const uint32_t early = started_ ? 0 : query_stages_of(p_.tiles);  // not on their way yet
      if (n < Shape::kInFlight + early) return;
      const auto old = Shape::place(n - Shape::kInFlight);
      ptx::mbarrier_wait(&shared_.values_full[old.stage], old.phase);
      return;
    }
    // The stage's previous arrivals must have been timed too, or their phase could be overtaken.
    ReaderMailbox& box = shared_.mailbox;
    while (n - box.arrived_stages >= Shape::kStages ||
           !ptx::mbarrier_test_wait(&shared_.empty[at.stage], at.phase ^ 1)) {
      if (issued_ == box.samples) box.idle = 1;
    }
    box.idle = 0;
  }

  __device__ void add_queries(const AttentionUnit& unit) {
    const int count = query_stages_of(p_.tiles);
    if (!started_ && next_ > 0) start();
    if (lane_ == 0) {
      for (int i = 0; i < count; ++i) {
        wait_free(next_ + i);
        shared_.issue_cycles[Shape::place(next_ + i).stage] = 0;
      }
      shared_.issued_stages = next_ + count;
      if (started_) copy_queries(unit, next_);
    }
    next_ += count;
    __syncwarp();
  }

  __device__ void copy_queries(const AttentionUnit& unit, uint32_t n) const {
    const float* q = p_.q + (int64_t{unit.row} * p_.kv.heads + unit.first_head) * kHeadSize;
    for (int i = 0; i < query_stages_of(p_.tiles); ++i) {
      const auto at = Shape::place(n + i);
      const int heads =
          max(min(unit.heads - i * kStageTiles * kTileHeads, kStageTiles * kTileHeads), 0);
      const auto bytes = static_cast<uint32_t>(heads * kHeadSize) * 4;
      ptx::mbarrier_arrive_expect_tx(&shared_.keys_full[at.stage], bytes);
      if (bytes > 0) {
        ptx::bulk_copy(stages_ + at.stage * Shape::kStageBytes,
                       q + int64_t{i} * kStageTiles * kTileHeads * kHeadSize, bytes,
                       &shared_.keys_full[at.stage], policy_);
      }
      ptx::mbarrier_arrive(&shared_.values_full[at.stage]);
    }
  }

  __device__ void add_half(const AttentionUnit& unit, int32_t half, uint64_t page) {
    if (!started_ && (next_ >= Shape::kStages || (half + 1) * kHalfTokens > unit.fresh)) start();
    if (lane_ == 0) {
      wait_free(next_);
      const bool remote = reader_ && unit.is_remote(half);
      const auto at = Shape::place(next_);
      const int64_t head_bytes = kKvPageTokens * kHeadSize * 2;
      const std::byte* keys = reinterpret_cast<const std::byte*>(page) + unit.kv_head * head_bytes +
                              half % kPageHalves * Shape::kTileBytes;
      if (remote) wait_for_window();
      shared_.issue_cycles[at.stage] = remote ? ptx::cycle_count() | 1 : 0;
      copy(at.stage, keys, 0, &shared_.keys_full[at.stage]);
      copy(at.stage, keys + p_.kv.kv_heads * head_bytes, 1, &shared_.values_full[at.stage]);
      if (remote) issued_ += 2;
      shared_.issued_stages = next_ + 1;
    }
    ++next_;
    __syncwarp();
  }

  __device__ void wait_for_window() {
    ReaderMailbox& box = shared_.mailbox;
    if (issued_ - box.samples + 2 <= max(box.quota, 2u)) return;
    box.limited = held_back_ += 2;
    while (issued_ - box.samples + 2 > max(box.quota, 2u)) {
    }
  }

  __device__ void copy(uint32_t stage, const std::byte* source, int which,
                       ptx::Barrier* full) const {
    ptx::mbarrier_arrive_expect_tx(full, Shape::kTileBytes);
    ptx::bulk_copy(stages_ + stage * Shape::kStageBytes + which * Shape::kTileBytes, source,
                   Shape::kTileBytes, full, policy_);
  }

  const AttentionParams& p_;
  AttentionShared<kHeadSize>& shared_;
  std::byte* stages_;
  UnitFinder finder_;
  bool reader_;
  int lane_;
  uint64_t policy_;
  bool started_ = false;
  uint32_t next_ = 0;  // stage, counted from the first
  UnitPosition slot_;
  uint32_t issued_ = 0;  // remote copies; these two are lane 0's
  uint32_t held_back_ = 0;
};

// One thread of a reader: times remote copies as they arrive, in order.
template <int kHeadSize>
__device__ void time_arrivals(AttentionShared<kHeadSize>& shared) {
  using Shape = AttentionShape<kHeadSize>;
  ReaderMailbox& box = shared.mailbox;
  uint32_t samples = 0;
  uint32_t delay_sum = 0;
  uint32_t min_delay = UINT32_MAX;
  for (uint32_t n = 0;; ++n) {
    while (n == shared.issued_stages) {
      if (shared.no_more != 0 && n == shared.issued_stages) {
        box.finished = 1;
        return;
      }
    }
    const auto at = Shape::place(n);
    const uint32_t issued = shared.issue_cycles[at.stage];
    if (issued != 0) {
      for (ptx::Barrier* full : {&shared.keys_full[at.stage], &shared.values_full[at.stage]}) {
        while (!ptx::mbarrier_test_wait(full, at.phase)) {
        }
        const uint32_t delay = ptx::cycle_count() - issued;
        box.delay_sum = delay_sum += delay;
        box.min_delay = min_delay = min(min_delay, delay);
        box.samples = ++samples;
      }
    }
    box.arrived_stages = n + 1;
  }
}

}  // namespace dak::cuda
