#include "ops/attention.h"

#include <cmath>

#include "support/throws_error.h"
#include "tests/ops/support.h"

namespace dak::test {
namespace {

// The cache of some sequences in one layer: pages allocated one by one, poisoned, scattered over
// tiers, plus plain copies of what is stored.
struct Cache {
  AttentionConfig config;
  std::vector<std::vector<KvPage>> pages;
  std::vector<std::unique_ptr<std::byte[]>> memory;
  std::vector<KvSequence> sequences;
  std::vector<std::vector<float>> k;  // [sequence][tokens, kv_heads, head_size], as stored
  std::vector<std::vector<float>> v;
  int64_t rows = 0;

  int64_t width() const { return config.kv_heads * config.head_size; }
};

struct SequenceShape {
  int64_t past;
  int64_t rows;
};

std::vector<float> slice(const std::vector<float>& values, int64_t begin, int64_t end) {
  return {values.begin() + begin, values.begin() + end};
}

// Stores past and new tokens through store_kv, as an engine does: first the past, then the rows.
Cache make_cache(OpContext& ctx, const AttentionConfig& config,
                 const std::vector<SequenceShape>& shapes, double ratio, uint32_t seed) {
  Cache cache;
  cache.config = config;
  cache.pages.resize(shapes.size());
  int64_t page_count = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const int64_t tokens = shapes[i].past + shapes[i].rows;
    const int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
    for (int64_t page = 0; page < pages; ++page) {
      const auto bytes = static_cast<size_t>(config.page_bytes());
      cache.memory.push_back(std::make_unique<std::byte[]>(bytes));
      std::memset(cache.memory.back().get(), 0xff, bytes);  // NaN in f32, f16 and bf16
      cache.pages[i].push_back(
          {.data = cache.memory.back().get(),
           .tier = static_cast<TierIndex>(in_tier_one(page_count++ % 10, 10, ratio))});
    }
    const int64_t width = config.kv_heads * config.head_size;
    // Seeded by the sequence's own length, so that a sequence is the same in every batch.
    const auto own_seed = static_cast<uint32_t>(seed + 1000 * shapes[i].past + shapes[i].rows);
    const auto k = random_values(tokens * width, own_seed);
    const auto v = random_values(tokens * width, own_seed + 1);
    const KvSequence past{
        .pages = cache.pages[i], .past = 0, .first_row = 0, .rows = shapes[i].past};
    const KvSequence fresh{
        .pages = cache.pages[i], .past = shapes[i].past, .first_row = 0, .rows = shapes[i].rows};
    for (const KvSequence& part : {past, fresh}) {
      const std::vector<int64_t> shape{part.rows, config.kv_heads, config.head_size};
      const int64_t begin = part.past * width;
      const int64_t end = begin + part.rows * width;
      const Guarded part_k(shape, slice(k, begin, end));
      const Guarded part_v(shape, slice(v, begin, end));
      store_kv(ctx, config, {&part, 1}, part_k.tensor(), part_v.tensor());
    }
    cache.sequences.push_back({.pages = cache.pages[i],
                               .past = shapes[i].past,
                               .first_row = cache.rows,
                               .rows = shapes[i].rows});
    cache.rows += shapes[i].rows;
    cache.k.push_back(rounded(k, config.kv_dtype));
    cache.v.push_back(rounded(v, config.kv_dtype));
  }
  return cache;
}

std::vector<float> queries_of(const Cache& cache) {
  std::vector<float> q;
  for (const KvSequence& s : cache.sequences) {
    const auto part = random_values(s.rows * cache.config.heads * cache.config.head_size,
                                    static_cast<uint32_t>(77 + 1000 * s.past + s.rows));
    q.insert(q.end(), part.begin(), part.end());
  }
  return q;
}

// Two-pass softmax in T, one query at a time; magnitude: sum of p |v|.
template <class T>
void reference(const Cache& cache, const std::vector<float>& q, std::vector<T>& out,
               std::vector<double>& magnitude) {
  const AttentionConfig& c = cache.config;
  for (size_t i = 0; i < cache.sequences.size(); ++i) {
    const KvSequence& s = cache.sequences[i];
    for (int64_t row = 0; row < s.rows; ++row) {
      const int64_t end = s.past + row + 1;
      const int64_t begin = c.window > 0 ? std::max<int64_t>(0, end - c.window) : 0;
      for (int64_t head = 0; head < c.heads; ++head) {
        const int64_t kv_head = head / (c.heads / c.kv_heads);
        const float* query =
            &q[static_cast<size_t>(((s.first_row + row) * c.heads + head) * c.head_size)];
        const auto at = [&](int64_t t) {
          return static_cast<size_t>(t * cache.width() + kv_head * c.head_size);
        };
        std::vector<T> p;
        for (int64_t t = begin; t < end; ++t) {
          T dot = 0;
          const float* key = &cache.k[i][at(t)];
          for (int64_t d = 0; d < c.head_size; ++d) dot += static_cast<T>(query[d]) * key[d];
          p.push_back(dot * c.scale);
        }
        const T largest = *std::max_element(p.begin(), p.end());
        T sum = 0;
        for (T& value : p) sum += value = std::exp(value - largest);
        for (int64_t d = 0; d < c.head_size; ++d) {
          T value = 0;
          double size = 0;
          for (int64_t t = begin; t < end; ++t) {
            const T weight = p[static_cast<size_t>(t - begin)] / sum;
            const float stored = cache.v[i][at(t) + static_cast<size_t>(d)];
            value += weight * stored;
            size += static_cast<double>(weight) * std::abs(stored);
          }
          out.push_back(value);
          magnitude.push_back(size);
        }
      }
    }
  }
}

int64_t expected_bytes(const Cache& cache) {
  int64_t tokens = 0;
  for (const KvSequence& s : cache.sequences) {
    const int64_t begin =
        cache.config.window > 0 ? std::max<int64_t>(0, s.past + 1 - cache.config.window) : 0;
    tokens += s.past + s.rows - begin;
  }
  return bytes_of(cache.config.kv_dtype, 2 * tokens * cache.width());
}

void check_close(const AttentionConfig& config, const std::vector<SequenceShape>& shapes) {
  ThreadPool pool(2);
  OpContext ctx;
  ctx.pool = &pool;
  const Cache cache = make_cache(ctx, config, shapes, 0.5, 1);
  const auto q = queries_of(cache);
  const std::vector<int64_t> shape{cache.rows, config.heads, config.head_size};
  const Guarded input(shape, q);
  const Guarded out(shape);
  ctx.traffic = {};
  attention(ctx, config, cache.sequences, input.tensor(), out.tensor());
  EXPECT_EQ(ctx.traffic.total_bytes(), expected_bytes(cache));
  std::vector<float> naive;
  std::vector<double> exact;
  std::vector<double> magnitude;
  reference(cache, q, naive, magnitude);
  magnitude.clear();
  reference(cache, q, exact, magnitude);
  const Comparison c = compare(out.values(), naive, exact, magnitude);
  EXPECT_TRUE(c.ok) << c.message;
  EXPECT_TRUE(out.intact());
}

AttentionConfig config_of(int64_t heads, int64_t kv_heads, int64_t head_size, DType dtype,
                          int64_t window = 0) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_size = head_size,
          .scale = 1.0f / std::sqrt(static_cast<float>(head_size)),
          .window = window,
          .kv_dtype = dtype};
}

