// Flash-style attention over pages (Dao et al. 2022): a tile of queries that share a KV head passes
// over the keys page by page with a running maximum. Tokens are cut into partitions of 1024, summed
// apart and merged in order, so that one long sequence can occupy every thread. Pages and
// partitions start at fixed token indices and every query goes through its own alone: neither the
// batch, the tile nor the number of threads change its bits.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "base/math.h"
#include "ops/cpu/backend.h"
#include "ops/cpu/kernels.h"

namespace dak::cpu {
namespace {

constexpr int64_t kPartitionTokens = 1024;
constexpr int64_t kTileQueries = 64;  // 64 x 128 f32 of output: 32 KiB, in L1 and L2
constexpr int64_t kScoreQueries = 8;  // queries whose lane sums are alive at one time: 16 KiB
constexpr int64_t kSplitRows = 8;     // sequences of few rows spread their partitions over threads
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

static_assert(kPartitionTokens % kPageTokens == 0);

// Softmax so far of `queries` queries: out holds sum of exp(score - maximum) v, not yet divided.
struct State {
  int64_t queries = 0;
  int64_t size = 0;          // head size
  float* maximum = nullptr;  // [queries]
  float* sum = nullptr;      // [queries]
  float* out = nullptr;      // [queries, size]

  static int64_t floats(int64_t queries, int64_t size) {
    return round_up(queries, kLanes) * 2 + round_up(queries * size, 16);
  }
  static State at(float* memory, int64_t queries, int64_t size) {
    const int64_t padded = round_up(queries, kLanes);
    return {queries, size, memory, memory + padded, memory + 2 * padded};
  }
  void clear() const {
    std::fill(maximum, maximum + queries, kMinusInfinity);
    std::fill(sum, sum + queries, 0.0f);
    std::fill(out, out + queries * size, 0.0f);
  }
};

struct Range {
  int64_t begin;
  int64_t end;
  bool empty() const { return begin >= end; }
  bool operator==(const Range&) const = default;
};

Range intersect(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

// Rows of one sequence against one KV head, over the tokens of some partitions.
struct Item {
  const KvSequence* sequence;
  int64_t kv_head;
  int64_t first_row;  // in the sequence
  int64_t rows;
  Range partitions;
  float* state = nullptr;  // where to leave the State; null: finish into the output
};

// One thread's working memory and the loop over an item's pages.
class TileWorker {
 public:
  static int64_t scratch_floats(int64_t max_queries, int64_t size) {
    return round_up(max_queries * size, 16) + kScoreQueries * kPageTokens * kLanes +
           max_queries * kPageTokens + 3 * round_up(max_queries, kLanes) +
           2 * State::floats(max_queries, size);
  }

  TileWorker(const Kernels& isa, const AttentionConfig& config, int64_t max_queries, float* scratch)
      : isa_(isa), config_(config), group_(config.heads / config.kv_heads) {
    const int64_t size = config.head_size;
    const auto take = [&](int64_t floats) {
      float* taken = scratch;
      scratch += floats;
      return taken;
    };
    query_ = take(round_up(max_queries * size, 16));
    lane_sums_ = take(kScoreQueries * kPageTokens * kLanes);
    scores_ = take(max_queries * kPageTokens);
    rescale_ = take(round_up(max_queries, kLanes));
    weight_a_ = take(round_up(max_queries, kLanes));
    weight_b_ = take(round_up(max_queries, kLanes));
    partial_memory_ = take(State::floats(max_queries, size));
    total_memory_ = take(State::floats(max_queries, size));
  }

  void run(const Item& item, const Tensor& q, const Tensor& out) {
    item_ = &item;
    gather_queries(q);
    const int64_t queries = item.rows * group_;
    float* memory = item.state != nullptr ? item.state : total_memory_;
    const State total = State::at(memory, queries, config_.head_size);
    const State partial = State::at(partial_memory_, queries, config_.head_size);
    total.clear();
    for (int64_t p = item.partitions.begin; p < item.partitions.end; ++p) {
      partial.clear();
      const Range tokens{p * kPartitionTokens, (p + 1) * kPartitionTokens};
      add_partition(tokens, partial);
      merge(tokens, partial, total);
    }
    if (item.state == nullptr) finish(total, out);
  }

  // Folds the states that split items of one tile left, in order of partition, into the output.
  void fold(std::span<const Item> items, const Tensor& out) {
    item_ = &items.front();
    const int64_t queries = item_->rows * group_;
    const State total = State::at(items.front().state, queries, config_.head_size);
    for (const Item& item : items.subspan(1)) {
      const Range tokens{item.partitions.begin * kPartitionTokens,
                         item.partitions.end * kPartitionTokens};
      merge(tokens, State::at(item.state, queries, config_.head_size), total);
    }
    finish(total, out);
  }

 private:
  // Tokens that row `row` of the item sees.
  Range visible(int64_t row) const {
    const int64_t end = item_->sequence->past + item_->first_row + row + 1;
    return {config_.window > 0 ? std::max<int64_t>(0, end - config_.window) : 0, end};
  }

  void gather_queries(const Tensor& q) {
    const int64_t count = group_ * config_.head_size;
    for (int64_t row = 0; row < item_->rows; ++row) {
      std::memcpy(query_ + row * count, q.f32() + offset_of(row),
                  static_cast<size_t>(count) * sizeof(float));
    }
  }

  // Element of q and out where the item's row begins.
  int64_t offset_of(int64_t row) const {
    return ((item_->sequence->first_row + item_->first_row + row) * config_.heads +
            item_->kv_head * group_) *
           config_.head_size;
  }

  void add_partition(Range tokens, const State& state) {
    const Range needed = intersect(tokens, {visible(0).begin, visible(item_->rows - 1).end});
    for (int64_t first = needed.begin / kPageTokens * kPageTokens; first < needed.end;
         first += kPageTokens) {
      add_page(first, intersect(needed, {first, first + kPageTokens}), state);
    }
  }

  // `needed`: the tokens of the page at `first_token` that any row sees.
  void add_page(int64_t first_token, Range needed, const State& state) {
    const int64_t size = config_.head_size;
    const int64_t page_values = config_.kv_heads * kPageTokens * size;
    const std::byte* page =
        item_->sequence->pages[static_cast<size_t>(first_token / kPageTokens)].data;
    const std::byte* keys = page + bytes_of(config_.kv_dtype, item_->kv_head * kPageTokens * size);
    const std::byte* values = keys + bytes_of(config_.kv_dtype, page_values);

    // Keys come in groups of 8; scores of tokens outside `needed` are computed and dropped.
    const int64_t skipped = (needed.begin - first_token) / kLanes * kLanes;
    const int64_t width = round_up(needed.end - first_token, kLanes) - skipped;
    const int64_t origin = first_token + skipped;  // token of column 0 of the scores
    score(keys + bytes_of(config_.kv_dtype, skipped * size), width);
    softmax(origin, width, needed, state);

    // Rows that see the same tokens go together, so each value is loaded once for all of them.
    for (int64_t row = 0; row < item_->rows;) {
      const Range seen = intersect(visible(row), needed);
      int64_t last = row + 1;
      while (last < item_->rows && intersect(visible(last), needed) == seen) ++last;
      if (!seen.empty()) {
        isa_.add_weighted_rows(
            scores_ + row * group_ * width + (seen.begin - origin), width, (last - row) * group_,
            values + bytes_of(config_.kv_dtype, (seen.begin - first_token) * size),
            config_.kv_dtype, seen.end - seen.begin, size, state.out + row * group_ * size);
      }
      row = last;
    }
  }

  // scores_[query, width] = q . k, not scaled yet.
  void score(const std::byte* keys, int64_t width) {
    const int64_t size = config_.head_size;
    const int64_t queries = item_->rows * group_;
    const RowsView view{.data = keys,
                        .dtype = config_.kv_dtype,
                        .row_groups = width / kLanes,
                        .row_stride = size,
                        .row_group_stride = kLanes * size,
                        .col_groups = size / kLanes,
                        .col_group_stride = kLanes,
                        .chunks = 1,
                        .chunk_stride = 0};
    for (int64_t q = 0; q < queries; q += kScoreQueries) {
      const int64_t count = std::min(kScoreQueries, queries - q);
      std::memset(lane_sums_, 0, static_cast<size_t>(count * width * kLanes) * sizeof(float));
      isa_.accumulate(view, query_ + q * size, size, count, lane_sums_);
      isa_.reduce(lane_sums_, count * width, scores_ + q * width);
    }
  }

  // Turns scores into exp(score - running maximum) and rescales what is summed so far.
  void softmax(int64_t origin, int64_t width, Range needed, const State& state) {
    const int64_t queries = item_->rows * group_;
    for (int64_t row = 0; row < item_->rows; ++row) {
      const Range seen = intersect(visible(row), needed);
      for (int64_t q = row * group_; q < (row + 1) * group_; ++q) {
        rescale_[q] = 0.0f;
        if (seen.empty()) continue;
        float* s = scores_ + q * width;
        std::fill(s, s + (seen.begin - origin), kMinusInfinity);
        for (int64_t t = seen.begin - origin; t < seen.end - origin; ++t) s[t] *= config_.scale;
        std::fill(s + (seen.end - origin), s + width, kMinusInfinity);
        const float before = state.maximum[q];
        const float largest = isa_.largest(s, width);
        state.maximum[q] = before > largest ? before : largest;
        rescale_[q] = before - state.maximum[q];
      }
    }
    std::fill(rescale_ + queries, rescale_ + round_up(queries, kLanes), 0.0f);
    isa_.exp_and_sum(rescale_, round_up(queries, kLanes), 0.0f);
    for (int64_t row = 0; row < item_->rows; ++row) {
      if (intersect(visible(row), needed).empty()) continue;
      for (int64_t q = row * group_; q < (row + 1) * group_; ++q) {
        const float sum = isa_.exp_and_sum(scores_ + q * width, width, state.maximum[q]);
        state.sum[q] = state.sum[q] * rescale_[q] + sum;
        if (rescale_[q] != 1.0f) scale(state.out + q * state.size, state.size, rescale_[q]);
      }
    }
  }

  static void scale(float* values, int64_t count, float factor) {
    for (int64_t i = 0; i < count; ++i) values[i] *= factor;
  }

  // total += partial, for the rows that see some of `tokens`.
  void merge(Range tokens, const State& partial, const State& total) {
    const int64_t queries = item_->rows * group_;
    const int64_t padded = round_up(queries, kLanes);
    std::fill(weight_a_, weight_a_ + padded, 0.0f);
    std::fill(weight_b_, weight_b_ + padded, 0.0f);
    for (int64_t q = 0; q < queries; ++q) {
      if (intersect(visible(q / group_), tokens).empty()) continue;
      const float a = total.maximum[q];
      const float b = partial.maximum[q];
      const float largest = a > b ? a : b;
      weight_a_[q] = a - largest;
      weight_b_[q] = b - largest;
      total.maximum[q] = largest;
    }
    isa_.exp_and_sum(weight_a_, padded, 0.0f);
    isa_.exp_and_sum(weight_b_, padded, 0.0f);
    for (int64_t q = 0; q < queries; ++q) {
      if (intersect(visible(q / group_), tokens).empty()) continue;
      total.sum[q] = total.sum[q] * weight_a_[q] + partial.sum[q] * weight_b_[q];
      float* to = total.out + q * total.size;
      const float* from = partial.out + q * total.size;
      for (int64_t i = 0; i < total.size; ++i) {
        to[i] = to[i] * weight_a_[q] + from[i] * weight_b_[q];
      }
    }
  }

  void finish(const State& total, const Tensor& out) const {
    for (int64_t q = 0; q < item_->rows * group_; ++q) {
      float* to = out.f32() + offset_of(q / group_) + q % group_ * total.size;
      const float* from = total.out + q * total.size;
      for (int64_t i = 0; i < total.size; ++i) to[i] = from[i] / total.sum[q];
    }
  }

  const Kernels& isa_;
  const AttentionConfig& config_;
  int64_t group_;  // query heads per KV head
  const Item* item_ = nullptr;
  float* query_ = nullptr;      // [queries, size]
  float* lane_sums_ = nullptr;  // [kScoreQueries, kPageTokens, kLanes]
  float* scores_ = nullptr;     // [queries, width of the page]
  float* rescale_ = nullptr;    // [queries]
  float* weight_a_ = nullptr;   // [queries]
  float* weight_b_ = nullptr;   // [queries]
  float* partial_memory_ = nullptr;
  float* total_memory_ = nullptr;
};

Range partitions_of(const AttentionConfig& config, const KvSequence& s, int64_t first_row,
                    int64_t rows) {
  const int64_t first_end = s.past + first_row + 1;
  const int64_t begin = config.window > 0 ? std::max<int64_t>(0, first_end - config.window) : 0;
  return {begin / kPartitionTokens, (s.past + first_row + rows - 1) / kPartitionTokens + 1};
}

// Later rows see more tokens and go first, so that no thread is left with a long item at the end.
std::vector<Item> make_items(const AttentionConfig& config, std::span<const KvSequence> sequences,
                             int64_t tile_rows) {
  std::vector<Item> items;
  for (const KvSequence& s : sequences) {
    const bool split = s.rows <= std::min(kSplitRows, tile_rows);
    for (int64_t tile = ceil_div(s.rows, tile_rows) - 1; tile >= 0; --tile) {
      const int64_t first = tile * tile_rows;
      const int64_t rows = std::min(tile_rows, s.rows - first);
      const Range all = partitions_of(config, s, first, rows);
      for (int64_t head = 0; head < config.kv_heads; ++head) {
        const int64_t step = split ? 1 : all.end - all.begin;
        for (int64_t p = all.begin; p < all.end; p += step) {
          items.push_back({&s, head, first, rows, {p, p + step}});
        }
      }
    }
  }
  return items;
}

// Runs of split items that belong to one tile, each longer than one item.
std::vector<std::span<const Item>> assign_states(OpContext& ctx, const AttentionConfig& config,
                                                 std::vector<Item>& items) {
  const auto same_tile = [](const Item& a, const Item& b) {
    return a.sequence == b.sequence && a.kv_head == b.kv_head && a.first_row == b.first_row;
  };
  std::vector<std::span<const Item>> runs;
  int64_t floats = 0;
  for (size_t i = 0; i < items.size();) {
    size_t end = i + 1;
    while (end < items.size() && same_tile(items[i], items[end])) ++end;
    if (end > i + 1) {
      runs.emplace_back(&items[i], end - i);
      floats += static_cast<int64_t>(end - i) *
                State::floats(items[i].rows * (config.heads / config.kv_heads), config.head_size);
    }
    i = end;
  }
  float* memory = ctx.scratch(kStateSlot, floats);
  for (const std::span<const Item> run : runs) {
    const int64_t each =
        State::floats(run[0].rows * (config.heads / config.kv_heads), config.head_size);
    for (size_t i = 0; i < run.size(); ++i, memory += each) {
      items[static_cast<size_t>(&run[i] - items.data())].state = memory;
    }
  }
  return runs;
}

}  // namespace

void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out) {
  const int64_t group = config.heads / config.kv_heads;
  const int64_t tile_rows = std::max<int64_t>(1, kTileQueries / group);
  std::vector<Item> items = make_items(config, sequences, tile_rows);
  if (items.empty()) return;
  const std::vector<std::span<const Item>> runs = assign_states(ctx, config, items);

  int64_t max_rows = 0;
  for (const Item& item : items) max_rows = std::max(max_rows, item.rows);
  const int64_t max_queries = max_rows * group;
  const int64_t per_thread = TileWorker::scratch_floats(max_queries, config.head_size);
  float* scratch = ctx.scratch(kThreadSlot, ctx.pool->size() * per_thread);
  const Kernels& isa = kernels();
  // Items differ in length, so threads take the next one as they become free; which thread
  // computes an item does not matter to its bits.
  const auto for_each = [&](size_t count, const auto& body) {
    std::atomic<size_t> next{0};
    const auto share = [&](int64_t, int64_t, int thread) {
      TileWorker worker(isa, config, max_queries, scratch + thread * per_thread);
      for (size_t i = next++; i < count; i = next++) body(worker, i);
    };
    ctx.pool->parallel_for(std::min<int64_t>(ctx.pool->size(), static_cast<int64_t>(count)), 1,
                           share);
  };
  for_each(items.size(), [&](TileWorker& worker, size_t i) { worker.run(items[i], q, out); });
  if (!runs.empty()) {
    for_each(runs.size(), [&](TileWorker& worker, size_t i) { worker.fold(runs[i], out); });
  }
}

}  // namespace dak::cpu
