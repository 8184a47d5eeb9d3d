// Attention of many query rows a sequence with TMA kernels (ops/cuda/sm90_prefill_attention.cuh):
// against fp64, and bit by bit over placements, chunks and batches.
#include "ops/attention.h"
#include "ops/cuda/prefill_plan.h"
#include "ops/cuda_backend.h"
#include "tests/ops/support.h"
#include "tests/support/cuda.h"

namespace dak::test {
namespace {

class PrefillAttention : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_gpu(KernelKind::kTma); !reason.empty()) {
      GTEST_SKIP() << reason;
    }
  }
};

AttentionConfig config_of(int64_t heads, int64_t kv_heads, int64_t head_size,
                          DType dtype = DType::kBF16, int64_t window = 0) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_size = head_size,
          .scale = 1.0f / std::sqrt(static_cast<float>(head_size)),
          .window = window,
          .kv_dtype = dtype};
}

using Placement = TierIndex (*)(int64_t page);
TierIndex local(int64_t) { return 0; }

// Keys, values and queries of a sequence of `tokens` tokens: every one of them has a query.
struct Text {
  std::vector<float> k;  // [tokens, kv_heads, head_size]
  std::vector<float> v;
  std::vector<float> q;  // [tokens, heads, head_size]

  Text(const AttentionConfig& c, int64_t tokens, uint32_t seed)
      : k(random_values(tokens * c.kv_heads * c.head_size, seed)),
        v(random_values(tokens * c.kv_heads * c.head_size, seed + 1)),
        q(random_values(tokens * c.heads * c.head_size, seed + 2, 3.0f)) {}
};

std::vector<float> part(const std::vector<float>& values, int64_t width, int64_t begin,
                        int64_t rows) {
  return {values.begin() + begin * width, values.begin() + (begin + rows) * width};
}

// Sequences that grow pass by pass; what was not written is NaN.
class Passes {
 public:
  Passes(const AttentionConfig& config, Placement placement, DType out_dtype = DType::kF32)
      : config_(config), placement_(placement), out_dtype_(out_dtype), gpu_(KernelKind::kTma) {}

  // Outputs of so many further rows of each text, one text after the other.
  struct Step {
    const Text* text;
    int64_t rows;
  };
  std::vector<float> run(const std::vector<Step>& steps) {
    const int64_t width = config_.kv_heads * config_.head_size;
    const int64_t q_width = config_.heads * config_.head_size;
    std::vector<float> q;
    std::vector<float> k;
    std::vector<float> v;
    std::vector<KvSequence> sequences;
    int64_t rows = 0;
    for (const Step& step : steps) {
      Growing& s = growing_[step.text];
      const std::vector<std::byte> poison(static_cast<size_t>(config_.page_bytes()),
                                          std::byte{0xff});
      while (std::ssize(s.pages) * kPageTokens < s.tokens + step.rows) {
        const TierIndex tier = placement_(std::ssize(s.pages));
        s.pages.push_back({.data = gpu_.place(poison, tier), .tier = tier});
      }
      const auto append = [&](std::vector<float>& to, const std::vector<float>& from, int64_t w) {
        const std::vector<float> values = part(from, w, s.tokens, step.rows);
        to.insert(to.end(), values.begin(), values.end());
      };
      append(q, step.text->q, q_width);
      append(k, step.text->k, width);
      append(v, step.text->v, width);
      sequences.push_back(
          {.pages = s.pages, .past = s.tokens, .first_row = rows, .rows = step.rows});
      s.tokens += step.rows;
      rows += step.rows;
    }
    store_kv(gpu_.ctx, config_, sequences,
             gpu_.tensor({rows, config_.kv_heads, config_.head_size}, k),
             gpu_.tensor({rows, config_.kv_heads, config_.head_size}, v));
    Tensor out = gpu_.tensor({rows, config_.heads, config_.head_size},
                             std::vector<float>(q.size(), kPoison));
    out.dtype = out_dtype_;
    attention(gpu_.ctx, config_, sequences,
              gpu_.tensor({rows, config_.heads, config_.head_size}, q), out);
    if (out_dtype_ == DType::kF32) return gpu_.values(out);
    out.dtype = DType::kF32;
    std::vector<float> bits = gpu_.values(out);
    std::vector<float> values;
    for (size_t i = 0; i < q.size(); ++i) {
      values.push_back(load_float(out_dtype_, reinterpret_cast<const std::byte*>(bits.data()), i));
    }
    return values;
  }
  // A text's first tokens, without outputs.
  void write(const Text& text, int64_t rows) { run({{&text, rows}}); }
  int64_t remote_bytes() const { return link_status(*gpu_.ctx.cuda, 1).read_bytes; }

 private:
  static float load_float(DType dtype, const std::byte* data, size_t index) {
    uint16_t bits = 0;
    std::memcpy(&bits, data + 2 * index, 2);
    return dtype == DType::kBF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }
  struct Growing {
    std::vector<KvPage> pages;
    int64_t tokens = 0;
  };
  AttentionConfig config_;
  Placement placement_;
  DType out_dtype_;
  Gpu gpu_;
  std::map<const Text*, Growing> growing_;
};

