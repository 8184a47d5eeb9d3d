// Pages of a KV cache that several sequences read, and those kept for sequences to come.
#include <algorithm>

#include "base/error.h"
#include "engine/kv_cache.h"

namespace dak {

KvBlock& KvCache::keep(KvHold& hold, int64_t page) {
  require(hold.cache_ == this && page >= 0 && page < hold.page_count(), "KV cache: no such page");
  require((page + 1) * kPageTokens <= hold.tokens, "KV cache: a page that is kept must be whole");
  KvBlock& block = *hold.blocks_[static_cast<size_t>(page)];
  require(!block.kept, "KV cache: a page is kept twice");
  block.kept = true;
  return block;
}

void KvCache::adopt(KvHold& hold, KvBlock& block) {
  require(block.kept && block.index == hold.page_count() &&
              hold.tokens == hold.page_count() * kPageTokens,
          "KV cache: a page is adopted out of order");
  if (block.users.empty()) warm(block);
  join(hold, block);
  hold.tokens += kPageTokens;
}

void KvCache::drop(KvBlock& block) {
  require(block.kept, "KV cache: a page is dropped that was not kept");
  block.kept = false;
  if (!block.users.empty()) return;
  if (moving_ > 0) call_off([&block](const KvBlock& other) { return &other == &block; });
  warm(block);
  free_block(block);
  hold_steps();  // last: it may throw
}

// Joins the cold ones as the warmest of them.
void KvCache::cool(KvBlock& block) {
  block.colder = warmest_;
  block.warmer = nullptr;
  (warmest_ != nullptr ? warmest_->warmer : coldest_) = &block;
  warmest_ = &block;
  ++cold_pages_;
  for (Layer& layer : layers_) {
    if (layer.coldest_local == nullptr) layer.coldest_local = &block;
  }
}

void KvCache::warm(KvBlock& block) {
  for (Layer& layer : layers_) {
    if (layer.coldest_local == &block) layer.coldest_local = block.warmer;
  }
  (block.colder != nullptr ? block.colder->warmer : coldest_) = block.warmer;
  (block.warmer != nullptr ? block.warmer->colder : warmest_) = block.colder;
  block.colder = block.warmer = nullptr;
  --cold_pages_;
}

// The coldest local page that stays so far.
KvBlock* KvCache::unused_local(int64_t layer) {
  const auto at = static_cast<size_t>(layer);
  KvBlock*& first = layers_[at].coldest_local;
  while (first != nullptr && first->tier_to_be(at) != 0) first = first->warmer;
  KvBlock* block = first;
  while (block != nullptr &&
         (block->pages[at].tier != 0 || block->heading[at] != KvBlock::kStays)) {
    block = block->warmer;
  }
  return block;
}

}  // namespace dak
