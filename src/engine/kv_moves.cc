// Which pages of a KV cache move, and how.
#include <algorithm>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "engine/kv_cache.h"
#include "ops/cuda/kv_layout.h"

namespace dak {

// A copy that begins after the passes enqueued so far takes all that the page will ever hold,
// unless a pass writes its tokens again.
bool KvCache::is_whole(const KvBlock& block) {
  if (block.kept || block.users.size() != 1) return true;
  const KvHold& hold = *block.users[0];
  const int64_t written = std::min(hold.tokens, hold.enqueued_);
  return hold.resting || (block.index + 1) * kPageTokens <= written;
}

void KvCache::copy_page(const KvPage& from, const KvPage& to) {
  if (mover_ == nullptr) {
    std::memcpy(to.data, from.data, static_cast<size_t>(page_bytes_));
    return;
  }
  mover_->copy(to.data, from.data, page_bytes_);
  unordered_ = true;
}

// Steps to come wait for the copies that they depend on.
void KvCache::hold_steps() {
  if (unordered_ && mover_ != nullptr) mover_->hold_steps();
  unordered_ = false;
}

void KvCache::set_page(KvBlock& block, int64_t layer, const KvPage& to) {
  const auto at = static_cast<size_t>(layer);
  block.pages[at] = to;
  layers_[at].settled = false;
  for (KvHold* hold : block.users) {
    hold->pages[at][static_cast<size_t>(block.index)] = to;
    hold->version = ++versions_;
    if (to.tier == 0) hold->oldest_[at] = std::min(hold->oldest_[at], block.index);
  }
}

void KvCache::count_local(KvBlock& block, int64_t layer, TierIndex from, TierIndex to) {
  const int64_t change = (to == 0 ? 1 : 0) - (from == 0 ? 1 : 0);
  for (KvHold* hold : block.users) hold->local_[static_cast<size_t>(layer)] += change;
}

// At once.
void KvCache::relocate(KvBlock& block, int64_t layer, const KvPage& to) {
  const KvPage from = block.pages[static_cast<size_t>(layer)];
  copy_page(from, to);
  count_local(block, layer, from.tier, to.tier);
  set_page(block, layer, to);
}

// Later; into a free place of the tier. `local_` counts the page where it will be.
void KvCache::start_move(KvBlock& block, int64_t layer, TierIndex tier) {
  const auto at = static_cast<size_t>(layer);
  Layer& places = layers_[at];
  const KvPage from = block.pages[at];
  const KvPage to{.data = places.free[tier].back(), .tier = tier};
  places.free[tier].pop_back();
  mover_->copy(to.data, from.data, page_bytes_);
  count_local(block, layer, from.tier, to.tier);
  block.heading[at] = tier;
  places.moves.push_back({.block = &block, .to = to, .mark = 0});
  ++moving_;
}

// Ends the batch of moves that were started since the last.
void KvCache::mark_moves() {
  const int64_t mark = mover_->mark();
  for (Layer& layer : layers_) {
    for (Move& move : layer.moves) {
      if (move.mark == 0) move.mark = mark;
    }
  }
}

// The pages of all moves up to `mark` are where they were going.
void KvCache::arrive(int64_t mark) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto count = std::erase_if(layers_[layer].moves, [&](const Move& move) {
      if (move.mark > mark) return false;
      const KvPage from = move.block->pages[layer];
      layers_[layer].free[from.tier].push_back(from.data);
      move.block->heading[layer] = KvBlock::kStays;
      set_page(*move.block, static_cast<int64_t>(layer), move.to);
      return true;
    });
    moving_ -= static_cast<int64_t>(count);
  }
}

// Steps to come wait for the copies instead.
void KvCache::arrive_now() {
  unordered_ = true;
  arrive(INT64_MAX);
}

