// Parameters and launch of attention of many query rows a sequence on Hopper; no device code, so
// that host code can include it.
#pragma once

#include "ops/cuda/kernels.h"
#include "ops/cuda/prefill_plan.h"

namespace dak::cuda {

// Counters of one launch in device memory, all zero before and after it. Behind it lie
//   done[groups]          halves of units done, for each segment of the plan and KV head
//   ready[slots]          copies that have come to a slot of the ring, over all its items
//   progress[states][2]   of the tiles that had a state, for each half of their rows
struct PrefillCounters {
  uint32_t next_unit;
  uint32_t blocks_done;
  uint32_t next_copy[kMaxTiers];
  uint32_t unused[6];
};

struct PrefillParams {
  KvParams kv;     // `rows` and `m` are not read
  const float* q;  // [m, heads, head_size]
  void* out;       // [m, heads, head_size] of out_dtype
  DType out_dtype;
  const PrefillSequence* sequences;
  const PrefillSegment* segments;
  const int32_t* page_ranks;    // [page table]
  const int32_t* remote_pages;  // of all sequences
  const int32_t* fetch_ranks;
  const PrefillFetches* fetches;  // [tiers][sequences]
  PrefillCounters* counters;
  std::byte* ring;  // [slots][2 (keys, values)][kKvPageTokens][head_size]
  float* states;    // [state_slots][prefill_state_floats]
  LinkState* links;
  int32_t sequence_count;
  int32_t units;
  int32_t groups;
  int32_t slots;
  int32_t state_slots;
  int32_t readers;          // thread blocks of each tier that copy to the ring, at most
  int32_t tiers;            // with items
  int32_t tier[kMaxTiers];  // which
};

// on_tensor_cores() pages with has_prefill_tiles(), with sm_90a.
void launch_prefill_attention(const PrefillParams& params, int sm_count, cudaStream_t stream);

}  // namespace dak::cuda
