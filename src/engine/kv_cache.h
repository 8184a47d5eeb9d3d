// The paged KV cache: pools of pages in several tiers, handed to sequences as they grow. Each layer
// has as many pages, and a placement of its own. New tokens go to the local tier; when that is
// full, the oldest page of whoever has most there moves out, and after it the rest of its run: a
// GPU reads whole runs of kRunPages from one tier. Nothing is staged: attention reads every page
// where it lies.
//
// With a PageMover pages move beside the steps in flight (kv_moves.cc):
//   at once   the copy begins after the steps so far, and the steps to come wait for it. For new
//             pages that find no local place, and for pages that are still being written.
//   later     steps go on reading the page where it was; once the copy has been made, and no step
//             waits for that, the page table changes. Only whole pages, and a pass that writes a
//             page again calls its move off. So places are made free before they are needed.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "memory/arena.h"
#include "model/batch.h"
#include "model/config.h"
#include "ops/page_mover.h"

namespace dak {

class KvCache;

// One sequence's hold on the cache; gives its pages back when it ends. Stays where it is: the cache
// knows it by its address.
struct KvHold {
  KvHold() = default;
  ~KvHold();
  KvHold(const KvHold&) = delete;
  KvHold& operator=(const KvHold&) = delete;

  KvPageTable pages;    // [layer][page]
  int64_t tokens = 0;   // written so far
  int64_t version = 0;  // counts changes of `pages`

  int64_t page_count() const { return pages.empty() ? 0 : std::ssize(pages[0]); }

 private:
  friend class KvCache;
  KvCache* cache_ = nullptr;     // that it has pages of
  std::vector<int64_t> local_;   // [layer] pages in tier 0
  std::vector<int64_t> oldest_;  // [layer] no page before this one is in tier 0
};

// Pages of each layer in each tier, [layer][tier]; the sum is the same in every layer.
using KvRoom = std::vector<std::array<int64_t, kMaxTiers>>;
// What rebalance may move between two passes: what comes back must not hold the next one up.
inline constexpr int64_t kRebalancedPages = 64;
// Every layer's share `ratio` of `pages` in tier 1, rounded, the rest in tier 0.
KvRoom uniform_kv_room(int64_t layers, int64_t pages, double ratio);

class KvCache {
 public:
  // Takes room for all its pages from the tiers' arenas at once. Pages are moved by the CPU, so
  // that their memory must be the host's, unless there is a mover.
  KvCache(const ModelConfig& config, DType dtype, const KvRoom& room,
          std::span<Arena* const> arenas);
  // Room for `tokens` tokens over all sequences, rounded up to pages, in the arena's tier.
  KvCache(const ModelConfig& config, DType dtype, int64_t tokens, Arena& arena);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  // What the cache takes of a tier's arena.
  static int64_t size_bytes(const ModelConfig& config, DType dtype, const KvRoom& room,
                            TierIndex tier);
  static int64_t size_bytes(const ModelConfig& config, DType dtype, int64_t tokens);

  // Before the first move. `mover` lives as long as pages are moved.
  void use_mover(PageMover& mover) { mover_ = &mover; }

  DType dtype() const { return dtype_; }
  int64_t layers() const { return std::ssize(layers_); }
  int64_t free_tokens() const { return free_pages_ * kPageTokens; }

  // Makes room for `tokens` tokens in all; throws kResourceExhausted, leaving `hold` as it was,
  // when there are not enough free pages. Before every pass that writes to `hold`: the tokens from
  // hold.tokens on. May move pages of any hold: without a mover not while a step that reads them is
  // in flight.
  void reserve(KvHold& hold, int64_t tokens);
  // Gives every page back.
  void release(KvHold& hold);

  // Moves up to `most` pages into free places of tier 0, the newest of whoever has least there
  // first; returns how many. With a mover whole pages move later, and a place for each hold's next
  // page stays free. As reserve: without a mover not while a step is in flight.
  int64_t rebalance(int64_t most);
  // Moves one page to a free place of `tier`; false: there is none, or it lies there already.
  enum class When : uint8_t { kNow, kLater };
  bool move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier, When when = When::kNow);
  // Returns when no copy is under way, for whoever writes to pages without the steps' order.
  void finish_moves();

  // All places of a layer in a tier, one behind the other.
  std::span<const std::byte> pool(int64_t layer, TierIndex tier) const {
    return layers_.at(static_cast<size_t>(layer)).pools.at(tier);
  }

  // Pages of a hold in a tier, over all layers.
  static int64_t pages_in(const KvHold& hold, TierIndex tier);

 private:
  // A copy under way to a place that is not yet the page's.
  struct Move {
    KvHold* hold = nullptr;
    int64_t page = 0;
    KvPage to;
    int64_t mark = 0;
  };
  struct Layer {
    std::array<std::span<const std::byte>, kMaxTiers> pools;
    std::array<std::vector<std::byte*>, kMaxTiers> free;  // places
    std::vector<Move> moves;
    KvHold* leaving = nullptr;  // whose pages last moved out, and in
    KvHold* returning = nullptr;
  };
  struct Victim {
    KvHold* hold = nullptr;
    int64_t page = 0;
  };

  KvPage take_place(Layer& layer);
  void add_page(KvHold& hold, int64_t layer, const KvPage& place);
  void set_page(KvHold& hold, int64_t layer, int64_t page, const KvPage& to);
  void place_new(KvHold& hold, int64_t layer);
  void copy_page(const KvPage& from, const KvPage& to);
  void relocate(KvHold& hold, int64_t layer, int64_t page, const KvPage& to);
  void start_move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier);
  void mark_moves();
  void arrive(int64_t mark);
  void arrive_now();
  void call_off(KvHold& hold, int64_t first_page);
  void hold_steps();
  void make_places();
  bool is_moving(int64_t layer, const KvHold& hold, int64_t page) const;
  Victim oldest_local(int64_t layer, const KvHold* growing, bool whole_only);
  Victim newest_remote(int64_t layer);
  int64_t oldest_local_of(KvHold& hold, int64_t layer) const;
  int64_t newest_remote_of(const KvHold& hold, int64_t layer) const;

  DType dtype_;
  int64_t page_bytes_;
  int64_t free_pages_;   // of each layer
  bool tiered_ = false;  // there are places outside tier 0
  std::vector<Layer> layers_;
  std::vector<KvHold*> holds_;  // that have pages
  PageMover* mover_ = nullptr;  // null: the CPU copies, at once
  int64_t moving_ = 0;          // moves under way, over all layers
  bool unordered_ = false;      // copies that the steps to come must wait for
};

}  // namespace dak