// Pages of such blocks stay where they are. Their copies go on, to places that are free.
void KvCache::call_off(const std::function<bool(const KvBlock&)>& which) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto count = std::erase_if(layers_[layer].moves, [&](const Move& move) {
      if (!which(*move.block)) return false;
      const KvPage from = move.block->pages[layer];
      count_local(*move.block, static_cast<int64_t>(layer), move.to.tier, from.tier);
      move.block->heading[layer] = KvBlock::kStays;
      layers_[layer].free[move.to.tier].push_back(move.to.data);
      return true;
    });
    moving_ -= static_cast<int64_t>(count);
    unordered_ |= count > 0;
  }
}

// Moves pages out for the holds that will soon want a new one.
void KvCache::make_places() {
  if (!tiered_ || mover_ == nullptr) return;
  int64_t wanted = std::ranges::count_if(holds_, [](const KvHold* hold) {
    return !hold->resting && hold->page_count() * kPageTokens - hold->tokens <= kPageTokens / 2 + 1;
  });
  wanted = std::min(wanted, free_pages_);
  for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) {
    Layer& places = layers_[static_cast<size_t>(layer)];
    int64_t places_free =
        std::ssize(places.free[0]) +
        std::ranges::count_if(places.moves, [](const Move& move) { return move.to.tier != 0; });
    for (; places_free < wanted; ++places_free) {
      const TierIndex tier = slower_place(places);
      if (tier == kMaxTiers) break;
      KvBlock* block = oldest_local(layer, nullptr, /*whole_only=*/true);
      if (block == nullptr) break;
      start_move(*block, layer, tier);
    }
  }
  mark_moves();
}

// The fastest tier but the local one with a free place; kMaxTiers: there is none.
TierIndex KvCache::slower_place(const Layer& layer) {
  TierIndex tier = 1;
  while (tier < kMaxTiers && layer.free[tier].empty()) ++tier;
  return tier;
}

// The slowest tier with a free place: for what no sequence reads. kMaxTiers: only the local one has
// any.
TierIndex KvCache::slowest_place(const Layer& layer) {
  for (TierIndex tier = kMaxTiers - 1; tier > 0; --tier) {
    if (!layer.free[tier].empty()) return tier;
  }
  return kMaxTiers;
}

// The first local page that is not on its way out; page_count() if there is none. One that is not
// shared, if there is one: others are read once for each of their users.
int64_t KvCache::oldest_local_of(KvHold& hold, int64_t layer) const {
  const auto at = static_cast<size_t>(layer);
  int64_t& oldest = hold.oldest_[at];
  const auto& pages = hold.pages[at];
  while (oldest < std::ssize(pages) && pages[static_cast<size_t>(oldest)].tier != 0) ++oldest;
  int64_t shared = hold.page_count();
  for (int64_t page = oldest; page < std::ssize(pages); ++page) {
    const KvBlock& block = *hold.blocks_[static_cast<size_t>(page)];
    if (block.pages[at].tier != 0 || block.heading[at] != KvBlock::kStays) continue;
    if (block.users.size() == 1) return page;
    shared = std::min(shared, page);
  }
  return shared;
}

// The last remote page that is not on its way in; -1 if there is none.
int64_t KvCache::newest_remote_of(const KvHold& hold, int64_t layer) const {
  const auto at = static_cast<size_t>(layer);
  int64_t page = hold.page_count() - 1;
  for (; page >= 0; --page) {
    const KvBlock& block = *hold.blocks_[static_cast<size_t>(page)];
    if (block.pages[at].tier != 0 && block.heading[at] == KvBlock::kStays) break;
  }
  return page;
}

