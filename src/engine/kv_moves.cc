// Which pages of a KV cache move, and how.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "engine/kv_cache.h"
#include "ops/cuda/kv_layout.h"

namespace dak {
namespace {

bool is_whole(const KvHold& hold, int64_t page) { return (page + 1) * kPageTokens <= hold.tokens; }

}  // namespace

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

void KvCache::set_page(KvHold& hold, int64_t layer, int64_t page, const KvPage& to) {
  hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)] = to;
  ++hold.version;
  int64_t& oldest = hold.oldest_[static_cast<size_t>(layer)];
  if (to.tier == 0) oldest = std::min(oldest, page);
}

// At once.
void KvCache::relocate(KvHold& hold, int64_t layer, int64_t page, const KvPage& to) {
  const KvPage from = hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)];
  copy_page(from, to);
  hold.local_[static_cast<size_t>(layer)] += (to.tier == 0 ? 1 : 0) - (from.tier == 0 ? 1 : 0);
  set_page(hold, layer, page, to);
}

// Later; into a free place of the tier. `local_` counts the page where it will be.
void KvCache::start_move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier) {
  Layer& places = layers_[static_cast<size_t>(layer)];
  const KvPage from = hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)];
  const KvPage to{.data = places.free[tier].back(), .tier = tier};
  places.free[tier].pop_back();
  mover_->copy(to.data, from.data, page_bytes_);
  hold.local_[static_cast<size_t>(layer)] += (to.tier == 0 ? 1 : 0) - (from.tier == 0 ? 1 : 0);
  places.moves.push_back({.hold = &hold, .page = page, .to = to, .mark = 0});
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
    std::vector<Move>& moves = layers_[layer].moves;
    const auto count = std::erase_if(moves, [&](const Move& move) {
      if (move.mark > mark) return false;
      const KvPage from = move.hold->pages[layer][static_cast<size_t>(move.page)];
      layers_[layer].free[from.tier].push_back(from.data);
      set_page(*move.hold, static_cast<int64_t>(layer), move.page, move.to);
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

// Pages from `first_page` on stay where they are. Their copies go on, to places that are free.
void KvCache::call_off(KvHold& hold, int64_t first_page) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    const auto count = std::erase_if(layers_[layer].moves, [&](const Move& move) {
      if (move.hold != &hold || move.page < first_page) return false;
      const KvPage from = hold.pages[layer][static_cast<size_t>(move.page)];
      hold.local_[layer] += (from.tier == 0 ? 1 : 0) - (move.to.tier == 0 ? 1 : 0);
      layers_[layer].free[move.to.tier].push_back(move.to.data);
      return true;
    });
    moving_ -= static_cast<int64_t>(count);
    unordered_ |= count > 0;
  }
}

// Moves old pages out for the holds that will soon want a new one.
void KvCache::make_places() {
  if (!tiered_ || mover_ == nullptr) return;
  int64_t wanted = std::ranges::count_if(holds_, [](const KvHold* hold) {
    return hold->page_count() * kPageTokens - hold->tokens <= kPageTokens / 2 + 1;
  });
  wanted = std::min(wanted, free_pages_);
  for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) {
    Layer& places = layers_[static_cast<size_t>(layer)];
    int64_t places_free =
        std::ssize(places.free[0]) +
        std::ranges::count_if(places.moves, [](const Move& move) { return move.to.tier != 0; });
    for (; places_free < wanted; ++places_free) {
      TierIndex tier = 1;
      while (tier < kMaxTiers && places.free[tier].empty()) ++tier;
      if (tier == kMaxTiers) break;
      const Victim victim = oldest_local(layer, nullptr, /*whole_only=*/true);
      if (victim.hold == nullptr) break;
      start_move(*victim.hold, layer, victim.page, tier);
    }
  }
  mark_moves();
}

bool KvCache::is_moving(int64_t layer, const KvHold& hold, int64_t page) const {
  return std::ranges::any_of(layers_[static_cast<size_t>(layer)].moves, [&](const Move& move) {
    return move.hold == &hold && move.page == page;
  });
}

// The first local page that is not on its way out; page_count() if there is none.
int64_t KvCache::oldest_local_of(KvHold& hold, int64_t layer) const {
  const auto& pages = hold.pages[static_cast<size_t>(layer)];
  int64_t& oldest = hold.oldest_[static_cast<size_t>(layer)];
  while (oldest < std::ssize(pages) && pages[static_cast<size_t>(oldest)].tier != 0) ++oldest;
  int64_t page = oldest;
  while (page < std::ssize(pages) &&
         (pages[static_cast<size_t>(page)].tier != 0 || is_moving(layer, hold, page))) {
    ++page;
  }
  return page;
}

