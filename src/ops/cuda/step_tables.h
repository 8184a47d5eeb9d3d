// What recorded steps know of KV pages: where the pages of each row lie in every layer, and which
// runs of them attention reads from which tier. The host's copy, which knows what of it the device
// does not have yet, so that only that goes up. No CUDA here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"

namespace dak::cuda {

// A run of a row (kv_layout.h) and the tier whose readers take it.
struct TierRun {
  TierIndex tier;
  uint64_t entry;

  bool operator==(const TierRun&) const = default;
};
// Those of a row that has so many pages. `ring`: for takes_ring rows, whose last run is no longer
// than the others.
std::vector<TierRun> runs_of_row(std::span<const KvPage> pages, int64_t row, bool ring);
// AttentionParams::runs: [kMaxTiers] how many, then those of tier 0, of tier 1 and so on.
void list_runs(std::span<const std::vector<TierRun>> rows, std::span<uint64_t> list);

class StepTables {
 public:
  struct Room {
    int64_t rows = 0;    // of the largest step
    int64_t layers = 0;  // of the model
    int64_t pages = 0;   // of a sequence

    int64_t row_pages() const { return layers * pages; }  // of a row in all layers
    int64_t table_bytes() const { return rows * row_pages() * 8; }
    int64_t runs_of_layer() const;  // entries of a list of runs
    int64_t run_bytes() const { return layers * runs_of_layer() * 8; }
    bool holds(const Room& other) const {
      return rows >= other.rows && layers == other.layers && pages == other.pages;
    }
  };
  const Room& room() const { return room_; }
  // Whatever was told before is forgotten. `seen`: attention sees pages elsewhere than they lie, in
  // a table of its own.
  void set_room(const Room& room, bool seen);
  bool has_seen() const { return !tables_[kSeen].pages.empty(); }

  // A layer's pages, a row for each sequence, row i of sequence i. `seen`: as attention sees them;
  // empty: as they are. `versions`: of each row's pages; rows with the version of last time are not
  // looked at (nor is this so with `seen`). Empty: all are.
  static constexpr int64_t kNoVersion = -1;
  void set(int64_t layer, std::span<const KvSequence> sequences, std::span<const KvSequence> seen,
           std::span<const int64_t> versions, bool ring);

  enum Which : size_t { kLie, kSeen };
  // Pages [first, last) of a row, in all layers, that are not on the device.
  struct PageChange {
    int64_t row = 0;
    int64_t first = 0;
    int64_t last = 0;
  };
  // Those that there are; they count as sent from here on.
  std::vector<PageChange> take_changes(Which which);
  // Of a row's table in one layer.
  std::span<std::byte* const> pages_of(Which which, int64_t row, int64_t layer) const;

  // Layers [first, last) whose lists of runs are not on the device; the same.
  struct LayerRange {
    int64_t first = 0;
    int64_t last = 0;
  };
  LayerRange take_run_changes();
  std::span<const uint64_t> runs_of(const LayerRange& layers) const;

 private:
  struct Table {
    std::vector<std::byte*> pages;    // [rows][layers][pages]
    std::vector<PageChange> changes;  // [rows]; first == last: none
  };
  void write_row(Table& table, int64_t row, int64_t layer, std::span<const KvPage> pages);

  Room room_;
  Table tables_[2];
  std::vector<int64_t> versions_;           // [layers][rows]
  std::vector<std::vector<TierRun>> runs_;  // [layers][rows]
  std::vector<int64_t> listed_;             // [layers] rows in the list
  std::vector<uint64_t> lists_;             // [layers][runs_of_layer]
  LayerRange run_changes_;
};

}  // namespace dak::cuda
