// Prefill attention: what lies where in shared memory, and the units of work as thread blocks take
// them.
#pragma once

#include <cstddef>

#include "kernels/ptx/cluster.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/ptx/wgmma.cuh"
#include "kernels/ring.cuh"
#include "ops/cuda/sm90_prefill_attention.h"

namespace dak::cuda {

template <int kHeadSize>
struct PrefillShape {
  static constexpr int kTokens = 128;  // of keys and values at a time: two pages
  static constexpr int kPages = kTokens / static_cast<int>(kKvPageTokens);
  static constexpr int kUnits = kHeadSize / 8;  // of 16 bytes in a row
  static constexpr int kPanel = kv_panel_units(kUnits);
  static constexpr ptx::Swizzle kSwizzle = kPanel == 8   ? ptx::Swizzle::k128
                                           : kPanel == 4 ? ptx::Swizzle::k64
                                                         : ptx::Swizzle::k32;
  static constexpr uint32_t kPanelBytes = 8 * kPanel * 16;
  static constexpr uint32_t kEightBytes = 8 * kHeadSize * 2;  // eight rows or tokens
  static constexpr uint32_t kPageBytes = kKvPageTokens * kHeadSize * 2;  // keys or values of a head
  static constexpr uint32_t kTileBytes = kPages * kPageBytes;
  static constexpr uint32_t kQueryBytes = kPrefillTileRows * kHeadSize * 2;
  static constexpr int kStages = kHeadSize <= 64 ? 4 : kHeadSize <= 96 ? 3 : 2;
  // A reader's copy: a whole, half or quarter of a page's keys or values.
  static constexpr uint32_t kCopyBytes = kPageBytes <= 8192 ? kPageBytes : kPageBytes / 2;
  static constexpr uint32_t kItemCopies = 2 * kPageBytes / kCopyBytes;
  static constexpr int kThreads = 3 * 128;  // producers, and two warpgroups with half a tile each
  static constexpr uint32_t kControlBytes = 1024;
  static constexpr uint32_t kSharedBytes =
      2 * kQueryBytes + kStages * 2 * kTileBytes + kCopyBytes + kControlBytes + 1024;
  static_assert(kSharedBytes <= 227 * 1024);
  static_assert(kTileBytes % 1024 == 0 && kQueryBytes % 2048 == 0 && kCopyBytes <= 8192);
};

// A tile over a segment.
struct PrefillUnit {
  int32_t valid;      // 0: there are no more
  int32_t first_row;  // of the batch
  int32_t rows;       // of the sequence
  int32_t past;
  int32_t kv_head;
  int32_t first_index;  // the tile's first among rows x heads of the group
  int32_t begin;        // keys and values: [begin, end), in kTokens tokens
  int32_t end;
  int32_t seen;         // tokens of the sequence that exist
  int32_t first_page;   // of the sequence, in the page table
  int32_t remote_item;  // item of the sequence's first remote page, of this head
  int32_t group;        // counter of those that are done
  int32_t state;        // slot; -1: the unit is all of its tile
  uint32_t progress;    // of the slot once it is this unit's turn
  int32_t is_first;     // of its tile
  int32_t is_last;
};

template <typename Shape>
struct PrefillControl {
  ptx::Barrier keys_full[Shape::kStages];
  ptx::Barrier keys_empty[Shape::kStages];
  ptx::Barrier values_full[Shape::kStages];
  ptx::Barrier values_empty[Shape::kStages];
  ptx::Barrier unit_full[2];   // units[i] is there
  ptx::Barrier query_full[2];  // and its queries
  ptx::Barrier unit_empty[2];  // both are done with
  ptx::Barrier copied;         // the reader's
  PrefillUnit units[2];
  uint32_t is_last;
};

template <typename Shape>
struct PrefillShared {
  std::byte* queries;  // [2][rows], as keys lie in a page
  std::byte* stages;
  std::byte* copy;  // the reader's
  PrefillControl<Shape>* control;

