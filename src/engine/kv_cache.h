// The paged KV cache: pools of pages in several tiers, handed to sequences as they grow. Each layer
// has as many pages, and a placement of its own. New tokens go to the local tier; when that is
// full, the oldest page of the sequence with the most local pages moves out to the fastest tier
// with a free place, and after it the rest of its run: a GPU reads whole runs of kRunPages from one
// tier. Places that come free in a faster tier are taken by the newest pages of slower ones.
// Nothing is staged: attention reads every page where it lies.
//
// With a PageMover pages move beside the steps in flight (kv_moves.cc):
//   at once   the copy begins after the steps so far, and the steps to come wait for it. For new
//             pages that find no local place, and for pages that are still being written.
//   later     steps go on reading the page where it was; once the copy has been made, and no step
//             waits for that, the page table changes. Only whole pages, and a pass that writes a
//             page again calls its move off. So places are made free before they are needed.
//
// Sequences that begin alike may share pages: a block is one page of every layer, and each hold a
// list of blocks. Whole blocks can be kept for sequences to come (kv_prefix_cache.h): without a
// user they are cold, the first to leave the local tier and to be given up for new pages.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "memory/arena.h"
#include "model/batch.h"
#include "model/config.h"
#include "ops/page_mover.h"

namespace dak {

class KvCache;
struct KvHold;

// One page of every layer, of one sequence or of several that begin with the same tokens.
struct KvBlock {
  int64_t index = 0;           // which page of its sequences it is
  std::vector<KvPage> pages;   // [layer], as in the tables of its users
  std::vector<KvHold*> users;  // any order
  bool kept = false;           // stays when no one uses it

 private:
  friend class KvCache;
  static constexpr TierIndex kStays = kMaxTiers;
  // The tier of a layer's page once it is there.
  TierIndex tier_to_be(size_t layer) const {
    return heading[layer] == kStays ? pages[layer].tier : heading[layer];
  }
  std::vector<TierIndex> heading;  // [layer] where a copy under way goes
  KvBlock* colder = nullptr;       // neighbours among the cold
  KvBlock* warmer = nullptr;
};

// One sequence's hold on the cache; gives its pages back when it ends. Stays where it is: the cache
// knows it by its address.
struct KvHold {
  KvHold() = default;
  ~KvHold();
  KvHold(const KvHold&) = delete;
  KvHold& operator=(const KvHold&) = delete;

  KvPageTable pages;    // [layer][page]
  int64_t tokens = 0;   // written so far, by passes that are enqueued or about to be
  int64_t version = 0;  // another one after each change of `pages`, which no hold has had; 0: none
  // No step uses it before the next `reserve`, which ends this: its pages leave the local tier
  // before others' and stay out.
  bool resting = false;

  int64_t page_count() const { return pages.empty() ? 0 : std::ssize(pages[0]); }
  // That no other hold has.
  int64_t sole_pages() const { return sole_; }

 private:
  friend class KvCache;
  KvCache* cache_ = nullptr;      // that it has pages of
  std::vector<KvBlock*> blocks_;  // [page]
  int64_t sole_ = 0;
  // `tokens` when the cache last knew that all their passes were enqueued. `tokens` itself may
  // count a pass that is being put together, one hold after the other.
  int64_t enqueued_ = 0;
  std::vector<int64_t> local_;   // [layer] pages in tier 0
  std::vector<int64_t> oldest_;  // [layer] no page before this one is in tier 0
};

// Pages of each layer in each tier, [layer][tier]; the sum is the same in every layer.
using KvRoom = std::vector<std::array<int64_t, kMaxTiers>>;
// What rebalance may move between two passes: what comes back must not hold the next one up.
inline constexpr int64_t kRebalancedPages = 64;
// Every layer's share `ratio` of `pages` in tier 1, rounded, the rest in tier 0.
KvRoom uniform_kv_room(int64_t layers, int64_t pages, double ratio);
// The same with the share spread over all the remote tiers in proportion to their bandwidth, so
// that attention is done with all of them at once; what one of them has no room for goes to the
// first that has. What none has is given to tier 1: check capacities afterwards.
KvRoom kv_room_over(const ModelConfig& config, DType dtype, int64_t pages, double ratio,
                    std::span<const Tier> tiers);

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
  // Of each layer.
  int64_t page_count() const { return std::ssize(blocks_); }
  int64_t free_pages() const { return free_pages_; }
  int64_t cold_pages() const { return cold_pages_; }
  // Over all layers.
  int64_t tier_bytes(TierIndex tier) const { return tier_pages_[tier] * page_bytes_; }
  int64_t used_bytes(TierIndex tier) const;

  // Makes room for `tokens` tokens in all; throws kResourceExhausted, leaving `hold` as it was,
  // when there are not enough free pages. Before every pass that writes to `hold`: the tokens from
  // hold.tokens on, which no other hold may share. Every earlier pass of `hold` must be enqueued;
  // of the other holds the pass under way may already count. May move pages of any hold: without a
  // mover not while a step that reads them is in flight.
  void reserve(KvHold& hold, int64_t tokens);
  // Gives every page back, but for those that others use or that are kept.
  void release(KvHold& hold);