// First those that no sequence uses, or soon will. A run that has begun to leave goes on but for a
// page that is written, or the last. Else of the hold with most local pages in the layer, the new
// one of `growing` counted, so that all sequences keep about as many.
KvBlock* KvCache::oldest_local(int64_t layer, const KvHold* growing, bool whole_only) {
  if (KvBlock* block = unused_local(layer); block != nullptr) return block;
  const auto at = static_cast<size_t>(layer);
  if (KvHold* hold = layers_[at].leaving; hold != nullptr) {
    const int64_t page = oldest_local_of(*hold, layer);
    const bool same_run = page % cuda::kRunPages != 0;
    if (same_run && page + 1 < hold->page_count()) {
      KvBlock* block = hold->blocks_[static_cast<size_t>(page)];
      if (is_whole(*block)) return block;
    }
  }
  KvHold* victim = nullptr;
  int64_t most = 0;
  for (KvHold* hold : holds_) {
    const int64_t wanted = hold->local_[at] + (hold == growing ? 1 : 0);
    if (hold->local_[at] == 0) continue;
    if (victim != nullptr && std::pair(hold->resting, wanted) <= std::pair(victim->resting, most)) {
      continue;
    }
    most = wanted;
    victim = hold;
  }
  if (victim == nullptr) return nullptr;
  const int64_t page = oldest_local_of(*victim, layer);
  if (page == victim->page_count()) return nullptr;
  KvBlock* block = victim->blocks_[static_cast<size_t>(page)];
  if (whole_only && !is_whole(*block)) return nullptr;
  layers_[at].leaving = victim;
  return block;
}

// The same for what comes back.
KvBlock* KvCache::newest_remote(int64_t layer) {
  const auto at = static_cast<size_t>(layer);
  if (KvHold* hold = layers_[at].returning; hold != nullptr && !hold->resting) {
    const int64_t page = newest_remote_of(*hold, layer);
    if (page >= 0 && (page + 1) % cuda::kRunPages != 0) {
      return hold->blocks_[static_cast<size_t>(page)];
    }
  }
  KvHold* chosen = nullptr;
  int64_t newest = 0;
  for (KvHold* hold : holds_) {
    const int64_t local = hold->local_[at];
    if (hold->resting || local == hold->page_count()) continue;
    if (chosen != nullptr && local >= chosen->local_[at]) continue;
    const int64_t page = newest_remote_of(*hold, layer);
    if (page < 0) continue;  // what is not to be local is so still
    chosen = hold;
    newest = page;
  }
  layers_[at].returning = chosen;
  return chosen == nullptr ? nullptr : chosen->blocks_[static_cast<size_t>(newest)];
}

int64_t KvCache::rebalance(int64_t most) {
  if (!tiered_) return 0;
  for (KvHold* hold : holds_) hold->enqueued_ = hold->tokens;
  if (moving_ > 0) arrive(mover_->passed());
  const int64_t moving = moving_;
  int64_t moved = 0;
  for (int64_t layer = 0; layer < std::ssize(layers_) && moved < most; ++layer) {
    moved += return_pages(layer, most - moved);
    moved += raise_pages(layer, most - moved);
  }
  if (moving_ > moving) mark_moves();
  hold_steps();
  return moved;
}

// What no sequence uses makes way for what is read in every step.
int64_t KvCache::return_pages(int64_t layer, int64_t most) {
  Layer& places = layers_[static_cast<size_t>(layer)];
  const int64_t spare = mover_ == nullptr ? 0 : std::ssize(holds_);
  int64_t moved = 0;
  for (; moved < most && std::ssize(places.free[0]) > spare; ++moved) {
    KvBlock* block = newest_remote(layer);
    if (block == nullptr) return moved;
    move_block(*block, layer, 0);
  }
  if (moved == most || unused_local(layer) == nullptr) return moved;
  int64_t wanted =
      spare - std::ssize(places.free[0]) -
      std::ranges::count_if(places.moves, [](const Move& m) { return m.to.tier != 0; });
  for (const KvHold* hold : holds_) {
    if (!hold->resting) wanted += hold->page_count() - hold->local_[static_cast<size_t>(layer)];
  }
  for (; moved < most && wanted > 0; ++moved, --wanted) {
    KvBlock* unused = unused_local(layer);
    const TierIndex tier = slowest_place(places);
    if (unused == nullptr || tier == kMaxTiers) break;
    move_block(*unused, layer, tier);
  }
  return moved;
}