// The last remote page that is not on its way in; -1 if there is none.
int64_t KvCache::newest_remote_of(const KvHold& hold, int64_t layer) const {
  const auto& pages = hold.pages[static_cast<size_t>(layer)];
  int64_t page = std::ssize(pages) - 1;
  while (page >= 0 &&
         (pages[static_cast<size_t>(page)].tier == 0 || is_moving(layer, hold, page))) {
    --page;
  }
  return page;
}

// A run that has begun to leave goes on but for a page that is written, or the last. Else of the
// hold with most local pages in the layer, the new one of `growing` counted, so that all sequences
// keep about as many.
KvCache::Victim KvCache::oldest_local(int64_t layer, const KvHold* growing, bool whole_only) {
  const auto at = static_cast<size_t>(layer);
  if (KvHold* hold = layers_[at].leaving; hold != nullptr) {
    const int64_t page = oldest_local_of(*hold, layer);
    const bool same_run = page % cuda::kRunPages != 0;
    if (same_run && page + 1 < hold->page_count() && is_whole(*hold, page)) return {hold, page};
  }
  Victim victim;
  int64_t most = 0;
  for (KvHold* hold : holds_) {
    const int64_t wanted = hold->local_[at] + (hold == growing ? 1 : 0);
    if (hold->local_[at] == 0 || wanted <= most) continue;
    most = wanted;
    victim.hold = hold;
  }
  if (victim.hold == nullptr) return victim;
  victim.page = oldest_local_of(*victim.hold, layer);
  if (victim.page == victim.hold->page_count()) return {};
  if (whole_only && !is_whole(*victim.hold, victim.page)) return {};
  layers_[at].leaving = victim.hold;
  return victim;
}

// The same for what comes back.
KvCache::Victim KvCache::newest_remote(int64_t layer) {
  const auto at = static_cast<size_t>(layer);
  if (KvHold* hold = layers_[at].returning; hold != nullptr) {
    const int64_t page = newest_remote_of(*hold, layer);
    if (page >= 0 && (page + 1) % cuda::kRunPages != 0) return {hold, page};
  }
  Victim victim;
  int64_t least = INT64_MAX;
  for (KvHold* hold : holds_) {
    const int64_t local = hold->local_[at];
    if (local == hold->page_count() || local >= least) continue;
    const int64_t page = newest_remote_of(*hold, layer);
    if (page < 0) continue;  // what is not to be local is so still
    least = local;
    victim = {.hold = hold, .page = page};
  }
  layers_[at].returning = victim.hold;
  return victim;
}

int64_t KvCache::rebalance(int64_t most) {
  if (!tiered_) return 0;
  if (moving_ > 0) arrive(mover_->passed());
  const size_t spare = mover_ == nullptr ? 0 : holds_.size();
  const int64_t moving = moving_;
  int64_t moved = 0;
  for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) {
    Layer& places = layers_[static_cast<size_t>(layer)];
    while (moved < most && places.free[0].size() > spare) {
      const Victim page = newest_remote(layer);
      if (page.hold == nullptr) break;
      if (mover_ != nullptr && is_whole(*page.hold, page.page)) {
        start_move(*page.hold, layer, page.page, 0);
      } else {
        move(*page.hold, layer, page.page, 0);
      }
      ++moved;
    }
  }
  if (moving_ > moving) mark_moves();
  return moved;
}

bool KvCache::move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier, When when) {
  require(hold.cache_ == this, "KV cache: a page of another cache");
  if (is_moving(layer, hold, page)) arrive_now();
  Layer& places = layers_[static_cast<size_t>(layer)];
  const KvPage from = hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)];
  std::vector<std::byte*>& free = places.free[tier];
  const bool moves = from.tier != tier && !free.empty();
  if (moves && when == When::kLater && mover_ != nullptr && is_whole(hold, page)) {
    start_move(hold, layer, page, tier);
    mark_moves();
  } else if (moves) {
    const KvPage to{.data = free.back(), .tier = tier};
    free.pop_back();
    relocate(hold, layer, page, to);
    places.free[from.tier].push_back(from.data);
  }
  hold_steps();
  return moves;
}

void KvCache::finish_moves() {
  if (mover_ == nullptr) return;
  mover_->wait();
  arrive(INT64_MAX);
}

}  // namespace dak