// One row's head. T = float: the naive implementation of the kernel's precision, queries (scaled
// for exp2) and weights rounded to the cache's type.
template <class T>
void head_of(const AttentionConfig& c, const Text& text, int64_t token, int64_t head,
             std::vector<T>& out, std::vector<double>& magnitude) {
  const auto as_kernel = [&](T x) {
    if constexpr (std::is_same_v<T, float>) return rounded(x, c.kv_dtype);
    return x;
  };
  const T scale = static_cast<T>(c.scale) * static_cast<T>(M_LOG2E);
  const auto cached = [&](float x) { return static_cast<T>(rounded(x, c.kv_dtype)); };
  const int64_t begin = c.window > 0 ? std::max<int64_t>(0, token + 1 - c.window) : 0;
  const int64_t kv_head = head / (c.heads / c.kv_heads);
  std::vector<T> weights;
  for (int64_t t = begin; t <= token; ++t) {
    T dot = 0;
    for (int64_t d = 0; d < c.head_size; ++d) {
      const auto q = static_cast<size_t>((token * c.heads + head) * c.head_size + d);
      const auto k = static_cast<size_t>((t * c.kv_heads + kv_head) * c.head_size + d);
      const T scaled = static_cast<T>(text.q[q]) * scale;
      dot += static_cast<T>(as_kernel(scaled)) * cached(text.k[k]);
    }
    weights.push_back(dot);
  }
  const T most = *std::ranges::max_element(weights);
  T sum = 0;
  for (T& weight : weights) {
    weight = std::exp2(weight - most);
    sum += weight;
    weight = as_kernel(weight);
  }
  for (int64_t d = 0; d < c.head_size; ++d) {
    T value = 0;
    double size = 0;
    for (int64_t t = begin; t <= token; ++t) {
      const T weight = weights[static_cast<size_t>(t - begin)] / sum;
      const T v = cached(text.v[static_cast<size_t>((t * c.kv_heads + kv_head) * c.head_size + d)]);
      value += weight * v;
      size += static_cast<double>(weight) * std::abs(static_cast<double>(v));
    }
    out.push_back(value);
    magnitude.push_back(size);
  }
}

// Some rows and heads of a text's rows [past, past + rows), whose outputs begin at `first`.
struct Sample {
  std::vector<float> result;
  std::vector<float> naive;
  std::vector<double> exact;
  std::vector<double> magnitude;

  void add(const AttentionConfig& c, const Text& text, int64_t past, int64_t rows,
           const std::vector<float>& out, int64_t first = 0) {
    std::vector<double> unused;
    const int64_t step = std::max<int64_t>(1, rows / 9);
    for (int64_t row = 0; row < rows;
         row += row + step < rows ? step : std::max<int64_t>(1, rows - 1 - row)) {
      for (int64_t head = row % c.heads; head < c.heads;
           head += std::max<int64_t>(1, c.heads / 3)) {
        head_of<float>(c, text, past + row, head, naive, unused);
        head_of<double>(c, text, past + row, head, exact, magnitude);
        const std::vector<float> values = part(out, c.head_size, (first + row) * c.heads + head, 1);
        result.insert(result.end(), values.begin(), values.end());
      }
    }
  }
  std::string problem() const {
    const Comparison r = compare(result, naive, exact, magnitude);
    return r.ok ? "" : r.message;
  }
};

TEST_F(PrefillAttention, IsCloseToFp64) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const AttentionConfig& c :
         {config_of(2, 2, 64, dtype), config_of(6, 2, 80, dtype), config_of(7, 1, 96, dtype, 100),
          config_of(4, 1, 128, dtype), config_of(20, 1, 64, dtype, 1),
          config_of(3, 3, 128, dtype, 64), config_of(16, 2, 128, dtype)}) {
      for (const auto& [past, rows] : {std::pair<int64_t, int64_t>{0, 16},
                                       {5, 123},
                                       {63, 65},
                                       {127, 130},
                                       {700, 16},
                                       {64, 64},
                                       {0, 400}}) {
        const Text text(c, past + rows, static_cast<uint32_t>(past + rows));
        Passes passes(c, local);
        if (past > 0) passes.write(text, past);
        Sample sample;
        sample.add(c, text, past, rows, passes.run({{&text, rows}}));
        EXPECT_EQ(sample.problem(), "")
            << name(dtype) << " " << c.heads << "/" << c.kv_heads << " x " << c.head_size
            << " past " << past << " rows " << rows;
      }
    }
  }
}