  // Page `page` of `hold`, whose tokens have all been written, is kept from now on and can be
  // adopted; no sequence writes to it again.
  KvBlock& keep(KvHold& hold, int64_t page);
  // The next page of `hold`, whose pages must all be whole, is the kept block.
  void adopt(KvHold& hold, KvBlock& block);
  // Ends `keep`; free once no sequence uses it.
  void drop(KvBlock& block);
  // What `reserve` calls to drop a cold block, the one that has been cold for longest, when free
  // pages are short. Blocks that build upon others must have been cold for longer than those.
  void use_evictor(std::function<void(KvBlock&)> evict) { evict_ = std::move(evict); }

  // Moves up to `most` pages into free places of tier 0, the newest of the sequence with
  // the fewest pages there first, then into those of faster remote tiers; returns how many. With a
  // mover whole pages move later, and a place for each hold's next page stays free. Between two
  // passes: what `tokens` of any hold counts is enqueued. As reserve: without a mover not while a
  // step is in flight.
  int64_t rebalance(int64_t most);
  // Moves one page to a free place of `tier`; false: there is none, or it lies there already.
  enum class When : uint8_t { kNow, kLater };
  bool move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier, When when = When::kNow);
  // Returns when no copy is under way: for writes to pages outside the order of steps.
  void finish_moves();

  // What `move_tier` takes of the other tier's arena.
  int64_t bytes_to_move(TierIndex from) const;
  // All places of a remote tier, and the pages in them, are in another from now on: in `room`,
  // allocated from that one's arena. With no step in flight. The old ones stay until their arena is
  // released, and `pool` goes on to tell what the tiers began with.
  void move_tier(TierIndex from, TierIndex to, std::byte* room);

  // All places of a layer in a tier, one behind the other.
  std::span<const std::byte> pool(int64_t layer, TierIndex tier) const {
    return layers_.at(static_cast<size_t>(layer)).pools.at(tier);
  }

  // Pages of a hold in a tier, over all layers.
  static int64_t pages_in(const KvHold& hold, TierIndex tier);

 private:
  // A copy under way to a place that is not yet the page's.
  struct Move {
    KvBlock* block = nullptr;
    KvPage to;
    int64_t mark = 0;
  };
  struct Layer {
    std::array<std::span<const std::byte>, kMaxTiers> pools;
    std::array<std::vector<std::byte*>, kMaxTiers> free;  // places
    std::vector<Move> moves;
    KvHold* leaving = nullptr;  // whose pages last moved out, and in
    KvHold* returning = nullptr;
    bool settled = false;              // no page was freed or moved since none could be raised
    KvBlock* coldest_local = nullptr;  // no colder one is local, or will be; null: none is
  };

  KvPage take_place(Layer& layer);
  KvPage place_for(const KvHold& hold, int64_t layer);
  KvBlock& new_block(KvHold& hold);
  void join(KvHold& hold, KvBlock& block);
  void free_block(KvBlock& block);
  void cool(KvBlock& block);
  void warm(KvBlock& block);
  void set_page(KvBlock& block, int64_t layer, const KvPage& to);
  void count_local(KvBlock& block, int64_t layer, TierIndex from, TierIndex to);
  void copy_page(const KvPage& from, const KvPage& to);
  void relocate(KvBlock& block, int64_t layer, const KvPage& to);
  void start_move(KvBlock& block, int64_t layer, TierIndex tier);
  void mark_moves();
  void arrive(int64_t mark);
  void arrive_now();
  void call_off(const std::function<bool(const KvBlock&)>& which);
  void hold_steps();
  void make_places();
  static bool is_whole(const KvBlock& block);
  static TierIndex slower_place(const Layer& layer);
  static TierIndex slowest_place(const Layer& layer);
  int64_t return_pages(int64_t layer, int64_t most);
  int64_t raise_pages(int64_t layer, int64_t most);
  KvBlock* newest_slower(int64_t layer, TierIndex tier) const;
  void move_block(KvBlock& block, int64_t layer, TierIndex tier);
  KvBlock* unused_local(int64_t layer);
  KvBlock* oldest_local(int64_t layer, const KvHold* growing, bool whole_only);
  KvBlock* newest_remote(int64_t layer);
  int64_t oldest_local_of(KvHold& hold, int64_t layer) const;
  int64_t newest_remote_of(const KvHold& hold, int64_t layer) const;

  DType dtype_;
  int64_t page_bytes_;
  std::vector<KvBlock> blocks_;         // all there are
  std::vector<KvBlock*> spare_blocks_;  // in no use: as many as free pages
  int64_t free_pages_;                  // of each layer
  int64_t versions_ = 0;                // of holds, given so far
  int64_t cold_pages_ = 0;              // kept blocks without a user
  KvBlock* coldest_ = nullptr;
  KvBlock* warmest_ = nullptr;
  std::function<void(KvBlock&)> evict_;
  std::array<int64_t, kMaxTiers> tier_pages_{};  // over all layers
  bool tiered_ = false;                          // there are places outside tier 0
  std::vector<Layer> layers_;
  std::vector<KvHold*> holds_;  // that have pages
  PageMover* mover_ = nullptr;  // null: the CPU copies, at once
  int64_t moving_ = 0;          // moves under way, over all layers
  bool unordered_ = false;      // copies that the steps to come must wait for
};

}  // namespace dak
