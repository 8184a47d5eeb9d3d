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

#include "memory/tier.h"

namespace dak::cuda {

inline constexpr int kPrefillTileRows = 128;
inline constexpr int kPrefillTokens = 128;  // of keys and values at a time: two pages
inline constexpr int kPrefillSegmentTokens = 8192;
inline constexpr int kPrefillSegmentPages = kPrefillSegmentTokens / 64;
// Sequences with so many query rows go this way, whatever else is in the batch.
inline constexpr int64_t kPrefillLeastRows = 16;
inline constexpr int64_t kPrefillRingBytes = int64_t{32} << 20;
// Steps that a state's slot counts for each tile that has it in turn: more than segments of any.
inline constexpr uint32_t kStateSteps = 4096;
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

// The plan as a kernel, or a test, reads it.
struct PrefillPlan {
  const PrefillSequence* sequences;
  const PrefillSegment* segments;
  const int32_t* page_ranks;    // [page table]: place among its sequence's remote pages; -1: local
  const int32_t* remote_pages;  // of the sequences, those that rows see, by rank
  const int32_t* fetch_ranks;
  const PrefillFetches* fetches;  // [kMaxTiers - 1][sequences]; ranks among the remote pages
  int32_t sequence_count;
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

// A tile over a segment.
struct PrefillUnit {
  int32_t valid;      // 0: there are no more
  int32_t first_row;  // of the batch
  int32_t rows;       // of the sequence
  int32_t past;
  int32_t kv_head;
  int32_t first_index;  // the tile's first among rows x heads of the group
  int32_t begin;        // keys and values: [begin, end), in kPrefillTokens tokens
  int32_t end;
  int32_t seen;         // tokens of the sequence that exist
  int32_t first_page;   // of the sequence, in the page table
  int32_t remote_item;  // item of the sequence's first remote page, of this head
  int32_t counter;      // of those that are done
  int32_t state;        // slot; -1: the unit is all of its tile
  uint32_t progress;    // of the slot once it is this unit's turn
  int32_t is_first;     // of its tile
  int32_t is_last;
};

// The `index`-th unit of the plan.
constexpr PrefillUnit find_unit(const PrefillPlan& plan, int32_t index) {
  PrefillUnit unit{};
  if (index >= plan.units) return unit;
  const PrefillSequence* at = plan.sequences;
  int32_t before = 0;
  for (; index >= at->unit_end; ++at) before = at->unit_end;
  const PrefillSequence& s = *at;
  const int32_t in_head = (index - before) % s.head_units;
  unit.kv_head = (index - before) / s.head_units;
  int32_t segment = 0;
  int32_t segment_before = 0;
  for (; in_head >= plan.segments[s.segment_at + segment].unit_end; ++segment) {
    segment_before = plan.segments[s.segment_at + segment].unit_end;
  }
  const PrefillSegment& found = plan.segments[s.segment_at + segment];
  const int32_t tile = found.first_tile + found.tiles - 1 - (in_head - segment_before);

  unit.valid = 1;
  unit.first_row = s.first_row;
  unit.rows = s.rows;
  unit.past = s.past;
  unit.first_index = tile * kPrefillTileRows;
  unit.seen = s.past + s.rows;
  unit.first_page = s.first_page;
  unit.remote_item = s.first_item + unit.kv_head * s.remote_pages;
  unit.counter = plan.counter_of(s, segment, unit.kv_head);
  const int32_t indices = s.rows * plan.group;
  const int32_t end_index =
      unit.first_index + kPrefillTileRows < indices ? unit.first_index + kPrefillTileRows : indices;
  const int32_t first_token = s.past + unit.first_index / plan.group;
  const int32_t last_token = s.past + (end_index - 1) / plan.group;
  const int32_t first_seen =
      plan.window > 0 && first_token >= plan.window ? first_token + 1 - plan.window : 0;
  const int32_t place = s.first_segment + segment;
  const int32_t first_segment = first_seen / kPrefillSegmentTokens;
  const int32_t segment_begin = place * kPrefillSegmentTokens;
  const int32_t segment_end = segment_begin + kPrefillSegmentTokens;
  unit.is_first = place == first_segment ? 1 : 0;
  unit.is_last = last_token < segment_end ? 1 : 0;
  unit.begin = (unit.is_first != 0 ? first_seen : segment_begin) / kPrefillTokens;
  unit.end =
      ((unit.is_last != 0 ? last_token + 1 : segment_end) + kPrefillTokens - 1) / kPrefillTokens;
  unit.state = -1;
  if (s.first_state >= 0) {
    const int32_t number = s.first_state + unit.kv_head * s.head_tiles + tile;
    unit.state = number % plan.state_slots;
    unit.progress = static_cast<uint32_t>(number / plan.state_slots) * kStateSteps +
                    static_cast<uint32_t>(place - first_segment);
  }
  return unit;
}

// The keys and values of a remote page and KV head.
struct PrefillItem {
  int32_t number;
  int32_t kv_head;
  int32_t page;        // of the sequence
  int32_t table_page;  // in the page table
};

// The `index`-th item of a tier other than 0.
constexpr PrefillItem find_fetch(const PrefillPlan& plan, int32_t tier, int32_t index) {
  const PrefillFetches* fetches = plan.fetches + (tier - 1) * plan.sequence_count;
  int32_t sequence = 0;
  int32_t before = 0;
  for (; index >= fetches[sequence].end; ++sequence) before = fetches[sequence].end;
  const PrefillFetches& of_tier = fetches[sequence];
  const PrefillSequence& s = plan.sequences[sequence];
  const int32_t rank = plan.fetch_ranks[of_tier.first + (index - before) % of_tier.count];
  PrefillItem item{};
  item.kv_head = (index - before) / of_tier.count;
  item.number = s.first_item + item.kv_head * s.remote_pages + rank;
  item.page = plan.remote_pages[s.first_remote + rank];
  item.table_page = s.first_page + item.page;
  return item;
}

// Who uses an item: units of one segment and KV head.
struct PrefillUsers {
  int32_t counter;
  int32_t units;
};
constexpr PrefillUsers users_of_item(const PrefillPlan& plan, int32_t number) {
  const PrefillSequence* s = plan.sequences + plan.sequence_count - 1;
  while (s->remote_pages == 0 || number < s->first_item) --s;
  const int32_t kv_head = (number - s->first_item) / s->remote_pages;
  const int32_t rank = (number - s->first_item) % s->remote_pages;
  const int32_t page = plan.remote_pages[s->first_remote + rank];
  const int32_t segment = page / kPrefillSegmentPages - s->first_segment;
  return {plan.counter_of(*s, segment, kv_head), plan.segments[s->segment_at + segment].tiles};
}

}  // namespace dak::cuda
