#include "ops/cuda/prefill_attention.h"

#include <algorithm>
#include <vector>

#include "ops/cuda/prefill_schedule.h"
#include "ops/cuda/sm90_prefill_attention.h"

namespace dak::cuda {
namespace {

// The plan's tables one behind another, so that one copy brings them.
class Packed {
 public:
  template <typename T>
  size_t add(const std::vector<T>& values) {
    const size_t at = bytes_.size();
    const auto bytes = std::as_bytes(std::span(values));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    while (bytes_.size() % 16 != 0) bytes_.push_back(std::byte{0});
    return at;
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

int64_t item_bytes(const AttentionConfig& config) { return config.page_bytes() / config.kv_heads; }

}  // namespace

void attend_prefill_tiles(CudaBackend& backend, const AttentionConfig& config,
                          std::span<const KvSequence> sequences, const KvParams& kv, bool waits,
                          const Tensor& q, const Tensor& out) {
  const PrefillSchedule schedule = make_prefill_schedule(config, sequences);
  if (schedule.units == 0) return;
  const int64_t slots = std::min(schedule.items, kPrefillRingBytes / item_bytes(config));
  const int64_t state_bytes = schedule.states * prefill_state_floats(config.head_size) * 4;
  const int64_t groups = schedule.groups(config.kv_heads);
  const CudaBackend::PrefillMemory memory = backend.prefill_memory(
      slots > 0 ? kPrefillRingBytes : 0, state_bytes,
      static_cast<int64_t>(sizeof(PrefillCounters)) + 4 * (groups + slots + 2 * schedule.states));

  PrefillParams params{
      .kv = kv,
      .q = q.f32(),
      .out = out.data,
      .out_dtype = element_of(out.dtype, "attention"),
      .plan = {.sequences = nullptr,
               .segments = nullptr,
               .page_ranks = nullptr,
               .remote_pages = nullptr,
               .fetch_ranks = nullptr,
               .fetches = nullptr,
               .fetch_ends = nullptr,
               .sequence_count = static_cast<int32_t>(std::ssize(schedule.sequences)),
               .segment_count = static_cast<int32_t>(std::ssize(schedule.segments)),
               .units = static_cast<int32_t>(schedule.units),
               .state_slots = static_cast<int32_t>(schedule.states),
               .kv_heads = static_cast<int32_t>(config.kv_heads),
               .group = static_cast<int32_t>(config.heads / config.kv_heads),
               .window = static_cast<int32_t>(std::min<int64_t>(config.window, INT32_MAX))},
      .counters = reinterpret_cast<PrefillCounters*>(memory.counters),
      .ring = memory.ring,
      .states = memory.states,
      .links = backend.links().device_states(),
      .groups = static_cast<int32_t>(groups),
      .slots = static_cast<int32_t>(slots),
      .readers = backend.gemm_readers(),
      .tiers = 0,
      .tier = {},
      .overlap_previous = !waits};
  for (int tier = 1; tier < kMaxTiers; ++tier) {
    if (schedule.fetches[static_cast<size_t>(tier)].back().end > 0) {
      params.tier[params.tiers++] = tier;
    }
  }
  Packed packed;
  const size_t at[] = {packed.add(schedule.sequences),       packed.add(schedule.segments),
                       packed.add(schedule.page_ranks),      packed.add(schedule.remote_pages),
                       packed.add(schedule.fetch_ranks),     packed.add(schedule.all_fetches()),
                       packed.add(schedule.all_fetch_ends())};
  const std::byte* tables = backend.upload(CudaBackend::kPrefillPlan, packed.bytes(), config.layer);
  params.plan.sequences = reinterpret_cast<const PrefillSequence*>(tables + at[0]);
  params.plan.segments = reinterpret_cast<const PrefillSegment*>(tables + at[1]);
  params.plan.page_ranks = reinterpret_cast<const int32_t*>(tables + at[2]);
  params.plan.remote_pages = reinterpret_cast<const int32_t*>(tables + at[3]);
  params.plan.fetch_ranks = reinterpret_cast<const int32_t*>(tables + at[4]);
  params.plan.fetches = reinterpret_cast<const PrefillFetches*>(tables + at[5]);
  params.plan.fetch_ends = reinterpret_cast<const int32_t*>(tables + at[6]);
  launch_prefill_attention(params, backend.sm_count(), backend.stream());
}

}  // namespace dak::cuda
