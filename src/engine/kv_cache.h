// The paged KV cache: a pool of pages, handed to sequences as they grow.
#pragma once

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "memory/arena.h"
#include "model/batch.h"
#include "model/config.h"

namespace dak {

// One sequence's hold on the cache.
struct KvHold {
  std::vector<int32_t> page_ids;
  KvPageTable pages;   // [layer][page]
  int64_t tokens = 0;  // written so far
};

class KvCache {
 public:
  // Room for `tokens` tokens over all sequences, rounded up to pages, in one tier.
  KvCache(const ModelConfig& config, DType dtype, int64_t tokens, Arena& arena);

  static int64_t size_bytes(const ModelConfig& config, DType dtype, int64_t tokens);

  DType dtype() const { return dtype_; }
  int64_t free_tokens() const { return static_cast<int64_t>(free_.size()) * kPageTokens; }

  // Makes room for `tokens` tokens in all; throws kResourceExhausted, leaving `hold` as it was,
  // when there are not enough free pages.
  void reserve(KvHold& hold, int64_t tokens);
  // Gives every page back.
  void release(KvHold& hold);

 private:
  int64_t layers_;
  DType dtype_;
  int64_t page_bytes_;
  int64_t page_count_;
  TierIndex tier_;
  std::byte* data_;  // [layers][page_count][page_bytes]
  std::vector<int32_t> free_;
};

}  // namespace dak
