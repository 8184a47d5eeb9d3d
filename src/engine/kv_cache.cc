#include "engine/kv_cache.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "plan/placement.h"

namespace dak {
namespace {

int64_t page_bytes_of(const ModelConfig& config, DType dtype) {
  const AttentionConfig attention{
      .kv_heads = config.kv_heads, .head_size = config.head_size, .kv_dtype = dtype};
  return attention.page_bytes();
}

int64_t pages_in_tier(const KvRoom& room, size_t tier) {
  int64_t pages = 0;
  for (const auto& layer : room) pages += layer[tier];
  return pages;
}

int64_t pages_of_layer(const std::array<int64_t, kMaxTiers>& layer) {
  int64_t pages = 0;
  for (const int64_t count : layer) pages += count;
  return pages;
}

}  // namespace

KvHold::~KvHold() {
  try {
    if (cache_ != nullptr) cache_->release(*this);
  } catch (const Error&) {
    // The GPU was lost, and the call that found out has said so.
  }
}

KvRoom uniform_kv_room(int64_t layers, int64_t pages, double ratio) {
  const auto remote = static_cast<int64_t>(std::llround(ratio * static_cast<double>(pages)));
  return KvRoom(static_cast<size_t>(layers), {pages - remote, remote});
}

KvRoom kv_room_over(const ModelConfig& config, DType dtype, int64_t pages, double ratio,
                    std::span<const Tier> tiers) {
  const auto remote = static_cast<int64_t>(std::llround(ratio * static_cast<double>(pages)));
  if (tiers.size() < 3 || remote == 0) return uniform_kv_room(config.layers, pages, ratio);
  std::array<int64_t, kMaxTiers> layer{pages - remote};
  // Of each layer in a tier: an arena's allocations are whole kArenaAlignment.
  const auto most = [&](size_t tier) {
    return std::max<int64_t>(0, tiers[tier].capacity_bytes - kArenaAlignment) /
           (config.layers * page_bytes_of(config, dtype));
  };
  const std::vector<double> shares = remote_shares(tiers);
  int64_t left = remote;
  double owed = 0;
  for (size_t tier = 1; tier < tiers.size(); ++tier) {
    owed += shares[tier] * static_cast<double>(remote);
    const auto wanted = static_cast<int64_t>(std::llround(owed));
    layer[tier] = std::min({std::max<int64_t>(0, wanted), most(tier), left});
    owed -= static_cast<double>(std::max<int64_t>(0, wanted));
    left -= layer[tier];
  }
  for (size_t tier = 1; tier < tiers.size(); ++tier) {
    const int64_t more = std::clamp<int64_t>(most(tier) - layer[tier], 0, left);
    layer[tier] += more;
    left -= more;
  }
  layer[1] += left;
  return KvRoom(static_cast<size_t>(config.layers), layer);
}

KvCache::KvCache(const ModelConfig& config, DType dtype, const KvRoom& room,
                 std::span<Arena* const> arenas)
    : dtype_(dtype),
      page_bytes_(page_bytes_of(config, dtype)),
      blocks_(static_cast<size_t>(pages_of_layer(room.at(0)))),
      free_pages_(std::ssize(blocks_)),
      layers_(room.size()) {
  require(std::ssize(room) == config.layers, "KV cache: room for other layers");
  for (KvBlock& block : blocks_) spare_blocks_.push_back(&block);
  for (size_t tier = 0; tier < kMaxTiers; ++tier) {
    tier_pages_[tier] = pages_in_tier(room, tier);
    if (tier_pages_[tier] == 0) continue;
    require(tier < arenas.size(), "KV cache: room in a tier without an arena");
    tiered_ |= tier > 0;
    std::byte* data =
        arenas[tier]->allocate(size_bytes(config, dtype, room, static_cast<TierIndex>(tier)));
    for (size_t layer = 0; layer < room.size(); ++layer) {
      require(pages_of_layer(room[layer]) == free_pages_, "KV cache: layers differ in pages");
      std::vector<std::byte*>& free = layers_[layer].free[tier];
      layers_[layer].pools[tier] = {data, static_cast<size_t>(room[layer][tier] * page_bytes_)};
      for (int64_t i = 0; i < room[layer][tier]; ++i, data += page_bytes_) free.push_back(data);
      std::ranges::reverse(free);  // the first place is handed out first
    }
  }
}

KvCache::KvCache(const ModelConfig& config, DType dtype, int64_t tokens, Arena& arena)
    : KvCache(config, dtype, uniform_kv_room(config.layers, kv_pages_for(tokens), 0),
              std::array{&arena}) {}

KvCache::~KvCache() {
  for (KvHold* hold : holds_) hold->cache_ = nullptr;
}

int64_t KvCache::size_bytes(const ModelConfig& config, DType dtype, const KvRoom& room,
                            TierIndex tier) {
  return round_up_to_page(pages_in_tier(room, tier) * page_bytes_of(config, dtype));
}

int64_t KvCache::size_bytes(const ModelConfig& config, DType dtype, int64_t tokens) {
  return size_bytes(config, dtype, uniform_kv_room(config.layers, kv_pages_for(tokens), 0), 0);
}

int64_t KvCache::used_bytes(TierIndex tier) const {
  int64_t free = 0;
  for (const Layer& layer : layers_) free += std::ssize(layer.free[tier]);
  return (tier_pages_[tier] - free) * page_bytes_;
}

void KvCache::reserve(KvHold& hold, int64_t tokens) {
  hold.resting = false;
  hold.enqueued_ = hold.tokens;
  const int64_t first_written = hold.tokens / kPageTokens;
  for (int64_t page = first_written; page < hold.page_count(); ++page) {
    const KvBlock& block = *hold.blocks_[static_cast<size_t>(page)];
    require(!block.kept && block.users.size() == 1, "KV cache: a shared page would be written");
  }
  if (moving_ > 0) {
    arrive(mover_->passed());
    call_off([&](const KvBlock& block) {
      return block.index >= first_written && block.index < hold.page_count() &&
             hold.blocks_[static_cast<size_t>(block.index)] == &block;
    });
    hold_steps();
  }
  const int64_t need = kv_pages_for(tokens) - hold.page_count();
  while (need > free_pages_ && need <= free_pages_ + cold_pages_ && evict_) evict_(*coldest_);
  if (need > free_pages_) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = "KV cache",
                 .field = {},
                 .value = {},
                 .problem = fmt::format("has room for {} more tokens, {} are needed", free_tokens(),
                                        need * kPageTokens),
                 .fix = "use a larger --context"});
  }
  if (need > 0) {
    for (int64_t i = 0; i < need; ++i) {
      KvBlock& block = new_block(hold);
      for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) {
        block.pages[static_cast<size_t>(layer)] = place_for(hold, layer);
      }
      join(hold, block);
    }
    hold_steps();
  }
  // Half a page before the next one is needed, so once for each page.
  if (hold.page_count() * kPageTokens - tokens == kPageTokens / 2) make_places();
}

