// What is at a place of the plan of prefill_plan.h: its units of work and items. For kernels and
// tests; no CUDA here.
#pragma once

#include "ops/cuda/prefill_plan.h"

namespace dak::cuda {

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