TEST(Attention, CloseToFp64OverHeadsAndSizes) {
  const std::vector<SequenceShape> batch{{0, 1}, {63, 1}, {64, 2}, {65, 1}, {0, 70}, {30, 40}};
  for (const DType dtype : kFloatTypes) {
    for (const int64_t head_size : {8, 64, 80, 96, 128, 256}) {
      if (head_size == 256 && dtype != DType::kBF16) continue;
      for (const auto& [heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2}, {6, 2}, {5, 1}}) {
        SCOPED_TRACE(testing::Message() << name(dtype) << " size " << head_size << " heads "
                                        << heads << "/" << kv_heads);
        check_close(config_of(heads, kv_heads, head_size, dtype), batch);
      }
    }
  }
}

TEST(Attention, CloseToFp64WithWindow) {
  for (const int64_t window : {1, 2, 63, 64, 65, 100, 5000}) {
    SCOPED_TRACE(window);
    check_close(config_of(6, 2, 64, DType::kF16, window),
                {{0, 1}, {63, 3}, {128, 1}, {200, 80}, {0, 130}});
  }
}

TEST(Attention, CloseToFp64OverPartitions) {
  for (const int64_t window : {0, 1100}) {
    check_close(config_of(4, 2, 16, DType::kBF16, window),
                {{1022, 1}, {1023, 1}, {1024, 1}, {1000, 70}, {3000, 2}});
  }
}

TEST(Attention, SameBitsForEveryPlacementMachineThreadsAndBatch) {
  const std::vector<SequenceShape> batch{{0, 1}, {63, 3}, {1100, 1}, {1010, 20}, {64, 80}, {0, 9}};
  for (const DType dtype : kFloatTypes) {
    for (const int64_t window : {0, 1050}) {
      if (window > 0 && dtype != DType::kBF16) continue;
      const AttentionConfig config = config_of(2, 1, 24, dtype, window);
      std::vector<float> expected;
      for_each_way([&](OpContext& ctx) {
        for (const double ratio : kRatios) {
          const Cache cache = make_cache(ctx, config, batch, ratio, 1);
          const std::vector<int64_t> shape{cache.rows, config.heads, config.head_size};
          const Guarded q(shape, queries_of(cache));
          const Guarded out(shape);
          attention(ctx, config, cache.sequences, q.tensor(), out.tensor());
          ASSERT_TRUE(out.intact());
          if (expected.empty()) expected = out.values();
          ASSERT_TRUE(same_bits(out.values(), expected)) << ratio;
        }
        // Each sequence alone gives what it gave in the batch.
        const int64_t row_values = config.heads * config.head_size;
        int64_t first = 0;
        for (const SequenceShape& one : batch) {
          const Cache cache = make_cache(ctx, config, {one}, 0.5, 1);
          const std::vector<int64_t> shape{one.rows, config.heads, config.head_size};
          const Guarded q(shape, queries_of(cache));
          const Guarded out(shape);
          attention(ctx, config, cache.sequences, q.tensor(), out.tensor());
          ASSERT_TRUE(same_bits(
              out.values(), slice(expected, first * row_values, (first + one.rows) * row_values)));
          first += one.rows;
        }
      });
    }
  }
}

