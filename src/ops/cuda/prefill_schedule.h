// Makes the plan of prefill_plan.h. Host code without CUDA.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"
#include "ops/cuda/prefill_plan.h"

namespace dak::cuda {

struct PrefillSchedule {
  std::vector<PrefillSequence> sequences;
  std::vector<PrefillSegment> segments;
  std::vector<int32_t> page_ranks;    // [page table]: place among its sequence's remote pages or -1
  std::vector<int32_t> remote_pages;  // sequence by sequence: its remote pages that rows see
  // Of each tier: one entry for each sequence; ranks among its remote pages.
  std::array<std::vector<PrefillFetches>, kMaxTiers> fetches;
  std::vector<int32_t> fetch_ranks;
  std::array<std::vector<int32_t>, kMaxTiers> fetch_ends;  // of each tier: one for each segment
  int64_t units = 0;
  int64_t items = 0;
  int64_t states = 0;  // slots

  // What a plan points to beside the arrays above.
  std::vector<PrefillFetches> all_fetches() const;
  std::vector<int32_t> all_fetch_ends() const;
  int64_t groups(int64_t kv_heads) const { return std::ssize(segments) * kv_heads; }
};

// Of the sequences with at least kPrefillLeastRows rows. Pages of all follow each other in a page
// table, config.table_pages places for each, or as many as it has. Throws kInternal for more units
// or items than 31 bits count.
PrefillSchedule make_prefill_schedule(const AttentionConfig& config,
                                      std::span<const KvSequence> sequences);

}  // namespace dak::cuda
