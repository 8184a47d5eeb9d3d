// How the remote row blocks of one launch of a GEMM come to device memory: all that a reader needs,
// in the launch itself or in a kernel ahead of it. No device code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/gemm_schedule.h"
#include "memory/tier.h"

namespace dak {

// Counters of one launch in device memory, all zero before and after it. Behind it lie
// ready[remote blocks][segments], chunks copied, and released[remote blocks], halves of token tiles
// done.
struct GemmCounters {
  uint32_t next_early[kMaxTiers];  // fetches taken of those before early_end, in chunks
  uint32_t next[kMaxTiers];        // of the others
  uint32_t done;                   // thread blocks
  uint32_t readers_ahead;  // of attention ahead of the launch: thread blocks whose link work ended
  uint32_t unused[6];
};

struct GemmFeed {
  const GemmBlock* blocks;  // [groups * kGroupBlocks]
  const GemmFetch* fetches;
  GemmCounters* counters;  // of this launch
  std::byte* ring;         // [slots][row block]; null: remote row blocks are read where they lie
  int64_t block_bytes;     // of a row block
  int32_t slots;
  int32_t chunks;    // of 64 columns
  int32_t segments;  // along K
  int32_t remote_blocks;
  int32_t tiers;                   // with fetches
  int32_t tier[kMaxTiers];         // which
  int32_t fetch_begin[kMaxTiers];  // of each of them
  int32_t fetch_end[kMaxTiers];
  // Fetches before it go to slots that are free from the start, so that a kernel ahead of the
  // launch may make them without ever waiting.
  int32_t early_end[kMaxTiers];
};

// Launches that a kernel may fetch for: the next two with remote row blocks, one for each half of
// the workspace. Without a ring: none.
inline constexpr int kGemmAhead = 2;

}  // namespace dak