// From slower remote tiers into free places of faster ones: the newest pages of those that are
// read.
int64_t KvCache::raise_pages(int64_t layer, int64_t most) {
  Layer& places = layers_[static_cast<size_t>(layer)];
  int64_t moved = 0;
  for (TierIndex tier = 1; tier + 1 < kMaxTiers && !places.settled; ++tier) {
    if (std::all_of(tier_pages_.begin() + tier + 1, tier_pages_.end(), std::logical_not<>())) break;
    while (moved < most && !places.free[tier].empty()) {
      KvBlock* block = newest_slower(layer, tier);
      if (block == nullptr) break;
      move_block(*block, layer, tier);
      ++moved;
    }
    if (moved == most) return moved;
  }
  places.settled = true;
  return moved;
}

// The last page that stays in a tier slower than `tier`, of the first sequence that has one.
KvBlock* KvCache::newest_slower(int64_t layer, TierIndex tier) const {
  const auto at = static_cast<size_t>(layer);
  for (const KvHold* hold : holds_) {
    if (hold->resting) continue;
    for (int64_t page = hold->page_count() - 1; page >= 0; --page) {
      KvBlock* block = hold->blocks_[static_cast<size_t>(page)];
      if (block->pages[at].tier > tier && block->heading[at] == KvBlock::kStays) return block;
    }
  }
  return nullptr;
}

// Into a free place of the tier: later, where that can be.
void KvCache::move_block(KvBlock& block, int64_t layer, TierIndex tier) {
  if (mover_ != nullptr && is_whole(block)) {
    start_move(block, layer, tier);
    return;
  }
  Layer& places = layers_[static_cast<size_t>(layer)];
  const KvPage from = block.pages[static_cast<size_t>(layer)];
  const KvPage to{.data = places.free[tier].back(), .tier = tier};
  places.free[tier].pop_back();
  relocate(block, layer, to);
  places.free[from.tier].push_back(from.data);
}

bool KvCache::move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier, When when) {
  require(hold.cache_ == this, "KV cache: a page of another cache");
  KvBlock& block = *hold.blocks_[static_cast<size_t>(page)];
  const auto at = static_cast<size_t>(layer);
  if (block.heading[at] != KvBlock::kStays) arrive_now();
  Layer& places = layers_[at];
  const KvPage from = block.pages[at];
  const bool moves = from.tier != tier && !places.free[tier].empty();
  if (moves && when == When::kLater && mover_ != nullptr && is_whole(block)) {
    start_move(block, layer, tier);
    mark_moves();
  } else if (moves) {
    const KvPage to{.data = places.free[tier].back(), .tier = tier};
    places.free[tier].pop_back();
    relocate(block, layer, to);
    places.free[from.tier].push_back(from.data);
  }
  hold_steps();
  return moves;
}

int64_t KvCache::bytes_to_move(TierIndex from) const { return round_up_to_page(tier_bytes(from)); }

void KvCache::move_tier(TierIndex from, TierIndex to, std::byte* room) {
  require(from != 0 && to != 0 && from != to, "KV cache: only remote tiers are given back");
  finish_moves();
  for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) {
    Layer& places = layers_[static_cast<size_t>(layer)];
    for (KvBlock& block : blocks_) {
      if (!block.kept && block.users.empty()) continue;  // in no use
      if (block.pages[static_cast<size_t>(layer)].tier != from) continue;
      relocate(block, layer, {.data = room, .tier = to});
      room += page_bytes_;
    }
    for (size_t i = 0; i < places.free[from].size(); ++i, room += page_bytes_) {
      places.free[to].push_back(room);
    }
    places.free[from].clear();
    places.pools[from] = {};
  }
  tier_pages_[to] += tier_pages_[from];
  tier_pages_[from] = 0;
  hold_steps();
  finish_moves();
}

void KvCache::finish_moves() {
  if (mover_ == nullptr) return;
  mover_->wait();
  arrive(INT64_MAX);
}

}  // namespace dak
