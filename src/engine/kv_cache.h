// The paged KV cache: pools of pages in several tiers, handed to sequences as they grow. Each layer
// has as many pages, and a placement of its own. New tokens go to the local tier; when that is
// full, the oldest page of whoever has most there moves out. Nothing is staged: attention reads
// every page where it lies.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "memory/arena.h"
#include "model/batch.h"
#include "model/config.h"

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
  KvCache* cache_ = nullptr;  // that it has pages of
};

// Pages of each layer in each tier, [layer][tier]; the sum is the same in every layer.
using KvRoom = std::vector<std::array<int64_t, kMaxTiers>>;
// Every layer's share `ratio` of `pages` in tier 1, rounded, the rest in tier 0.
KvRoom uniform_kv_room(int64_t layers, int64_t pages, double ratio);

// Between two forward passes: what comes back from host memory must not hold the step up.
inline constexpr int64_t kRebalancedPages = 64;

class KvCache {
 public:
  // Takes room for all its pages from the tiers' arenas at once. Pages of a room with more than one
  // tier are moved by the CPU: their memory must be the host's.
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

  DType dtype() const { return dtype_; }
  int64_t free_tokens() const { return free_pages_ * kPageTokens; }

  // Makes room for `tokens` tokens in all; throws kResourceExhausted, leaving `hold` as it was,
  // when there are not enough free pages. May move pages of any hold: not while a step that reads
  // them is in flight.
  void reserve(KvHold& hold, int64_t tokens);
  // Gives every page back.
  void release(KvHold& hold);

  // Moves up to `most` pages into free places of tier 0, the newest of whoever has least there
  // first; returns how many. As reserve: not while a step is in flight.
  int64_t rebalance(int64_t most = kRebalancedPages);
  // Moves one page to a free place of `tier`; false: there is none, or it lies there already.
  bool move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier);

  // Pages of a hold in a tier, over all layers.
  static int64_t pages_in(const KvHold& hold, TierIndex tier);

 private:
  struct Layer {
    std::array<std::vector<std::byte*>, kMaxTiers> free;  // places
  };
  struct Victim {
    KvHold* hold = nullptr;
    int64_t page = 0;
  };

  KvPage take_place(Layer& layer);
  void place_new(KvHold& hold, int64_t layer);
  void relocate(KvHold& hold, int64_t layer, int64_t page, const KvPage& to);
  Victim oldest_local(int64_t layer, const KvHold& growing) const;
  Victim newest_remote(int64_t layer) const;

  DType dtype_;
  int64_t page_bytes_;
  int64_t free_pages_;   // of each layer
  bool tiered_ = false;  // there are places outside tier 0
  std::vector<Layer> layers_;
  std::vector<KvHold*> holds_;  // that have pages
};

}  // namespace dak
