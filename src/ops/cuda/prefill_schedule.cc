#include "ops/cuda/prefill_schedule.h"

#include <algorithm>

#include "base/error.h"
#include "base/math.h"

namespace dak::cuda {
namespace {

constexpr int64_t kFewRemote = 8;     // a smaller share of pages is no reason to make groups
constexpr int64_t kRemoteGroups = 4;  // of KV heads, at least, where there are more remote pages

// The first token that the row of token `token` sees.
int64_t begin_of(const AttentionConfig& config, int64_t token) {
  return config.window > 0 ? std::max<int64_t>(0, token + 1 - config.window) : 0;
}

class Maker {
 public:
  Maker(const AttentionConfig& config, PrefillSchedule& schedule)
      : config_(config), schedule_(schedule), group_(config.heads / config.kv_heads) {}

  void add(const KvSequence& s, int64_t first_page) {
    const int64_t end = s.past + s.rows;
    const int64_t begin = begin_of(config_, s.past);
    PrefillSequence made{};
    made.first_row = static_cast<int32_t>(s.first_row);
    made.rows = static_cast<int32_t>(s.rows);
    made.past = static_cast<int32_t>(s.past);
    made.first_page = static_cast<int32_t>(first_page);
    made.first_segment = static_cast<int32_t>(begin / kPrefillSegmentTokens);
    made.segments =
        static_cast<int32_t>((end - 1) / kPrefillSegmentTokens) + 1 - made.first_segment;
    made.segment_at = static_cast<int32_t>(std::ssize(schedule_.segments));
    made.head_tiles = static_cast<int32_t>(prefill_tiles(s.rows, group_));
    made.group_heads = static_cast<int32_t>(prefill_group_heads(config_.kv_heads, made.head_tiles));
    add_segments(s, made);
    schedule_.units += int64_t{made.head_units} * config_.kv_heads;
    made.unit_end = static_cast<int32_t>(schedule_.units);
    made.first_state = -1;
    if (made.segments > 1) {
      made.first_state = static_cast<int32_t>(tiles_with_states_);
      tiles_with_states_ += made.head_tiles * config_.kv_heads;
      schedule_.states = std::max(schedule_.states, prefill_states(s.rows, group_));
    }
    add_remote_pages(s, begin / kPageTokens, ceil_div(end, kPageTokens), made);
    schedule_.sequences.push_back(made);
  }

 private:
  // Tokens of a tile's first and last rows.
  int64_t first_token(const KvSequence& s, int64_t tile) const {
    return s.past + tile * kPrefillTileRows / group_;
  }
  int64_t last_token(const KvSequence& s, int64_t tile) const {
    return s.past + (std::min((tile + 1) * kPrefillTileRows, s.rows * group_) - 1) / group_;
  }

  void add_segments(const KvSequence& s, PrefillSequence& made) {
    int64_t first = 0;
    int64_t end = 0;
    for (int64_t i = 0; i < made.segments; ++i) {
      const int64_t begin_token = (made.first_segment + i) * kPrefillSegmentTokens;
      while (last_token(s, first) < begin_token) ++first;
      while (end < made.head_tiles &&
             begin_of(config_, first_token(s, end)) < begin_token + kPrefillSegmentTokens) {
        ++end;
      }
      made.head_units += static_cast<int32_t>(end - first);
      schedule_.segments.push_back({.unit_end = made.head_units,
                                    .first_tile = static_cast<int32_t>(first),
                                    .tiles = static_cast<int32_t>(end - first),
                                    .remote_end = 0});
    }
  }