KvBlock& KvCache::new_block(KvHold& hold) {
  KvBlock& block = *spare_blocks_.back();
  spare_blocks_.pop_back();
  --free_pages_;
  block.index = hold.page_count();
  block.pages.assign(layers_.size(), {});
  block.heading.assign(layers_.size(), KvBlock::kStays);
  return block;
}

// `block` is the hold's next page.
void KvCache::join(KvHold& hold, KvBlock& block) {
  if (hold.cache_ == nullptr) {
    hold.cache_ = this;
    holds_.push_back(&hold);
    hold.pages.resize(layers_.size());
    hold.local_.assign(layers_.size(), 0);
    hold.oldest_.assign(layers_.size(), 0);
  }
  require(hold.cache_ == this, "KV cache: another cache's pages");
  hold.blocks_.push_back(&block);
  if (block.users.empty()) ++hold.sole_;
  if (block.users.size() == 1) --block.users[0]->sole_;
  block.users.push_back(&hold);
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    hold.pages[layer].push_back(block.pages[layer]);
    if (block.tier_to_be(layer) == 0) ++hold.local_[layer];
  }
  hold.version = ++versions_;
}

// The fastest free place of a layer that has one.
KvPage KvCache::take_place(Layer& layer) {
  for (size_t tier = 0; tier < kMaxTiers; ++tier) {
    std::vector<std::byte*>& free = layer.free[tier];
    if (free.empty()) continue;
    std::byte* data = free.back();
    free.pop_back();
    return {.data = data, .tier = static_cast<TierIndex>(tier)};
  }
  require(false, "KV cache: no free page although some are counted");
  return {};
}

// For the hold's next page: a local place, made free if need be.
KvPage KvCache::place_for(const KvHold& hold, int64_t layer) {
  Layer& places = layers_[static_cast<size_t>(layer)];
  if (places.free[0].empty() && !places.moves.empty()) arrive_now();  // rather than move another
  const KvPage place = take_place(places);
  if (place.tier == 0) return place;
  KvBlock* victim = oldest_local(layer, &hold, /*whole_only=*/false);
  if (victim == nullptr) return place;
  const KvPage vacated = victim->pages[static_cast<size_t>(layer)];
  relocate(*victim, layer, place);
  return vacated;
}

void KvCache::release(KvHold& hold) {
  require(hold.cache_ == nullptr || hold.cache_ == this, "KV cache: another cache's pages");
  if (moving_ > 0) {
    call_off([&](const KvBlock& block) {
      return !block.kept && block.users.size() == 1 && block.users[0] == &hold;
    });
  }
  // The last first, so that a kept page is colder than the one that it builds upon.
  for (auto it = hold.blocks_.rbegin(); it != hold.blocks_.rend(); ++it) {
    KvBlock& block = **it;
    std::erase(block.users, &hold);
    if (block.users.size() == 1) ++block.users[0]->sole_;
    if (!block.users.empty()) continue;
    if (block.kept) {
      cool(block);
    } else {
      free_block(block);
    }
  }
  for (Layer& layer : layers_) {
    if (layer.leaving == &hold) layer.leaving = nullptr;
    if (layer.returning == &hold) layer.returning = nullptr;
  }
  std::erase(holds_, &hold);
  hold.pages.clear();
  hold.blocks_.clear();
  hold.sole_ = 0;
  hold.tokens = 0;
  hold.enqueued_ = 0;
  hold.resting = false;
  hold.version = ++versions_;
  hold.cache_ = nullptr;
  hold_steps();  // last: it may throw
}

void KvCache::free_block(KvBlock& block) {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    layers_[layer].free[block.pages[layer].tier].push_back(block.pages[layer].data);
    layers_[layer].settled = false;
  }
  spare_blocks_.push_back(&block);
  ++free_pages_;
}

int64_t KvCache::pages_in(const KvHold& hold, TierIndex tier) {
  int64_t pages = 0;
  for (const auto& layer : hold.pages) {
    pages += std::ranges::count_if(layer, [tier](const KvPage& p) { return p.tier == tier; });
  }
  return pages;
}

}  // namespace dak
