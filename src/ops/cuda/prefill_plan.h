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
  int32_t remote_item;  // with a remote page's rank: its item
  int32_t counter;      // of those that are done
  int32_t state;        // slot; -1: the unit is all of its tile
  uint32_t progress;    // of the slot once it is this unit's turn
  int32_t is_first;     // of its tile
  int32_t is_last;
};

// A place in the order of the plan: of `index` things, `ends[segment]` of them for each KV head up
// to the end of each segment.
struct PrefillPlace {
  int32_t kv_head;
  int32_t segment;  // of the sequence's
  int32_t before;   // things of a head in earlier segments
  int32_t index;    // among the head's in the segment
};
template <typename EndOf>
constexpr PrefillPlace find_place(const PrefillPlan& plan, const PrefillSequence& s, int32_t index,
                                  int32_t of_head, const EndOf& end_of) {
  const int32_t group = index / (s.group_heads * of_head);
  const int32_t first_head = group * s.group_heads;
  const int32_t heads =
      plan.kv_heads - first_head < s.group_heads ? plan.kv_heads - first_head : s.group_heads;
  const int32_t in_group = index - first_head * of_head;
  PrefillPlace place{};
  int32_t end = end_of(0);
  while (in_group >= end * heads) {
    place.before = end;
    end = end_of(++place.segment);
  }
  const int32_t in_segment = in_group - place.before * heads;
  place.kv_head = first_head + in_segment / (end - place.before);
  place.index = in_segment % (end - place.before);
  return place;
}

// Item of the sequence's remote page 0 of a segment and KV head, had it one there: add its rank.
constexpr int32_t remote_item_of(const PrefillPlan& plan, const PrefillSequence& s, int32_t segment,
                                 int32_t kv_head) {
  const int32_t first_head = kv_head / s.group_heads * s.group_heads;
  const int32_t heads =
      plan.kv_heads - first_head < s.group_heads ? plan.kv_heads - first_head : s.group_heads;
  const PrefillSegment* segments = plan.segments + s.segment_at;
  const int32_t before = segment > 0 ? segments[segment - 1].remote_end : 0;
  return s.first_item + first_head * s.remote_pages + heads * before +
         (kv_head - first_head) * (segments[segment].remote_end - before) - before;
}

// The `index`-th unit of the plan.
constexpr PrefillUnit find_unit(const PrefillPlan& plan, int32_t index) {
  PrefillUnit unit{};
  if (index >= plan.units) return unit;
  const PrefillSequence* at = plan.sequences;
  int32_t before = 0;
  for (; index >= at->unit_end; ++at) before = at->unit_end;
  const PrefillSequence& s = *at;
  const PrefillSegment* segments = plan.segments + s.segment_at;
  const PrefillPlace found =
      find_place(plan, s, index - before, s.head_units,
                 [segments](int32_t segment) { return segments[segment].unit_end; });
  const PrefillSegment& seen_by = segments[found.segment];
  const int32_t tile = seen_by.first_tile + seen_by.tiles - 1 - found.index;

  unit.kv_head = found.kv_head;
  unit.valid = 1;
  unit.first_row = s.first_row;
  unit.rows = s.rows;
  unit.past = s.past;
  unit.first_index = tile * kPrefillTileRows;
  unit.seen = s.past + s.rows;
  unit.first_page = s.first_page;
  unit.remote_item = remote_item_of(plan, s, found.segment, unit.kv_head);
  unit.counter = plan.counter_of(s, found.segment, unit.kv_head);
  const int32_t indices = s.rows * plan.group;
  const int32_t end_index =
      unit.first_index + kPrefillTileRows < indices ? unit.first_index + kPrefillTileRows : indices;
  const int32_t first_token = s.past + unit.first_index / plan.group;
  const int32_t last_token = s.past + (end_index - 1) / plan.group;
  const int32_t first_seen =
      plan.window > 0 && first_token >= plan.window ? first_token + 1 - plan.window : 0;
  const int32_t place = s.first_segment + found.segment;
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
  const int32_t* ends = plan.fetch_ends + (tier - 1) * plan.segment_count + s.segment_at;
  const PrefillPlace found = find_place(plan, s, index - before, of_tier.count,
                                        [ends](int32_t segment) { return ends[segment]; });
  const int32_t rank = plan.fetch_ranks[of_tier.first + found.before + found.index];
  PrefillItem item{};
  item.kv_head = found.kv_head;
  item.number = remote_item_of(plan, s, found.segment, found.kv_head) + rank;
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
  const PrefillSegment* segments = plan.segments + s->segment_at;
  const PrefillPlace found =
      find_place(plan, *s, number - s->first_item, s->remote_pages,
                 [segments](int32_t segment) { return segments[segment].remote_end; });
  return {plan.counter_of(*s, found.segment, found.kv_head), segments[found.segment].tiles};
}

}  // namespace dak::cuda
