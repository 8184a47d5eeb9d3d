#include "engine/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

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

int64_t local_pages(const KvHold& hold, int64_t layer) {
  return std::ranges::count_if(hold.pages[static_cast<size_t>(layer)],
                               [](const KvPage& page) { return page.tier == 0; });
}

}  // namespace

KvHold::~KvHold() {
  if (cache_ != nullptr) cache_->release(*this);
}

KvRoom uniform_kv_room(int64_t layers, int64_t pages, double ratio) {
  const auto remote = static_cast<int64_t>(std::llround(ratio * static_cast<double>(pages)));
  return KvRoom(static_cast<size_t>(layers), {pages - remote, remote});
}

KvCache::KvCache(const ModelConfig& config, DType dtype, const KvRoom& room,
                 std::span<Arena* const> arenas)
    : dtype_(dtype),
      page_bytes_(page_bytes_of(config, dtype)),
      free_pages_(pages_of_layer(room.at(0))),
      layers_(room.size()) {
  require(std::ssize(room) == config.layers, "KV cache: room for other layers");
  for (size_t tier = 0; tier < kMaxTiers; ++tier) {
    if (pages_in_tier(room, tier) == 0) continue;
    require(tier < arenas.size(), "KV cache: room in a tier without an arena");
    tiered_ |= tier > 0;
    std::byte* data =
        arenas[tier]->allocate(size_bytes(config, dtype, room, static_cast<TierIndex>(tier)));
    for (size_t layer = 0; layer < room.size(); ++layer) {
      require(pages_of_layer(room[layer]) == free_pages_, "KV cache: layers differ in pages");
      std::vector<std::byte*>& free = layers_[layer].free[tier];
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
  const int64_t bytes = pages_in_tier(room, tier) * page_bytes_of(config, dtype);
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

int64_t KvCache::size_bytes(const ModelConfig& config, DType dtype, int64_t tokens) {
  return size_bytes(config, dtype, uniform_kv_room(config.layers, kv_pages_for(tokens), 0), 0);
}

void KvCache::reserve(KvHold& hold, int64_t tokens) {
  const int64_t need = kv_pages_for(tokens) - hold.page_count();
  if (need <= 0) return;
  if (need > free_pages_) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = "KV cache",
                 .field = {},
                 .value = {},
                 .problem = fmt::format("has room for {} more tokens, {} are needed", free_tokens(),
                                        need * kPageTokens),
                 .fix = "use a larger --context"});
  }
  if (hold.cache_ == nullptr) {
    hold.cache_ = this;
    holds_.push_back(&hold);
    hold.pages.resize(layers_.size());
  }
  for (int64_t i = 0; i < need; ++i) {
    for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) place_new(hold, layer);
  }
  free_pages_ -= need;
  ++hold.version;
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

void KvCache::place_new(KvHold& hold, int64_t layer) {
  KvPage place = take_place(layers_[static_cast<size_t>(layer)]);
  if (place.tier != 0) {
    const Victim victim = oldest_local(layer, hold);
    if (victim.hold != nullptr) {
      auto& pages = victim.hold->pages[static_cast<size_t>(layer)];
      const KvPage vacated = pages[static_cast<size_t>(victim.page)];
      relocate(*victim.hold, layer, victim.page, place);
      place = vacated;
    }
  }
  hold.pages[static_cast<size_t>(layer)].push_back(place);
}

void KvCache::relocate(KvHold& hold, int64_t layer, int64_t page, const KvPage& to) {
  KvPage& from = hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)];
  std::memcpy(to.data, from.data, static_cast<size_t>(page_bytes_));
  from = to;
  ++hold.version;
}

// Of the hold with most local pages in the layer, the new one of `growing` counted, so that all
// sequences keep about as many.
KvCache::Victim KvCache::oldest_local(int64_t layer, const KvHold& growing) const {
  Victim victim;
  int64_t most = 0;
  for (KvHold* hold : holds_) {
    const int64_t local = local_pages(*hold, layer);
    const int64_t wanted = local + (hold == &growing ? 1 : 0);
    if (local == 0 || wanted <= most) continue;
    most = wanted;
    victim.hold = hold;
  }
  if (victim.hold == nullptr) return victim;
  const auto& pages = victim.hold->pages[static_cast<size_t>(layer)];
  victim.page = std::ranges::find_if(pages, [](const KvPage& page) { return page.tier == 0; }) -
                pages.begin();
  return victim;
}

KvCache::Victim KvCache::newest_remote(int64_t layer) const {
  Victim victim;
  int64_t least = INT64_MAX;
  for (KvHold* hold : holds_) {
    const auto& pages = hold->pages[static_cast<size_t>(layer)];
    const int64_t local = local_pages(*hold, layer);
    if (local == std::ssize(pages) || local >= least) continue;
    least = local;
    victim.hold = hold;
    for (victim.page = std::ssize(pages) - 1; pages[static_cast<size_t>(victim.page)].tier == 0;) {
      --victim.page;
    }
  }
  return victim;
}

void KvCache::release(KvHold& hold) {
  require(hold.cache_ == nullptr || hold.cache_ == this, "KV cache: another cache's pages");
  free_pages_ += hold.page_count();
  for (size_t layer = 0; layer < hold.pages.size(); ++layer) {
    const auto& pages = hold.pages[layer];
    for (auto page = pages.rbegin(); page != pages.rend(); ++page) {
      layers_[layer].free[page->tier].push_back(page->data);
    }
  }
  std::erase(holds_, &hold);
  hold.pages.clear();
  hold.tokens = 0;
  ++hold.version;
  hold.cache_ = nullptr;
}

int64_t KvCache::rebalance(int64_t most) {
  if (!tiered_) return 0;
  int64_t moved = 0;
  for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) {
    while (moved < most && !layers_[static_cast<size_t>(layer)].free[0].empty()) {
      const Victim page = newest_remote(layer);
      if (page.hold == nullptr) break;
      move(*page.hold, layer, page.page, 0);
      ++moved;
    }
  }
  return moved;
}

bool KvCache::move(KvHold& hold, int64_t layer, int64_t page, TierIndex tier) {
  require(hold.cache_ == this, "KV cache: a page of another cache");
  Layer& places = layers_[static_cast<size_t>(layer)];
  const KvPage from = hold.pages[static_cast<size_t>(layer)][static_cast<size_t>(page)];
  std::vector<std::byte*>& free = places.free[tier];
  if (from.tier == tier || free.empty()) return false;
  const KvPage to{.data = free.back(), .tier = tier};
  free.pop_back();
  relocate(hold, layer, page, to);
  places.free[from.tier].push_back(from.data);
  return true;
}

int64_t KvCache::pages_in(const KvHold& hold, TierIndex tier) {
  int64_t pages = 0;
  for (const auto& layer : hold.pages) {
    pages += std::ranges::count_if(layer, [tier](const KvPage& p) { return p.tier == tier; });
  }
  return pages;
}

}  // namespace dak
