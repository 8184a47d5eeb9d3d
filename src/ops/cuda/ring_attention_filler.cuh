// The warps that fill attention's ring and that time what comes over a link.
//
// One warp fills stages in the order of units, far ahead of those that multiply, so that memory is
// not idle while a unit ends and the next begins. The kernels before write no pages of earlier
// passes: those come while they still run; queries and the rest after them.
#pragma once

#include "kernels/ptx/bulk_copy.cuh"
#include "ops/cuda/ring_attention_shared.cuh"

namespace dak::cuda::ring {

// The warp that fills the ring. Everything but the finding of units and pages is the same in all
// lanes, and lane 0 issues copies: what differs between lanes could not be in uniform registers,
// which copies want. (One lane alone took 0.7 us for half a page, 24 GB/s.)
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
        query_stages_(query_stages_of(params.tiles)),
        reader_(share.tier > 0),
        lane_(lane),
        policy_(ptx::policy_evict_first()) {}

  __device__ void run() {
    int buffer = 0;
    while (!finder_.done()) {
      AttentionUnit own;
      uint32_t left = finder_.find(lane_, own);
      shared_.found[lane_] = own;
      __syncwarp();
      if (left != 0) shared_.pages[buffer][lane_] = page_of(shared_.found[__ffs(left) - 1], 0);
      while (left != 0) {
        const AttentionUnit& unit = shared_.found[__ffs(left) - 1];
        left &= left - 1;
        // On its way while this unit's pages are copied.
        const std::byte* next = left != 0 ? page_of(shared_.found[__ffs(left) - 1], 0) : nullptr;
        post(&unit);
        add_queries(unit);
        add_pages(unit, shared_.pages[buffer]);
        buffer ^= 1;
        shared_.pages[buffer][lane_] = next;
      }
      __syncwarp();
    }
    if (!started_) start();
    post(nullptr);
    shared_.no_more = 1;
  }

 private:
  // The lane's: the unit's page `from` + lane.
  __device__ const std::byte* page_of(const AttentionUnit& unit, int32_t from) const {
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
    if (reader_) {  // must not take from their window
      while (issued_ != shared_.mailbox.samples) {
      }
      shared_.mailbox.idle = 1;
    }
    ptx::grid_dependency_wait();
    started_ = true;
    if (next_ > 0) copy_queries(shared_.units[0], 0);
  }

  // Until the next stage is free, and few enough copies are on their way.
  __device__ void wait_local() {
    ptx::mbarrier_wait(&shared_.empty[at_.stage], at_.phase ^ 1);
    const uint32_t early = started_ ? 0 : query_stages_;  // not on their way yet
    if (next_ < Shape::kInFlight + early) return;
    ptx::mbarrier_wait(&shared_.full[oldest_.stage], oldest_.phase);
  }
  __device__ void wait_reader(bool remote) {
    ReaderMailbox& box = shared_.mailbox;
    // The stage's previous arrivals must have been timed too, or their phase could be overtaken.
    while (next_ - box.arrived_stages >= Shape::kStages ||
           !ptx::mbarrier_test_wait(&shared_.empty[at_.stage], at_.phase ^ 1)) {
      if (issued_ == box.samples) box.idle = 1;
    }
    box.idle = 0;
    if (!remote || issued_ - box.samples < max(box.quota, 1u)) return;
    box.limited = ++held_back_;
    while (issued_ - box.samples >= max(box.quota, 1u)) {
    }
  }

  __device__ void advance() {
    shared_.issued_stages = next_ + 1;
    if (next_ >= Shape::kInFlight) oldest_.advance();
    at_.advance();
    ++next_;
  }

  __device__ void add_queries(const AttentionUnit& unit) {
    if (!started_ && next_ > 0) start();
    const uint32_t first = at_.stage;
#pragma unroll 1
    for (int i = 0; i < query_stages_; ++i) {
      if (reader_) {
        wait_reader(false);
        shared_.issue_cycles[at_.stage] = 0;
      } else {
        wait_local();
      }
      advance();
    }
    if (started_) copy_queries(unit, first);
    __syncwarp();
  }