  __device__ explicit PrefillShared(std::byte* raw) {
    queries = raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
    stages = queries + 2 * Shape::kQueryBytes;
    copy = stages + Shape::kStages * 2 * Shape::kTileBytes;
    control = reinterpret_cast<PrefillControl<Shape>*>(copy + Shape::kCopyBytes);
    static_assert(sizeof(PrefillControl<Shape>) <= Shape::kControlBytes);
  }
  __device__ std::byte* query(uint32_t slot) const { return queries + slot * Shape::kQueryBytes; }
  __device__ std::byte* keys(uint32_t stage) const {
    return stages + stage * 2 * Shape::kTileBytes;
  }
  __device__ std::byte* values(uint32_t stage) const { return keys(stage) + Shape::kTileBytes; }
};

__device__ inline uint32_t* prefill_done(const PrefillParams& p) {
  return reinterpret_cast<uint32_t*>(p.counters + 1);
}
__device__ inline uint32_t* prefill_ready(const PrefillParams& p) {
  return prefill_done(p) + p.groups;
}
__device__ inline uint32_t* prefill_progress(const PrefillParams& p) {
  return prefill_ready(p) + p.slots;
}

__device__ inline int32_t group_of(const PrefillParams& p, const PrefillSequence& s,
                                   int32_t segment, int32_t kv_head) {
  return (s.segment_at + segment) * static_cast<int32_t>(p.kv.kv_heads) + kv_head;
}

// Steps that a state's slot counts for each tile that has it in turn.
inline constexpr uint32_t kStateSteps = 4096;

__device__ inline PrefillUnit find_unit(const PrefillParams& p, int32_t index) {
  PrefillUnit unit{};
  if (index >= p.units) return unit;
  const PrefillSequence* at = p.sequences;
  int32_t begin = 0;
  for (; index >= at->unit_end; ++at) begin = at->unit_end;
  const PrefillSequence s = *at;
  const auto group = static_cast<int32_t>(p.kv.heads / p.kv.kv_heads);
  const int32_t in_head = (index - begin) % s.head_units;
  unit.kv_head = (index - begin) / s.head_units;
  int32_t segment = 0;
  int32_t segment_begin = 0;
  for (; in_head >= p.segments[s.segment_at + segment].unit_end; ++segment) {
    segment_begin = p.segments[s.segment_at + segment].unit_end;
  }
  const PrefillSegment found = p.segments[s.segment_at + segment];
  const int32_t tile = found.first_tile + found.tiles - 1 - (in_head - segment_begin);

  unit.valid = 1;
  unit.first_row = s.first_row;
  unit.rows = s.rows;
  unit.past = s.past;
  unit.first_index = tile * kPrefillTileRows;
  unit.seen = s.past + s.rows;
  unit.first_page = s.first_page;
  unit.remote_item = s.first_item + unit.kv_head * s.remote_pages;
  unit.group = group_of(p, s, segment, unit.kv_head);
  const int32_t first_token = s.past + unit.first_index / group;
  const int32_t last_token =
      s.past + (min(unit.first_index + kPrefillTileRows, s.rows * group) - 1) / group;
  const int32_t first_seen =
      p.kv.window > 0 ? max(0, first_token + 1 - static_cast<int32_t>(p.kv.window)) : 0;
  const int32_t place = s.first_segment + segment;
  const int32_t first_segment = first_seen / kPrefillSegmentTokens;
  unit.begin = max(first_seen, place * kPrefillSegmentTokens) / 128;
  unit.end = (min(last_token + 1, (place + 1) * kPrefillSegmentTokens) + 127) / 128;
  unit.is_first = place == first_segment ? 1 : 0;
  unit.is_last = place == last_token / kPrefillSegmentTokens ? 1 : 0;
  unit.state = -1;
  if (s.first_state >= 0) {
    const int32_t number = s.first_state + unit.kv_head * s.head_tiles + tile;
    unit.state = number % p.state_slots;
    unit.progress = static_cast<uint32_t>(number / p.state_slots) * kStateSteps +
                    static_cast<uint32_t>(place - first_segment);
  }
  return unit;
}

}  // namespace dak::cuda
