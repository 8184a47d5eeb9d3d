// A word as a linked list of symbols that are merged pair by pair, best pair first. Shared by both
// kinds of BPE; each merge costs O(log n).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

struct MergeSymbol {
  TokenId token = -1;
  int32_t previous = -1;
  int32_t next = -1;
  uint32_t begin_bytes = 0;   // in the word
  uint32_t length_bytes = 0;  // 0: merged into the symbol before it
};

// A pair that may be merged: smaller `order` first, then the leftmost.
struct MergeCandidate {
  uint64_t order = 0;
  int32_t left = 0;
  TokenId merged = -1;
  uint32_t length_bytes = 0;

  bool operator>(const MergeCandidate& other) const {
    return order != other.order ? order > other.order : left > other.left;
  }
};

class MergeList {
 public:
  std::vector<MergeSymbol> symbols;

  void clear() {
    symbols.clear();
    heap_.clear();
  }

  void append(TokenId token, uint32_t begin_bytes, uint32_t length_bytes) {
    const auto index = static_cast<int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({token, index - 1, -1, begin_bytes, length_bytes});
  }

  // propose(left, right, &candidate) fills order, merged and length_bytes and returns true where
  // the two symbols can merge; is_current(left, right, candidate) says whether a candidate taken
  // from the queue still describes them.
  template <typename Propose, typename IsCurrent, typename OnMerge>
  void merge(Propose propose, IsCurrent is_current, OnMerge on_merge) {
    const auto consider = [&](int32_t left) {
      const MergeSymbol& a = symbols[static_cast<size_t>(left)];
      MergeCandidate candidate;
      if (!propose(a, symbols[static_cast<size_t>(a.next)], candidate)) return;
      candidate.left = left;
      heap_.push_back(candidate);
    };
    heap_.clear();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int32_t>(i));
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      const MergeCandidate best = heap_.back();
      heap_.pop_back();
      MergeSymbol& left = symbols[static_cast<size_t>(best.left)];
      if (left.length_bytes == 0 || left.next < 0) continue;
      MergeSymbol& right = symbols[static_cast<size_t>(left.next)];
      if (!is_current(left, right, best)) continue;
      on_merge(left, right, best);
      left.token = best.merged;
      left.length_bytes += right.length_bytes;
      left.next = right.next;
      right.length_bytes = 0;
      if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.left;
      const auto push = [&](int32_t at) {
        const size_t before = heap_.size();
        consider(at);
        if (heap_.size() > before) std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
      };
      if (left.previous >= 0) push(left.previous);
      if (left.next >= 0) push(best.left);
    }
  }

 private:
  std::vector<MergeCandidate> heap_;
};

}  // namespace dak