  __device__ void copy_queries(const AttentionUnit& unit, uint32_t stage) const {
    const float* q = p_.q + (int64_t{unit.row} * p_.kv.heads + unit.first_head) * kHeadSize;
    int32_t heads = unit.heads;
#pragma unroll 1
    for (int i = 0; i < query_stages_; ++i) {
      const int32_t these = max(min(heads, kStageTiles * kTileHeads), 0);
      const auto bytes = static_cast<uint32_t>(these * kHeadSize) * 4;
      if (lane_ == 0) {
        ptx::mbarrier_arrive_expect_tx(&shared_.full[stage], bytes);
        if (bytes > 0) {
          ptx::bulk_copy(stages_ + stage * Shape::kStageBytes, q, bytes, &shared_.full[stage],
                         policy_);
        }
      }
      q += kStageTiles * kTileHeads * kHeadSize;
      heads -= kStageTiles * kTileHeads;
      if (++stage == Shape::kStages) stage = 0;
    }
  }

  __device__ void add_pages(const AttentionUnit& unit, const std::byte** pages) {
    const int32_t first_page = unit.first_half / kPageHalves;
    const int32_t last_half = unit.last_half;
    const int32_t whole_halves = unit.fresh / kHalfTokens;  // of earlier passes
    const int64_t head_bytes = kKvPageTokens * kHeadSize * 2;
    const int64_t offset = unit.kv_head * head_bytes;
    const int64_t values = p_.kv.kv_heads * head_bytes;
    __syncwarp();
    for (int32_t half = unit.first_half; half < last_half; ++half) {
      const int32_t page = half / kPageHalves - first_page;
      if (page % 32 == 0 && page > 0 && half % kPageHalves == 0) {  // of a row that is not cut
        __syncwarp();
        pages[lane_] = page_of(unit, page);
        __syncwarp();
      }
      if (!started_ && (next_ >= Shape::kStages || half >= whole_halves)) start();
      if (reader_) {
        const bool remote = unit.is_remote(half);
        wait_reader(remote);
        shared_.issue_cycles[at_.stage] = remote ? ptx::cycle_count() | 1 : 0;
        if (remote) ++issued_;
      } else {
        wait_local();
      }
      const std::byte* keys = pages[page % 32] + offset + half % kPageHalves * Shape::kTileBytes;
      std::byte* stage = stages_ + at_.stage * Shape::kStageBytes;
      ptx::Barrier* full = &shared_.full[at_.stage];
      if (lane_ == 0) {
        ptx::mbarrier_arrive_expect_tx(full, Shape::kStageBytes);
        ptx::bulk_copy(stage, keys, Shape::kTileBytes, full, policy_);
        ptx::bulk_copy(stage + Shape::kTileBytes, keys + values, Shape::kTileBytes, full, policy_);
      }
      advance();
    }
    __syncwarp();
  }

  const AttentionParams& p_;
  AttentionShared<kHeadSize>& shared_;
  std::byte* stages_;
  UnitFinder finder_;
  int query_stages_;
  bool reader_;
  int lane_;
  uint64_t policy_;
  bool started_ = false;
  uint32_t next_ = 0;  // stages so far
  RingPosition<Shape::kStages> at_;
  RingPosition<Shape::kStages> oldest_;  // that may still be on its way
  UnitPosition slot_;
  uint32_t issued_ = 0;  // remote stages
  uint32_t held_back_ = 0;
};

// One thread of a reader: times remote stages as they arrive, in order, and shares the times with
// the other readers of its link. (With a thread of its own for that in the same warp, one of the
// two could wait for ever.)
template <int kHeadSize>
__device__ void time_arrivals(AttentionShared<kHeadSize>& shared, WindowControl control) {
  using Shape = AttentionShape<kHeadSize>;
  ReaderMailbox& box = shared.mailbox;
  RingPosition<Shape::kStages> at;
  uint32_t samples = 0;
  uint32_t delay_sum = 0;
  uint32_t min_delay = UINT32_MAX;
  control.step(false);
  for (uint32_t n = 0;; ++n) {
    while (n == shared.issued_stages) {
      if (shared.no_more != 0 && n == shared.issued_stages) return control.step(true);
      control.step(false);
    }
    const uint32_t issued = shared.issue_cycles[at.stage];
    if (issued != 0) {
      while (!ptx::mbarrier_test_wait(&shared.full[at.stage], at.phase)) {
      }
      const uint32_t delay = ptx::cycle_count() - issued;
      box.delay_sum = delay_sum += delay;
      box.min_delay = min_delay = min(min_delay, delay);
      box.samples = ++samples;
      if (samples % 8 == 0) control.step(false);
    }
    box.arrived_stages = n + 1;
    at.advance();
  }
}

}  // namespace dak::cuda::ring
