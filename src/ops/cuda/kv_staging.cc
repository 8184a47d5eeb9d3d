#include "ops/cuda/kv_staging.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace dak {

std::vector<CopyRange> joined(std::vector<CopyRange> ranges) {
  std::ranges::sort(ranges, {}, &CopyRange::begin);
  std::vector<CopyRange> result;
  for (const CopyRange& range : ranges) {
    if (!result.empty() && range.begin <= result.back().end) {
      result.back().end = std::max(result.back().end, range.end);
    } else {
      result.push_back(range);
    }
  }
  return result;
}

std::vector<CopyRange> at_most(std::vector<CopyRange> ranges, size_t most) {
  if (ranges.size() <= most) return ranges;
  std::vector<size_t> second(ranges.size() - 1);  // of the two ranges beside a gap
  std::iota(second.begin(), second.end(), size_t{1});
  std::ranges::stable_sort(second, std::ranges::greater(),
                           [&](size_t i) { return ranges[i].begin - ranges[i - 1].end; });
  std::vector<bool> begins(ranges.size(), false);
  for (size_t i = 0; i + 1 < most; ++i) begins[second[i]] = true;
  std::vector<CopyRange> result{ranges[0]};
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (begins[i]) {
      result.push_back(ranges[i]);
    } else {
      result.back().end = ranges[i].end;
    }
  }
  return result;
}

StagedKv stage_kv(const KvPool& pool, std::byte* buffer, const AttentionConfig& config,
                  std::span<const KvSequence> sequences) {
  StagedKv staged;
  for (const KvSequence& sequence : sequences) {
    std::vector<KvPage>& pages =
        staged.pages.emplace_back(sequence.pages.begin(), sequence.pages.end());
    const int64_t seen = config.window > 0 ? sequence.past + 1 - config.window : 0;
    const int64_t first = std::max<int64_t>(0, seen) / kPageTokens;
    const int64_t whole = sequence.past / kPageTokens;  // pages that this pass does not write
    for (int64_t i = first; i < std::min(whole, std::ssize(pages)); ++i) {
      KvPage& page = pages[static_cast<size_t>(i)];
      if (!pool.holds(page)) continue;
      const int64_t offset = page.data - pool.data;
      staged.ranges.push_back({.begin = offset, .end = offset + config.page_bytes()});
      page = {.data = buffer + offset, .tier = 0};
    }
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    staged.sequences.push_back(sequences[i]);
    staged.sequences.back().pages = staged.pages[i];
  }
  staged.ranges = joined(std::move(staged.ranges));
  return staged;
}

}  // namespace dak