// Over the ends of segments, with a window that hides the first of them and without.
TEST_F(PrefillAttention, OverSegmentsIsCloseToFp64) {
  constexpr int64_t kSegment = cuda::kPrefillSegmentTokens;
  for (const int64_t window : {0, 100, 9000}) {
    const AttentionConfig c = config_of(4, 2, 64, DType::kBF16, window);
    const Text text(c, 2 * kSegment + 300, 5);
    Passes passes(c, [](int64_t page) -> TierIndex { return page % 3 == 1; });
    passes.write(text, kSegment - 50);
    Sample sample;
    sample.add(c, text, kSegment - 50, 120, passes.run({{&text, 120}}));
    passes.write(text, kSegment - 70);
    sample.add(c, text, 2 * kSegment, 300, passes.run({{&text, 300}}));
    EXPECT_EQ(sample.problem(), "") << "window " << window;
  }
}

TEST_F(PrefillAttention, RoundsItsOutputsOnce) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const AttentionConfig c = config_of(4, 2, 128, dtype);
    const Text text(c, 100, 1);
    const auto whole = Passes(c, local).run({{&text, 100}});
    EXPECT_TRUE(same_bits(Passes(c, local, dtype).run({{&text, 100}}), rounded(whole, dtype)));
  }
}

// A row has the same bits whatever its chunk and its batch, as long as its chunk has enough rows.
TEST_F(PrefillAttention, ChunksAndBatchesDoNotChangeABit) {
  for (const AttentionConfig& c :
       {config_of(4, 2, 128), config_of(7, 1, 64), config_of(2, 2, 80, DType::kF16, 300)}) {
    const Text text(c, 9000, 11);
    const Text other(c, 700, 21);
    const Text third(c, 40, 31);
    const auto whole = Passes(c, local).run({{&text, 9000}});
    std::vector<float> chunks;
    Passes passes(c, local);
    for (const int64_t rows : {16, 100, 1000, 7000, 100, 784}) {
      const auto some = passes.run({{&other, 20}, {&text, rows}, {&third, 3}});
      const int64_t width = c.heads * c.head_size;
      const auto mine = part(some, width, 20, rows);
      chunks.insert(chunks.end(), mine.begin(), mine.end());
    }
    EXPECT_TRUE(same_bits(chunks, whole)) << c.heads << " heads";
  }
}

// Rows that go by runs beside rows that go by tiles are those of the runs alone.
TEST_F(PrefillAttention, FewRowsBesideManyHaveTheBitsOfFewRows) {
  const AttentionConfig c = config_of(8, 2, 128);
  const Text decoding(c, 3001, 1);
  const Text short_one(c, 515, 2);
  const Text prompt(c, 500, 3);
  const auto run = [&](bool together) {
    Passes passes(c, [](int64_t page) -> TierIndex { return page % 2; });
    passes.write(decoding, 3000);
    passes.write(short_one, 500);
    if (together) return passes.run({{&decoding, 1}, {&prompt, 500}, {&short_one, 15}});
    std::vector<float> all;
    for (const Passes::Step& step :
         {Passes::Step{&decoding, 1}, {&prompt, 500}, {&short_one, 15}}) {
      const auto some = passes.run({step});
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  };
  EXPECT_TRUE(same_bits(run(true), run(false)));
}

TEST_F(PrefillAttention, PlacementDoesNotChangeABitAndPagesAreReadOnce) {
  for (const AttentionConfig& c :
       {config_of(8, 8, 128), config_of(8, 8, 64), config_of(4, 1, 96), config_of(2, 2, 80)}) {
    // More items than the ring has slots for the first two.
    constexpr int64_t kPast = 17000;
    const Text text(c, kPast + 600, 7);
    const auto run = [&](Placement placement, int64_t* bytes) {
      Passes passes(c, placement);
      passes.write(text, kPast);
      const int64_t before = passes.remote_bytes();
      const auto out = passes.run({{&text, 600}});
      *bytes = passes.remote_bytes() - before;
      return out;
    };
    int64_t bytes = 0;
    const auto expected = run(local, &bytes);
    EXPECT_EQ(bytes, 0);
    for (const Placement placement :
         {Placement([](int64_t) -> TierIndex { return 1; }),
          Placement([](int64_t page) -> TierIndex { return page * 7919 % 5 < 2; }),
          Placement([](int64_t page) -> TierIndex { return page < 200; }),
          Placement([](int64_t page) -> TierIndex { return page == 130; })}) {
      EXPECT_TRUE(same_bits(run(placement, &bytes), expected)) << c.heads << " heads";
      int64_t remote = 0;
      for (int64_t page = 0; page < kv_pages_for(kPast + 600); ++page) remote += placement(page);
      EXPECT_EQ(bytes, remote * c.page_bytes());
    }
  }
}

// Pages that no row's window sees stay where they are.
TEST_F(PrefillAttention, ReadsOnlyWhatTheWindowSees) {
  const AttentionConfig c = config_of(4, 2, 128, DType::kBF16, 1000);
  const Text text(c, 12000, 9);
  Passes passes(c, [](int64_t) -> TierIndex { return 1; });
  passes.write(text, 11500);
  const int64_t before = passes.remote_bytes();
  passes.run({{&text, 500}});
  EXPECT_EQ(passes.remote_bytes() - before,
            (kv_pages_for(12000) - (11501 - 1000) / kPageTokens) * c.page_bytes());
}

}  // namespace
}  // namespace dak::test
