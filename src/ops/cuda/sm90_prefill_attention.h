// Parameters and launch of attention of many query rows a sequence on Hopper; no device code, so
// that host code can include it.
#pragma once

#include "ops/cuda/kernels.h"
#include "ops/cuda/prefill_plan.h"

namespace dak::cuda {

struct PrefillParams {
  KvParams kv;     // `rows` and `m` are not read
  const float* q;  // [m, heads, head_size]
  void* out;       // [m, heads, head_size] of out_dtype
  Element out_dtype;
  PrefillPlan plan;
  PrefillCounters* counters;
  std::byte* ring;  // [slots][2 (keys, values)][kKvPageTokens][head_size]
  float* states;    // [plan.state_slots][prefill_state_floats]
  LinkState* links;
  int32_t groups;  // segments x KV heads
  int32_t slots;
  int32_t readers;               // thread blocks of each tier that copy to the ring, at most
  int32_t tiers;                 // with items
  int32_t tier[kMaxTiers];       // which
  bool overlap_previous = true;  // not for the kernel: false where pages come by a copy before it
};

// on_tensor_cores() pages with has_prefill_tiles(), with sm_90a.
void launch_prefill_attention(const PrefillParams& params, int sm_count, cudaStream_t stream);

}  // namespace dak::cuda
