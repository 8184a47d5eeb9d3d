// How attention of many query rows a sequence is cut into units of work. No CUDA here: the host
// makes the plan (prefill_plan.cc), sm90_prefill_attention.cuh follows it.
//
//   tile     kPrefillTileRows query rows of one KV head: (token, query head of the group), tokens
//            outermost, so that the heads that share keys fill tiles of short prompts too
//   segment  kPrefillSegmentTokens tokens of a sequence, from multiples of that on. A row's sums go
//            through a segment token by token and then segment by segment, always: so its bits
//            depend on its token index alone
//   unit     one tile over one segment. Units are taken in the order of the plan: sequences, KV
//            heads, segments, tiles from the last down
//   item     the keys and values of one remote page and KV head, in the order in which units need
//            them; readers bring items to a ring of slots in device memory
//   state    what a tile's units leave for the next: as many slots as tiles of one KV head, and
//            some more
//
// A unit waits for earlier ones alone (the state of its tile, the ring's slots), so whoever holds
// the earliest unfinished unit can go on: nothing is ever stuck.
#pragma once

#include <cstdint>

namespace dak::cuda {

inline constexpr int kPrefillTileRows = 128;
inline constexpr int kPrefillSegmentTokens = 8192;
// Sequences with so many query rows go this way, whatever else is in the batch.
inline constexpr int64_t kPrefillLeastRows = 16;
inline constexpr int64_t kPrefillRingBytes = int64_t{32} << 20;
// Beyond the tiles of one KV head: units in flight may belong to so many more.
inline constexpr int64_t kPrefillSpareStates = 264;

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
// States that `rows` rows of a sequence need.
constexpr int64_t prefill_states(int64_t rows, int64_t group) {
  return (rows * group + kPrefillTileRows - 1) / kPrefillTileRows + kPrefillSpareStates;
}

}  // namespace dak::cuda
