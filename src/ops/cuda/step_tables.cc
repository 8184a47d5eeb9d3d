#include "ops/cuda/step_tables.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "ops/cuda/kv_layout.h"

namespace dak::cuda {
namespace {

// Without the ring, a row's last run is taken for as long as it can be.
std::span<const KvPage> pages_of_run(std::span<const KvPage> pages, int64_t run, bool ring) {
  const auto first = static_cast<size_t>(run * kRunPages);
  const size_t left = pages.size() - first;
  constexpr size_t kWhole = kRunPages;
  const size_t longest = ring ? kWhole : 2 * kWhole - 1;
  return pages.subspan(first, left <= longest ? left : kWhole);
}

}  // namespace

std::vector<TierRun> runs_of_row(std::span<const KvPage> pages, int64_t row, bool ring) {
  std::vector<TierRun> runs;
  for (int64_t run = 0; run < kv_runs_for(std::ssize(pages)); ++run) {
    uint32_t remote = 0;
    TierIndex tier = 0;
    uint32_t bit = 1;
    for (const KvPage& page : pages_of_run(pages, run, ring)) {
      if (page.tier != 0 && tier == 0) tier = page.tier;
      if (page.tier != 0) remote |= bit;
      bit <<= 1;
    }
    runs.push_back({.tier = tier, .entry = run_entry(row, run, remote)});
  }
  return runs;
}

void list_runs(std::span<const std::vector<TierRun>> rows, std::span<uint64_t> list) {
  std::array<uint64_t, kMaxTiers> counts{};
  for (const auto& row : rows) {
    for (const TierRun& run : row) ++counts[run.tier];
  }
  std::array<size_t, kMaxTiers> next{};
  size_t end = kMaxTiers;
  for (size_t tier = 0; tier < kMaxTiers; ++tier) {
    list[tier] = counts[tier];
    next[tier] = end;
    end += counts[tier];
  }
  require(end <= list.size(), "attention: more runs than their list has room for");
  for (const auto& row : rows) {
    for (const TierRun& run : row) list[next[run.tier]++] = run.entry;
  }
}

int64_t StepTables::Room::runs_of_layer() const { return kMaxTiers + rows * kv_runs_for(pages); }

void StepTables::set_room(const Room& room, bool seen) {
  room_ = room;
  const auto rows = static_cast<size_t>(room.rows);
  const auto layers = static_cast<size_t>(room.layers);
  for (size_t which = 0; which < 2; ++which) {
    const size_t used = which == kLie || seen ? rows : 0;
    tables_[which].pages.assign(used * static_cast<size_t>(room.row_pages()), nullptr);
    tables_[which].changes.assign(used, {});
  }
  versions_.assign(layers * rows, kNoVersion);
  runs_.assign(layers * rows, {});
  listed_.assign(layers, -1);
  lists_.assign(layers * static_cast<size_t>(room.runs_of_layer()), 0);
  run_changes_ = {};
}

void StepTables::write_row(Table& table, int64_t row, int64_t layer,
                           std::span<const KvPage> pages) {
  PageChange& change = table.changes[static_cast<size_t>(row)];
  std::byte** places = table.pages.data() + row * room_.row_pages() + layer * room_.pages;
  for (int64_t page = 0; page < std::ssize(pages); ++page) {
    std::byte* const data = pages[static_cast<size_t>(page)].data;
    if (places[page] == data) continue;
    places[page] = data;
    if (change.first == change.last) change = {.row = row, .first = page, .last = page};
    change.first = std::min(change.first, page);
    change.last = std::max(change.last, page + 1);
  }
}

void StepTables::set(int64_t layer, std::span<const KvSequence> sequences,
                     std::span<const KvSequence> seen, std::span<const int64_t> versions,
                     bool ring) {
  const auto rows = std::ssize(sequences);
  require(layer < room_.layers && rows <= room_.rows && (seen.empty() || has_seen()),
          "a step's tables have no room for its rows");
  const auto first = static_cast<size_t>(layer * room_.rows);
  bool changed = listed_[static_cast<size_t>(layer)] != rows;
  for (int64_t row = 0; row < rows; ++row) {
    const auto i = static_cast<size_t>(row);
    const int64_t version = versions.empty() ? kNoVersion : versions[i];
    if (version != kNoVersion && version == versions_[first + i] && seen.empty()) continue;
    require(sequences[i].first_row == row && sequences[i].rows == 1 &&
                std::ssize(sequences[i].pages) <= room_.pages,
            "a step's table has a row for each sequence");
    versions_[first + i] = version;
    write_row(tables_[kLie], row, layer, sequences[i].pages);
    if (!seen.empty()) write_row(tables_[kSeen], row, layer, seen[i].pages);
    std::vector<TierRun> runs = runs_of_row((seen.empty() ? sequences : seen)[i].pages, row, ring);
    if (runs == runs_[first + i]) continue;
    runs_[first + i] = std::move(runs);
    changed = true;
  }
  if (!changed) return;
  listed_[static_cast<size_t>(layer)] = rows;
  const auto length = static_cast<size_t>(room_.runs_of_layer());
  list_runs(std::span(runs_).subspan(first, static_cast<size_t>(rows)),
            std::span(lists_).subspan(static_cast<size_t>(layer) * length, length));
  if (run_changes_.first == run_changes_.last) run_changes_ = {.first = layer, .last = layer};
  run_changes_.first = std::min(run_changes_.first, layer);
  run_changes_.last = std::max(run_changes_.last, layer + 1);
}

std::vector<StepTables::PageChange> StepTables::take_changes(Which which) {
  std::vector<PageChange> taken;
  for (PageChange& change : tables_[which].changes) {
    if (change.first == change.last) continue;
    taken.push_back(change);
    change = {};
  }
  return taken;
}

std::span<std::byte* const> StepTables::pages_of(Which which, int64_t row, int64_t layer) const {
  return std::span(tables_[which].pages)
      .subspan(static_cast<size_t>(row * room_.row_pages() + layer * room_.pages),
               static_cast<size_t>(room_.pages));
}

StepTables::LayerRange StepTables::take_run_changes() {
  const LayerRange taken = run_changes_;
  run_changes_ = {};
  return taken;
}

std::span<const uint64_t> StepTables::runs_of(const LayerRange& layers) const {
  const int64_t length = room_.runs_of_layer();
  return std::span(lists_).subspan(static_cast<size_t>(layers.first * length),
                                   static_cast<size_t>((layers.last - layers.first) * length));
}

}  // namespace dak::cuda
