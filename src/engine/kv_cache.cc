#include "engine/kv_cache.h"

#include <numeric>

#include "base/error.h"

namespace dak {
namespace {

int64_t page_bytes_of(const ModelConfig& config, DType dtype) {
  const AttentionConfig attention{
      .kv_heads = config.kv_heads, .head_size = config.head_size, .kv_dtype = dtype};
  return attention.page_bytes();
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, DType dtype, int64_t tokens, Arena& arena)
    : layers_(config.layers),
      dtype_(dtype),
      page_bytes_(page_bytes_of(config, dtype)),
      page_count_(kv_pages_for(tokens)),
      tier_(0),
      data_(arena.allocate(size_bytes(config, dtype, tokens))),
      free_(static_cast<size_t>(page_count_)) {
  std::iota(free_.rbegin(), free_.rend(), 0);  // page 0 is handed out first
}

int64_t KvCache::size_bytes(const ModelConfig& config, DType dtype, int64_t tokens) {
  const int64_t bytes = config.layers * kv_pages_for(tokens) * page_bytes_of(config, dtype);
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

void KvCache::reserve(KvHold& hold, int64_t tokens) {
  const auto have = static_cast<int64_t>(hold.page_ids.size());
  const int64_t need = kv_pages_for(tokens) - have;
  if (need <= 0) return;
  if (need > static_cast<int64_t>(free_.size())) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = "KV cache",
                 .field = {},
                 .value = {},
                 .problem = fmt::format("has room for {} more tokens, {} are needed", free_tokens(),
                                        need * kPageTokens),
                 .fix = "use a larger --context"});
  }
  hold.pages.resize(static_cast<size_t>(layers_));
  for (int64_t i = 0; i < need; ++i) {
    const int32_t page = free_.back();
    free_.pop_back();
    hold.page_ids.push_back(page);
    for (int64_t layer = 0; layer < layers_; ++layer) {
      hold.pages[static_cast<size_t>(layer)].push_back(
          {.data = data_ + (layer * page_count_ + page) * page_bytes_, .tier = tier_});
    }
  }
}

void KvCache::release(KvHold& hold) {
  free_.insert(free_.end(), hold.page_ids.rbegin(), hold.page_ids.rend());
  hold = KvHold{};
}

}  // namespace dak