TEST(Attention, PrefillInPiecesGivesTheSameBits) {
  ThreadPool pool(2);
  OpContext ctx;
  ctx.pool = &pool;
  const AttentionConfig config = config_of(4, 2, 64, DType::kBF16);
  const int64_t tokens = 150;
  const Cache cache = make_cache(ctx, config, {{0, tokens}}, 0.0, 1);
  const auto q = queries_of(cache);
  const int64_t row_values = config.heads * config.head_size;
  const Guarded whole_q({tokens, config.heads, config.head_size}, q);
  const Guarded whole({tokens, config.heads, config.head_size});
  attention(ctx, config, cache.sequences, whole_q.tensor(), whole.tensor());
  for (const int64_t piece : {1, 50, 149}) {
    std::vector<float> joined;
    for (int64_t row = 0; row < tokens; row += piece) {
      const int64_t rows = std::min(piece, tokens - row);
      const KvSequence part{.pages = cache.pages[0], .past = row, .first_row = 0, .rows = rows};
      const std::vector<int64_t> shape{rows, config.heads, config.head_size};
      const Guarded part_q(shape, slice(q, row * row_values, (row + rows) * row_values));
      const Guarded out(shape);
      attention(ctx, config, {&part, 1}, part_q.tensor(), out.tensor());
      const auto values = out.values();
      joined.insert(joined.end(), values.begin(), values.end());
    }
    EXPECT_TRUE(same_bits(joined, whole.values())) << piece;
  }
}

TEST(Attention, CountsTrafficByTierOncePerToken) {
  ThreadPool pool(2);
  OpContext ctx;
  ctx.pool = &pool;
  const AttentionConfig config = config_of(8, 2, 64, DType::kF16);
  Cache cache = make_cache(ctx, config, {{70, 10}}, 0.0, 1);
  cache.pages[0][1].tier = 1;
  const std::vector<int64_t> shape{10, 8, 64};
  const Guarded q(shape, queries_of(cache));
  const Guarded out(shape);
  ctx.traffic = {};
  attention(ctx, config, cache.sequences, q.tensor(), out.tensor());
  EXPECT_EQ(ctx.traffic.read_bytes[0], 64 * 2 * 2 * 64 * 2);
  EXPECT_EQ(ctx.traffic.read_bytes[1], 16 * 2 * 2 * 64 * 2);
}

TEST(Attention, RejectsWhatCannotBe) {
  ThreadPool pool(1);
  OpContext ctx;
  ctx.pool = &pool;
  const AttentionConfig config = config_of(4, 2, 16, DType::kF32);
  const Cache cache = make_cache(ctx, config, {{10, 2}}, 0.0, 1);
  const Guarded q({2, 4, 16}, 1.0f);
  const Guarded out({2, 4, 16});
  const Guarded kv({2, 2, 16}, 1.0f);
  const auto run = [&](const AttentionConfig& c, const KvSequence& s) {
    attention(ctx, c, {&s, 1}, q.tensor(), out.tensor());
  };
  KvSequence s = cache.sequences[0];
  EXPECT_NO_THROW(run(config, s));
  s.past = 63;  // needs a second page
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "attention: a sequence has too few KV pages",
                                 [&] { run(config, s); }));
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInternal, "attention: a sequence has too few KV pages", [&] {
        store_kv(ctx, config, {&s, 1}, kv.tensor(), kv.tensor());
      }));
  s = cache.sequences[0];
  s.first_row = 1;
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal,
                                 "attention: a sequence's rows are outside the batch",
                                 [&] { run(config, s); }));
  s = cache.sequences[0];
  const auto refused = [&](const char* words, const auto& change) {
    AttentionConfig wrong = config;
    change(wrong);
    EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, words, [&] { run(wrong, s); }));
  };
  refused("attention: kv_heads must divide heads", [](AttentionConfig& c) { c.kv_heads = 3; });
  refused("attention: tensors must be f32 [m, heads, head_size]",
          [](AttentionConfig& c) { c.head_size = 16 + 8; });
  refused("attention: the cache must be f32, f16 or bf16",
          [](AttentionConfig& c) { c.kv_dtype = DType::kQ4_0; });
  refused("attention: negative window", [](AttentionConfig& c) { c.window = -1; });
  AttentionConfig odd = config;
  odd.head_size = 12;
  const Guarded odd_q({2, 4, 12}, 1.0f);
  const Guarded odd_out({2, 4, 12});
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInternal, "attention: head_size must be a multiple of 8", [&] {
        attention(ctx, odd, {&s, 1}, odd_q.tensor(), odd_out.tensor());
      }));
}

}  // namespace
}  // namespace dak::test
