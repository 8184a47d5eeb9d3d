// How a GPU lays out KV pages and shares out their reading. No CUDA here.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace dak::cuda {

// kPageTokens of ops/attention.h, whose headers nvcc 13 cannot read (fmt's consteval checks).
inline constexpr int64_t kKvPageTokens = 64;

// Head sizes and types that paged_attention.cuh multiplies with tensor cores. Their pages are
// stored swizzled, whichever kernels read them.
constexpr bool on_tensor_cores(Element kv_dtype, int64_t head_size) {
  return kv_dtype != Element::kF32 &&
         (head_size == 16 || head_size == 32 || head_size == 64 || head_size == 80 ||
          head_size == 96 || head_size == 128 || head_size == 256);
}
// A token's row has head_size / 8 units of 16 bytes. Eight tokens lie together, cut into panels of
// at most eight units (the widest of 8, 4 and 2 that divides a row), each panel [8 tokens][units],
// its units permuted by token so that the same one of all eight tokens is in different banks of
// shared memory: the 128-, 64- or 32-byte swizzle of wgmma and TMA, for whole panels at addresses
// that are multiples of their size.
constexpr int kv_panel_units(int units) { return units % 8 == 0 ? 8 : units % 4 == 0 ? 4 : 2; }
// Where unit `unit` of token `token` lies, in units from the start of a page's head.
constexpr int kv_place(int token, int unit, int units) {
  const int width = kv_panel_units(units);
  const int row = token % 8;
  return token / 8 * 8 * units + unit / width * 8 * width + row * width +
         ((unit % width) ^ (row / (8 / width)));
}
// Which token's unit lies there.
constexpr int kv_token_at(int place, int units) {
  return place / (8 * units) * 8 + place % (8 * kv_panel_units(units)) / kv_panel_units(units);
}

// Attention's runs: a sequence's pages are cut at every kRunPages-th, whatever is seen of them, so
// that a tier is read evenly when whole runs lie in it. Sequences with fewer than kPrefillLeastRows
// query rows (prefill_plan.h) are cut so; a launch takes one row of each of any number of them, or
// no more than kMostCutRows rows and kMostCutRuns rows x runs.
inline constexpr int kRunPages = 16;
inline constexpr int64_t kMostCutRows = 64;
inline constexpr int64_t kMostCutRuns = 2048;
constexpr int64_t kv_runs_for(int64_t pages) { return (pages + kRunPages - 1) / kRunPages; }
// Rows that one launch takes in an engine that decodes so many sequences side by side and has
// passes of so many rows, each with up to `pages` pages.
constexpr int64_t most_cut_rows(int64_t sequences, int64_t rows, int64_t pages) {
  const int64_t by_runs = kMostCutRuns / kv_runs_for(pages);
  const int64_t of_pass = rows < kMostCutRows ? rows : kMostCutRows;
  const int64_t cut = of_pass < by_runs ? of_pass : by_runs;
  return sequences > cut ? sequences : cut;
}
// The last run of so many pages, where a rest shorter than a run belongs to the run before it.
constexpr int64_t last_run(int64_t pages) {
  return pages < 2 * kRunPages ? 0 : pages / kRunPages - 1;
}
// A run of a row; bit i of `remote`: its page i, of up to 2 kRunPages - 1, is not local.
constexpr uint64_t run_entry(int64_t row, int64_t run, uint32_t remote) {
  return uint64_t{remote} << 32 | static_cast<uint64_t>(row) << 16 | static_cast<uint64_t>(run);
}
inline constexpr int64_t kMostRunRows = 1 << 16;  // and runs of a row

// Which of two kernels takes rows of such a shape: ring_attention.cuh or paged_attention.cuh. With
// 2 to 8 query heads to a KV head, what the first sums up over the runs of long rows holds it up
// more than the second loses between units (8 heads, 32 x 8,192: 0.41 and 0.31 ms); with one the
// first is up to 13 % faster, and with more than 8 it alone reads a page once for all of them.
constexpr bool takes_ring(int64_t heads, int64_t kv_heads) {
  return heads == kv_heads || heads / kv_heads > 8;
}

// There, a run adds up from parts of so many pages, in their order. Runs that do not share out
// evenly over the thread blocks are shared out by parts, so that one short row, too, keeps a GPU
// busy. With more query heads to a KV head than one tile, a run is one part: those who sum up have
// room for one tile's values.
inline constexpr int kPartPages = 4;
constexpr int part_pages(int64_t group_tiles) { return group_tiles == 1 ? kPartPages : kRunPages; }
inline constexpr int kRunParts = kRunPages / kPartPages;
inline constexpr int kMostBlocks = 192;  // thread blocks of attention; an H200 has 132 SMs

// What a row's runs leave is summed up in groups of so many, then the groups.
inline constexpr int kGroupRuns = 16;
// Query heads are multiplied 8 at a time; up to 8 such tiles share what is read of a KV head.
inline constexpr int kTileHeads = 8;
constexpr int most_pass_tiles(int64_t head_size) { return head_size <= 128 ? 8 : 4; }
// Warps that sum up, each its share of a piece's values, with counters of its own.
inline constexpr int kMergeWarps = 2;
// A piece: values [tile_heads, head_size], then for each of these warps its largest score and its
// sum of weights, [tile_heads] each.
constexpr int64_t piece_floats(int64_t tile_heads, int64_t head_size) {
  return tile_heads * (head_size + 2 * kMergeWarps);
}

// What `rows` rows of up to `pages` pages each leave of their runs, in paged_attention.cuh.
struct AttentionPieces {
  int64_t runs;  // of a row
  int64_t value_bytes;
  int64_t counters;  // of 4 bytes
};
constexpr AttentionPieces attention_pieces(int64_t heads, int64_t kv_heads, int64_t head_size,
                                           int64_t rows, int64_t pages) {
  const int64_t group = heads / kv_heads;
  const int64_t tile_heads = group < kTileHeads ? group : kTileHeads;
  const int64_t places = rows * kv_heads * ((group + kTileHeads - 1) / kTileHeads);
  const int64_t runs = kv_runs_for(pages);
  return {.runs = runs,
          .value_bytes = places * runs * tile_heads * (head_size + 2) * 4,
          .counters = places * (1 + (runs + kGroupRuns - 1) / kGroupRuns)};
}

// The same of ring_attention.cuh: of runs, and of those that thread blocks share.
struct RingPieces {
  int64_t runs;    // of a row
  int64_t groups;  // of those
  int64_t run_floats;
  int64_t part_floats;
  int64_t run_counters;
  int64_t part_counters;

  int64_t value_bytes() const { return (run_floats + part_floats) * 4; }
  int64_t counters() const { return run_counters + part_counters; }
};
constexpr RingPieces ring_pieces(int64_t heads, int64_t kv_heads, int64_t head_size, int64_t rows,
                                 int64_t pages) {
  const int64_t group = heads / kv_heads;
  const int64_t tiles = (group + kTileHeads - 1) / kTileHeads;
  const int64_t floats = piece_floats(tiles > 1 ? kTileHeads : group, head_size);
  const int64_t places = rows * kv_heads * tiles;
  const int64_t runs = kv_runs_for(pages);
  const int64_t groups = (runs + kGroupRuns - 1) / kGroupRuns;
  const int64_t shared_runs = tiles > 1 ? 0 : kMostBlocks;
  return {.runs = runs,
          .groups = groups,
          .run_floats = places * runs * floats,
          .part_floats = shared_runs * kRunParts * floats,
          .run_counters = places * (1 + groups) * kMergeWarps,
          .part_counters = shared_runs * kMergeWarps};
}

}  // namespace dak::cuda
