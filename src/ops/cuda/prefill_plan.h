// How attention of many query rows a sequence is cut into units of work. No CUDA here: the host
// makes the plan (prefill_plan.cc), sm90_prefill_attention.cuh follows it.
//
//   tile     kPrefillTileRows query rows of one KV head: (token, query head of the group), tokens
//            outermost, so that the heads that share keys fill tiles of short prompts too
//   segment  kPrefillSegmentTokens tokens of a sequence, from multiples of that on. A row's sums go
//            through a segment token by token and then segment by segment, always: so its bits
//            depend on its token index alone
//   unit     one tile over one segment. Units are taken in the order of the plan: sequences, groups
//            of KV heads, segments, heads of the group, tiles from the last down. A group has so
//            many tiles that those of one segment keep a GPU busy: else the next segment's would
//            wait for them (one KV head at a time: 512 rows behind 32,768 tokens took 1.2 times as
//            long)
//   item     the keys and values of one remote page and KV head, in the order in which units need
//            them; readers bring items to a ring of slots in device memory
//   state    what a tile's units leave for the next: as many slots as a group has tiles, or more
//
// A unit waits for earlier ones alone (the state of its tile, the ring's slots), so the
// thread block with the earliest unfinished unit can go on: nothing is ever stuck.
#pragma once

#include <cstdint>

#include "memory/tier.h"
#include "ops/cuda/kv_layout.h"

namespace dak::cuda {

inline constexpr int kPrefillTileRows = 128;
inline constexpr int kPrefillTokens = 128;  // of keys and values at a time: two pages
inline constexpr int kPrefillSegmentTokens = 8192;
inline constexpr int kPrefillSegmentPages = kPrefillSegmentTokens / kKvPageTokens;
// Sequences with so many query rows go this way, whatever else is in the batch.
inline constexpr int64_t kPrefillLeastRows = 16;
inline constexpr int64_t kPrefillRingBytes = int64_t{32} << 20;
// Steps that a state's slot counts for each tile that has it in turn: more than segments of any.
inline constexpr uint32_t kStateSteps = 4096;
// Tiles of a group of KV heads at least, unless all heads have fewer; more than a GPU has SMs.
inline constexpr int64_t kPrefillGroupTiles = 160;

// Head sizes that the kernel is made for.
constexpr bool has_prefill_tiles(int64_t head_size) {
  return head_size == 64 || head_size == 80 || head_size == 96 || head_size == 128;
}

struct PrefillSequence {
  int32_t first_row;  // of the batch
  int32_t rows;
  int32_t past;           // tokens before the first row's
  int32_t first_page;     // in the page table
  int32_t first_segment;  // that any row sees
  int32_t segments;
  int32_t segment_at;   // its first entry in the plan's segments
  int32_t group_heads;  // KV heads of a group; the last may have fewer
  int32_t head_units;   // units of one KV head
  int32_t unit_end;     // units of the sequences up to this one and with it
  int32_t head_tiles;   // tiles of one KV head
  int32_t first_state;  // number of its first tile among those that leave states; -1: none does
  int32_t remote_pages;
  int32_t first_remote;  // its first entry in the plan's remote pages
  int32_t first_item;
};

// Tiles that see a segment, of one KV head.
struct PrefillSegment {
  int32_t unit_end;  // units of one KV head up to this segment and with it
  int32_t first_tile;
  int32_t tiles;
  int32_t remote_end;  // the sequence's remote pages up to this segment's and with them
};

// A sequence's remote pages of one tier.
struct PrefillFetches {
  int32_t first;  // in the plan's fetch ranks
  int32_t count;
  int32_t end;  // items of this tier, of the sequences up to this one and with it
};

// State of a tile in floats: its values, and the largest score and the sum of weights as each of
// the 256 threads has them for its two rows.
constexpr int64_t prefill_state_floats(int64_t head_size) {
  return kPrefillTileRows * head_size + 256 * 4;
}
constexpr int64_t prefill_tiles(int64_t rows, int64_t group) {
  return (rows * group + kPrefillTileRows - 1) / kPrefillTileRows;
}
// KV heads of a group, for so many tiles of each.
constexpr int64_t prefill_group_heads(int64_t kv_heads, int64_t tiles) {
  const int64_t groups = kv_heads * tiles / kPrefillGroupTiles;
  return groups < 2 ? kv_heads : (kv_heads + groups - 1) / groups;
}
// States for a sequence of so many rows, or fewer.
constexpr int64_t prefill_states(int64_t rows, int64_t group) {
  return prefill_tiles(rows, group) + 2 * kPrefillGroupTiles;
}

// The plan as a kernel, or a test, reads it.
struct PrefillPlan {
  const PrefillSequence* sequences;
  const PrefillSegment* segments;
  const int32_t* page_ranks;    // [page table]: place among its sequence's remote pages; -1: local
  const int32_t* remote_pages;  // of the sequences, those that rows see, by rank
  const int32_t* fetch_ranks;   // tier by tier, sequence by sequence: ranks of its pages there
  const PrefillFetches* fetches;  // [kMaxTiers - 1][sequences]
  const int32_t* fetch_ends;      // [kMaxTiers - 1][segments]: pages there up to the segment's end
  int32_t sequence_count;
  int32_t segment_count;
  int32_t units;
  int32_t state_slots;
  int32_t kv_heads;
  int32_t group;   // query heads that share a KV head
  int32_t window;  // tokens; 0: none

  // Counter of the units of a segment, the sequence's `segment`-th, and KV head that are done.
  constexpr int32_t counter_of(const PrefillSequence& s, int32_t segment, int32_t kv_head) const {
    return (s.segment_at + segment) * kv_heads + kv_head;
  }
};

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

}  // namespace dak::cuda
