// The page tables of recorded steps: what goes up is enough, and no more than has changed.
#include "ops/cuda/step_tables.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "ops/cuda/kv_layout.h"

namespace dak::cuda {
namespace {

constexpr int64_t kRows = 6;
constexpr int64_t kLayers = 3;
constexpr int64_t kPages = 40;
constexpr StepTables::Room kRoom{.rows = kRows, .layers = kLayers, .pages = kPages};

// A sequence of a cache: its pages by layer, with a number that changes when they do.
struct Sequence {
  std::vector<std::vector<KvPage>> pages{kLayers};
  int64_t version = 0;
};

// What the device has, from the changes alone.
class Device {
 public:
  Device() : pages_(kRows * kLayers * kPages), lists_(static_cast<size_t>(kRoom.run_bytes() / 8)) {}

  // Returns how many bytes went up.
  int64_t take(StepTables& tables) {
    int64_t bytes = 0;
    for (const StepTables::PageChange& change : tables.take_changes(StepTables::kLie)) {
      for (int64_t layer = 0; layer < kLayers; ++layer) {
        const auto pages = tables.pages_of(StepTables::kLie, change.row, layer);
        for (int64_t page = change.first; page < change.last; ++page, bytes += 8) {
          pages_[index(change.row, layer, page)] = pages[static_cast<size_t>(page)];
        }
      }
    }
    const StepTables::LayerRange layers = tables.take_run_changes();
    const auto lists = tables.runs_of(layers);
    std::copy(lists.begin(), lists.end(), lists_.begin() + layers.first * kRoom.runs_of_layer());
    return bytes + static_cast<int64_t>(lists.size_bytes());
  }

  void expect(const std::vector<Sequence*>& rows, bool ring) const {
    for (int64_t layer = 0; layer < kLayers; ++layer) {
      std::vector<std::vector<TierRun>> runs;
      for (size_t row = 0; row < rows.size(); ++row) {
        const std::vector<KvPage> none;
        const auto& pages =
            rows[row] != nullptr ? rows[row]->pages[static_cast<size_t>(layer)] : none;
        for (size_t page = 0; page < pages.size(); ++page) {
          ASSERT_EQ(pages_[index(static_cast<int64_t>(row), layer, static_cast<int64_t>(page))],
                    pages[page].data)
              << "row " << row << ", layer " << layer << ", page " << page;
        }
        runs.push_back(runs_of_row(pages, static_cast<int64_t>(row), ring));
      }
      std::vector<uint64_t> list(static_cast<size_t>(kRoom.runs_of_layer()));
      list_runs(runs, list);
      uint64_t count = kMaxTiers;
      for (size_t tier = 0; tier < kMaxTiers; ++tier) count += list[tier];
      const auto own = lists_.begin() + layer * kRoom.runs_of_layer();
      ASSERT_TRUE(std::equal(own, own + static_cast<int64_t>(count), list.begin()))
          << "layer " << layer;
    }
  }

 private:
  static size_t index(int64_t row, int64_t layer, int64_t page) {
    return static_cast<size_t>((row * kLayers + layer) * kPages + page);
  }
  std::vector<std::byte*> pages_;
  std::vector<uint64_t> lists_;
};

void tell(StepTables& tables, const std::vector<Sequence*>& rows, bool ring, bool with_versions) {
  std::vector<int64_t> versions;
  for (const Sequence* row : rows) versions.push_back(row != nullptr ? row->version : 0);
  if (!with_versions) versions.clear();
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    std::vector<KvSequence> sequences;
    for (const Sequence* row : rows) {
      sequences.push_back({.pages = row != nullptr ? row->pages[static_cast<size_t>(layer)]
                                                   : std::span<const KvPage>(),
                           .past = 0,
                           .first_row = std::ssize(sequences),
                           .rows = 1});
    }
    tables.set(layer, sequences, {}, versions, ring);
  }
}

class StepTablesTest : public testing::TestWithParam<bool> {
 protected:
  KvPage new_page(TierIndex tier) {
    return {.data = reinterpret_cast<std::byte*>(++places_ * 4096), .tier = tier};
  }
  void grow(Sequence& sequence, int64_t pages) {
    for (auto& layer : sequence.pages) {
      for (int64_t i = 0; i < pages; ++i) layer.push_back(new_page(0));
    }
    sequence.version = ++versions_;
  }

  uintptr_t places_ = 0;
  int64_t versions_ = 0;
};

// Sequences come to have rows and lose them, grow, and pages move between tiers.
TEST_P(StepTablesTest, TheDeviceHasWhatItWasTold) {
  const bool ring = GetParam();
  std::mt19937 random(41);
  StepTables tables;
  tables.set_room(kRoom, /*seen=*/false);
  Device device;
  std::vector<Sequence> sequences(9);
  for (Sequence& sequence : sequences) grow(sequence, 1 + static_cast<int64_t>(random() % 3));
  for (int step = 0; step < 400; ++step) {
    std::vector<Sequence*> rows(1 + random() % kRows, nullptr);
    for (Sequence*& row : rows) {
      Sequence* const chosen = &sequences[random() % sequences.size()];
      if (random() % 4 != 0 && std::ranges::find(rows, chosen) == rows.end()) row = chosen;
    }
    Sequence& moved = sequences[random() % sequences.size()];
    auto& layer = moved.pages[random() % kLayers];
    layer[random() % layer.size()] = new_page(static_cast<TierIndex>(random() % 3));
    moved.version = ++versions_;
    Sequence& growing = sequences[random() % sequences.size()];
    if (std::ssize(growing.pages[0]) < kPages) grow(growing, 1);
    tell(tables, rows, ring, random() % 5 != 0);
    device.take(tables);
    device.expect(rows, ring);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST_P(StepTablesTest, OnlyWhatHasChangedGoesUp) {
  StepTables tables;
  tables.set_room(kRoom, /*seen=*/false);
  Device device;
  std::vector<Sequence> sequences(4);
  for (Sequence& sequence : sequences) grow(sequence, 20);
  std::vector<Sequence*> rows{&sequences[0], nullptr, &sequences[1], &sequences[2]};
  const auto bytes = [&] {
    tell(tables, rows, GetParam(), true);
    return device.take(tables);
  };
  EXPECT_EQ(bytes(), 3 * kLayers * 20 * 8 + kRoom.run_bytes());
  EXPECT_EQ(bytes(), 0);
  grow(sequences[1], 1);
  EXPECT_EQ(bytes(), kLayers * 8);  // no new run
  // A page of one layer in another tier: its address in all layers, that layer's runs.
  sequences[2].pages[1][7] = new_page(1);
  sequences[2].version = ++versions_;
  EXPECT_EQ(bytes(), kLayers * 8 + kRoom.runs_of_layer() * 8);
  // One ends, another comes to the empty row.
  rows = {&sequences[0], &sequences[3], nullptr, &sequences[2]};
  EXPECT_EQ(bytes(), kLayers * 20 * 8 + kRoom.run_bytes());
  device.expect(rows, GetParam());
  // Fewer rows, then all again: their pages are still there.
  rows.resize(2);
  EXPECT_EQ(bytes(), kRoom.run_bytes());
  rows = {&sequences[0], &sequences[3], nullptr, &sequences[2]};
  EXPECT_EQ(bytes(), kRoom.run_bytes());
  device.expect(rows, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Kernels, StepTablesTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "ring" : "pages"; });

}  // namespace
}  // namespace dak::cuda
