// Mode prefetch: where the remote KV pages of a layer lie once they have been copied. A layer's
// remote places are one piece of memory, its pool; a buffer in local memory is as large, and a page
// is copied to the offset that it has in the pool. So a page's copy does not move when others come
// and go, and neighbours are one copy. No CUDA here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"

namespace dak {

// Bytes [begin, end) of a pool.
struct CopyRange {
  int64_t begin = 0;
  int64_t end = 0;

  bool operator==(const CopyRange&) const = default;
};

// Ranges that touch or overlap made one, in order.
std::vector<CopyRange> joined(std::vector<CopyRange> ranges);
// At most `most` of them (1 and more): the narrowest gaps are copied too.
std::vector<CopyRange> at_most(std::vector<CopyRange> ranges, size_t most);

// Copies that a recorded step of so many sequences has for a layer: two ranges of each, unless they
// are many. What does not fit is copied with the gaps between.
constexpr size_t recorded_copies(size_t sequences) {
  return sequences < 4 ? 8 : sequences < 32 ? 2 * sequences : 64;
}

struct KvPool {
  const std::byte* data = nullptr;
  int64_t size_bytes = 0;

  bool holds(const KvPage& page) const {
    return page.tier != 0 && page.data >= data && page.data < data + size_bytes;
  }
};

// The sequences of a pass as attention sees them in one layer. Pages that the pass writes to stay
// where they are: the copies begin before it writes.
struct StagedKv {
  std::vector<std::vector<KvPage>> pages;  // of each sequence
  std::vector<KvSequence> sequences;
  std::vector<CopyRange> ranges;  // of the pool, to be copied
};
StagedKv stage_kv(const KvPool& pool, std::byte* buffer, const AttentionConfig& config,
                  std::span<const KvSequence> sequences);

}  // namespace dak