  void add_remote_pages(const KvSequence& s, int64_t first, int64_t end, PrefillSequence& made) {
    made.first_remote = static_cast<int32_t>(std::ssize(schedule_.remote_pages));
    made.first_item = static_cast<int32_t>(schedule_.items);
    std::array<std::vector<int32_t>, kMaxTiers> ranks;
    const auto end_segment = [&](int64_t segment) {
      schedule_.segments[static_cast<size_t>(made.segment_at + segment)].remote_end =
          made.remote_pages;
      for (size_t tier = 1; tier < kMaxTiers; ++tier) {
        schedule_.fetch_ends[tier].push_back(static_cast<int32_t>(std::ssize(ranks[tier])));
      }
    };
    for (int64_t page = first; page < end; ++page) {
      if (page % kPrefillSegmentPages == 0 && page > first) {
        end_segment(page / kPrefillSegmentPages - 1 - made.first_segment);
      }
      const TierIndex tier = s.pages[static_cast<size_t>(page)].tier;
      if (tier == 0) continue;
      schedule_.page_ranks[static_cast<size_t>(made.first_page + page)] = made.remote_pages;
      schedule_.remote_pages.push_back(static_cast<int32_t>(page));
      ranks[tier].push_back(made.remote_pages++);
    }
    end_segment(made.segments - 1);
    // The link brings one group's pages while others are computed. (512 rows behind 131,072 tokens,
    // 20 % remote, all heads in one group: first the link alone, then arithmetic alone.)
    if (made.remote_pages * kFewRemote >= end - first) {
      made.group_heads = static_cast<int32_t>(
          std::min<int64_t>(made.group_heads, ceil_div(config_.kv_heads, kRemoteGroups)));
    }
    schedule_.items += made.remote_pages * config_.kv_heads;
    for (size_t tier = 1; tier < kMaxTiers; ++tier) {
      std::vector<PrefillFetches>& fetches = schedule_.fetches[tier];
      const int64_t before = fetches.empty() ? 0 : fetches.back().end;
      fetches.push_back(
          {.first = static_cast<int32_t>(std::ssize(schedule_.fetch_ranks)),
           .count = static_cast<int32_t>(std::ssize(ranks[tier])),
           .end = static_cast<int32_t>(before + std::ssize(ranks[tier]) * config_.kv_heads)});
      schedule_.fetch_ranks.insert(schedule_.fetch_ranks.end(), ranks[tier].begin(),
                                   ranks[tier].end());
    }
  }

  const AttentionConfig& config_;
  PrefillSchedule& schedule_;
  const int64_t group_;
  int64_t tiles_with_states_ = 0;
};

}  // namespace

std::vector<PrefillFetches> PrefillSchedule::all_fetches() const {
  std::vector<PrefillFetches> all;
  for (size_t tier = 1; tier < kMaxTiers; ++tier) {
    all.insert(all.end(), fetches[tier].begin(), fetches[tier].end());
  }
  return all;
}

std::vector<int32_t> PrefillSchedule::all_fetch_ends() const {
  std::vector<int32_t> all;
  for (size_t tier = 1; tier < kMaxTiers; ++tier) {
    all.insert(all.end(), fetch_ends[tier].begin(), fetch_ends[tier].end());
  }
  return all;
}

PrefillSchedule make_prefill_schedule(const AttentionConfig& config,
                                      std::span<const KvSequence> sequences) {
  PrefillSchedule schedule;
  std::vector<int64_t> first_pages;
  int64_t pages = 0;
  for (const KvSequence& s : sequences) {
    first_pages.push_back(pages);
    pages += config.table_pages > 0 ? config.table_pages : std::ssize(s.pages);
  }
  schedule.page_ranks.assign(static_cast<size_t>(pages), -1);
  // The longest units first, so that the last ones are short.
  std::vector<size_t> order;
  for (size_t i = 0; i < sequences.size(); ++i) {
    if (sequences[i].rows >= kPrefillLeastRows) order.push_back(i);
  }
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return sequences[a].past + sequences[a].rows > sequences[b].past + sequences[b].rows;
  });
  Maker maker(config, schedule);
  for (const size_t i : order) maker.add(sequences[i], first_pages[i]);
  require(schedule.units < INT32_MAX && schedule.items < INT32_MAX / 8,
          "attention: more units of work than 31 bits count");
  return schedule;
}

}  // namespace dak::cuda
