#include "engine/kv_cache.h"

#include <algorithm>
#include <cmath>

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
  const int64_t bytes = pages_in_tier(room, tier) * page_bytes_of(config, dtype);
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

int64_t KvCache::size_bytes(const ModelConfig& config, DType dtype, int64_t tokens) {
  return size_bytes(config, dtype, uniform_kv_room(config.layers, kv_pages_for(tokens), 0), 0);
}

void KvCache::reserve(KvHold& hold, int64_t tokens) {
  if (moving_ > 0) {
    arrive(mover_->passed());
    call_off(hold, hold.tokens / kPageTokens);
    hold_steps();
  }
  const int64_t need = kv_pages_for(tokens) - hold.page_count();
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
    if (hold.cache_ == nullptr) {
      hold.cache_ = this;
      holds_.push_back(&hold);
      hold.pages.resize(layers_.size());
      hold.local_.assign(layers_.size(), 0);
      hold.oldest_.assign(layers_.size(), 0);
    }
    for (int64_t i = 0; i < need; ++i) {
      for (int64_t layer = 0; layer < std::ssize(layers_); ++layer) place_new(hold, layer);
    }
    free_pages_ -= need;
    ++hold.version;
    hold_steps();
  }
  // Half a page before the next one is needed, so once for each page.
  if (hold.page_count() * kPageTokens - tokens == kPageTokens / 2) make_places();
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

void KvCache::add_page(KvHold& hold, int64_t layer, const KvPage& place) {
  hold.pages[static_cast<size_t>(layer)].push_back(place);
  if (place.tier == 0) ++hold.local_[static_cast<size_t>(layer)];
}

void KvCache::place_new(KvHold& hold, int64_t layer) {
  Layer& places = layers_[static_cast<size_t>(layer)];
  if (places.free[0].empty() && !places.moves.empty()) arrive_now();  // rather than move another
  KvPage place = take_place(places);
  if (place.tier != 0) {
    const Victim victim = oldest_local(layer, &hold, /*whole_only=*/false);
    if (victim.hold != nullptr) {
      const KvPage vacated =
          victim.hold->pages[static_cast<size_t>(layer)][static_cast<size_t>(victim.page)];
      relocate(*victim.hold, layer, victim.page, place);
      place = vacated;
    }
  }
  add_page(hold, layer, place);
}

void KvCache::release(KvHold& hold) {
  require(hold.cache_ == nullptr || hold.cache_ == this, "KV cache: another cache's pages");
  if (moving_ > 0) {
    call_off(hold, 0);
    hold_steps();
  }
  free_pages_ += hold.page_count();
  for (size_t layer = 0; layer < hold.pages.size(); ++layer) {
    const auto& pages = hold.pages[layer];
    for (auto page = pages.rbegin(); page != pages.rend(); ++page) {
      layers_[layer].free[page->tier].push_back(page->data);
    }
  }
  for (Layer& layer : layers_) {
    if (layer.leaving == &hold) layer.leaving = nullptr;
    if (layer.returning == &hold) layer.returning = nullptr;
  }
  std::erase(holds_, &hold);
  hold.pages.clear();
  hold.tokens = 0;
  ++hold.version;
  hold.cache_ = nullptr;
}

int64_t KvCache::pages_in(const KvHold& hold, TierIndex tier) {
  int64_t pages = 0;
  for (const auto& layer : hold.pages) {
    pages += std::ranges::count_if(layer, [tier](const KvPage& p) { return p.tier == tier; });
  }
  return pages;
}

}  // namespace dak
