// Every operation on a GPU against fp64, by the rule of tests/support/compare.h, and bit by bit
// against itself over placements and batches; matmul and attention with every kind of kernels.
#include "tests/support/cuda.h"

#include "ops/attention.h"
#include "ops/cuda/kv_layout.h"
#include "ops/cuda/prefill_plan.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"
#include "support/throws_error.h"
#include "tests/ops/support.h"
#include "tests/support/matrix_unit.h"

namespace dak::test {
namespace {

constexpr DType kHalfTypes[] = {DType::kBF16, DType::kF16};

class CudaOps : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

class CudaKernels : public testing::TestWithParam<KernelKind> {
 protected:
  void SetUp() override {
    if (const std::string reason = no_gpu(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, CudaKernels, testing::Values(KernelKind::kTma, KernelKind::kPlain),
                         [](const auto& test) { return std::string(name(test.param)); });

TieredTensor place_weight(Gpu& gpu, const std::vector<float>& values, int64_t rows, int64_t cols,
                          DType dtype, double ratio) {
  const Weight packed = make_weight(values, rows, cols, dtype, ratio);
  TieredTensor placed = packed.tensor;
  for (RowBlock& block : placed.blocks) {
    block.data =
        gpu.place({block.data, static_cast<size_t>(packed.tensor.block_bytes())}, block.tier);
  }
  return placed;
}

double exact_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

struct Product {
  int64_t m;
  int64_t n;  // rows of the weight
  int64_t k;
  DType dtype;
  bool bias = false;
  bool residual = false;
  bool gated = false;
  Activation activation = Activation::kNone;
};

// The GPU's product and what it should be; x is rounded to the weight's type on both sides.
struct ProductResult {
  std::vector<float> gpu;
  std::vector<float> naive;
  std::vector<double> exact;
  std::vector<double> magnitude;
};

ProductResult run_product(const Product& p, double ratio, KernelKind kernels) {
  Gpu gpu(kernels);
  const auto seed = static_cast<uint32_t>(p.n * 31 + p.k * 7 + p.m);
  const auto x = random_values(p.m * p.k, seed);
  const auto w = rounded(random_values(p.n * p.k, seed + 1), p.dtype);
  const auto bias = random_values(p.n, seed + 2);
  const int64_t outputs = p.gated ? p.n / 2 : p.n;
  const auto residual = random_values(p.m * outputs, seed + 3);
  const TieredTensor weight = place_weight(gpu, w, p.n, p.k, p.dtype, ratio);
  const Tensor out = gpu.tensor(
      {p.m, outputs},
      p.residual ? residual : std::vector<float>(static_cast<size_t>(p.m * outputs), kPoison));
  const Tensor input = gpu.tensor({p.m, p.k}, x);
  if (p.gated) {
    matmul_gated(gpu.ctx, input, weight, out, p.activation);
  } else {
    matmul(gpu.ctx, input, weight, out,
           {.bias = p.bias ? gpu.place(bias) : nullptr,
            .activation = p.activation,
            .add_to_output = p.residual});
  }
  ProductResult r{.gpu = gpu.values(out), .naive = {}, .exact = {}, .magnitude = {}};
  const auto rounded_x = rounded(x, p.dtype);
  const bool one_chain = kernels == KernelKind::kTma && p.m > 64;  // the GEMM
  for (int64_t i = 0; i < p.m; ++i) {
    const auto dot = [&](int64_t row, float& naive, double& exact, double& size) {
      naive = 0;
      exact = 0;
      size = 0;
      test::MatrixUnitSum chain;
      for (int64_t c = 0; c < p.k; ++c) {
        const float a = rounded_x[static_cast<size_t>(i * p.k + c)];
        const float b = w[static_cast<size_t>(row * p.k + c)];
        naive += a * b;
        chain.add(static_cast<double>(a) * b);
        exact += static_cast<double>(a) * b;
        size += std::abs(static_cast<double>(a) * b);
      }
      if (one_chain) naive = chain.value();
      if (p.bias) {
        naive += bias[static_cast<size_t>(row)];
        exact += static_cast<double>(bias[static_cast<size_t>(row)]);
        size += std::abs(static_cast<double>(bias[static_cast<size_t>(row)]));
      }
    };
    for (int64_t o = 0; o < outputs; ++o) {
      float naive = 0;
      double exact = 0;
      double size = 0;
      dot(p.gated ? o / 8 * 16 + o % 8 : o, naive, exact, size);
      naive = static_cast<float>(exact_activation(p.activation, static_cast<double>(naive)));
      exact = exact_activation(p.activation, exact);
      if (p.gated) {
        float up = 0;
        double exact_up = 0;
        double up_size = 0;
        dot(o / 8 * 16 + o % 8 + 8, up, exact_up, up_size);
        naive *= up;
        size = std::abs(exact) * up_size + std::abs(exact_up) * size;
        exact *= exact_up;
      }
      if (p.residual) {
        const float before = residual[static_cast<size_t>(i * outputs + o)];
        naive += before;
        exact += static_cast<double>(before);
        size += std::abs(static_cast<double>(before));
      }
      r.naive.push_back(naive);
      r.exact.push_back(exact);
      r.magnitude.push_back(size);
    }
  }
  return r;
}

void expect_close(const Product& p, KernelKind kernels) {
  SCOPED_TRACE(testing::Message() << name(p.dtype) << " m " << p.m << " n " << p.n << " k " << p.k);
  const ProductResult r = run_product(p, 0.5, kernels);
  const Comparison c = compare(r.gpu, r.naive, r.exact, r.magnitude);
  EXPECT_TRUE(c.ok) << c.message;
}

TEST_P(CudaKernels, MatmulIsCloseToFp64) {
  for (const DType dtype : kHalfTypes) {
    for (const auto& [n, k] :
         {std::pair<int64_t, int64_t>{1, 1}, {65, 63}, {200, 300}, {576, 72}}) {
      for (const int64_t m : {1, 3, 64, 65, 130}) expect_close({m, n, k, dtype}, GetParam());
    }
    expect_close({.m = 5, .n = 200, .k = 300, .dtype = dtype, .bias = true}, GetParam());
    expect_close({.m = 70,
                  .n = 200,
                  .k = 300,
                  .dtype = dtype,
                  .bias = true,
                  .residual = true,
                  .activation = Activation::kRelu},
                 GetParam());
    expect_close(
        {.m = 3, .n = 192, .k = 64, .dtype = dtype, .gated = true, .activation = Activation::kSilu},
        GetParam());
    expect_close({.m = 66,
                  .n = 48,
                  .k = 128,
                  .dtype = dtype,
                  .gated = true,
                  .activation = Activation::kGeluTanh},
                 GetParam());
  }
}

TEST_P(CudaKernels, MatmulHasTheSameBitsForEveryPlacement) {
  for (const int64_t m : {1, 20, 70, 300}) {
    const Product p{.m = m, .n = 330, .k = 520, .dtype = DType::kBF16, .bias = true};
    const std::vector<float> expected = run_product(p, kRatios[0], GetParam()).gpu;
    for (const double ratio : kRatios) {
      EXPECT_TRUE(same_bits(run_product(p, ratio, GetParam()).gpu, expected))
          << "m " << m << " " << ratio;
    }
  }
}

// Host memory is pinned in pieces of 1 GiB: a row block may lie across two of them.
TEST_P(CudaKernels, MatmulReadsAcrossPinnedPieces) {
  constexpr int64_t kPiece = int64_t{1} << 30;
  Gpu gpu(GetParam());
  const std::unique_ptr<Arena> arena =
      make_pinned_arena({.name = "host"}, 0, kPiece + (int64_t{1} << 20));
  const auto w = random_values(64 * 520, 1);
  const Weight packed = make_weight(w, 64, 520, DType::kBF16, 1.0);
  const std::span<const std::byte> bytes(packed.tensor.blocks[0].data,
                                         static_cast<size_t>(packed.tensor.block_bytes()));
  std::byte* first = arena->allocate(kPiece - 9 * kArenaAlignment);
  std::byte* block = arena->allocate(std::ssize(bytes));
  ASSERT_LT(block - first, kPiece);
  ASSERT_GT(block + std::ssize(bytes) - first, kPiece);
  arena->write(block, bytes);
  const Tensor x = gpu.tensor({2, 520}, random_values(2 * 520, 2));
  std::vector<std::vector<float>> results;
  for (std::byte* place : {block, gpu.place(bytes)}) {
    TieredTensor weight = packed.tensor;
    weight.blocks[0].data = place;
    weight.blocks[0].tier = place == block ? 1 : 0;
    const Tensor out = gpu.tensor({2, 64}, std::vector<float>(128, kPoison));
    matmul(gpu.ctx, x, weight, out);
    results.push_back(gpu.values(out));
  }
  EXPECT_TRUE(same_bits(results[0], results[1]));
}

TEST_F(CudaOps, DeviceArenaKeepsItsBudgetAndIsZeroed) {
  const Tier tier{.name = "local", .capacity_bytes = int64_t{1} << 20};
  const std::unique_ptr<Arena> arena = make_device_arena(tier, 0, 0);
  Tensor t{.data = arena->allocate(4096), .rank = 2, .shape = {32, 32, 1}};
  Gpu gpu;
  EXPECT_EQ(gpu.values(t), std::vector<float>(1024, 0.0f));
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, "tier local",
                                 [&] { arena->allocate(int64_t{1} << 20); }));
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kResourceExhausted, {"tier local", "GPU 0 refused"},
      [&] { make_device_arena({.name = "local"}, 0, 0)->allocate(int64_t{1} << 42); }));
}

TEST_F(CudaOps, MatmulRefusesF32Weights) {
  Gpu gpu;
  const TieredTensor weight =
      place_weight(gpu, random_values(64 * 64, 1), 64, 64, DType::kF32, 0.0);
  const Tensor x = gpu.tensor({1, 64}, random_values(64, 2));
  EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported,
                                 "the CUDA backend multiplies bf16 and f16",
                                 [&] { matmul(gpu.ctx, x, weight, x); }));
}

TEST_F(CudaOps, EmbeddingGathersRowsFromAnyTier) {
  for (const DType dtype : kFloatTypes) {
    Gpu gpu;
    const int64_t rows = 200;
    const int64_t cols = 70;
    const auto table = rounded(random_values(rows * cols, 1), dtype);
    const TieredTensor placed = place_weight(gpu, table, rows, cols, dtype, 0.5);
    const std::vector<int32_t> ids{0, 199, 64, 63, 64, 5};
    const auto before = random_values(std::ssize(ids) * cols, 2);
    for (const bool add : {false, true}) {
      const Tensor out = gpu.tensor({std::ssize(ids), cols}, before);
      if (add) {
        add_positions(gpu.ctx, ids, placed, 0, out);
      } else {
        embedding(gpu.ctx, ids, placed, out);
      }
      std::vector<float> expected;
      for (size_t i = 0; i < ids.size(); ++i) {
        for (int64_t c = 0; c < cols; ++c) {
          const float value = table[static_cast<size_t>(ids[i] * cols + c)];
          expected.push_back(add ? before[i * 70 + static_cast<size_t>(c)] + value : value);
        }
      }
      EXPECT_TRUE(same_bits(gpu.values(out), expected));
    }
  }
}

// x and its f32 and fp64 norms, one row at a time.
template <class T>
std::vector<T> norm_of(const std::vector<float>& x, const std::vector<float>& weight,
                       const std::vector<float>& bias, int64_t cols, T epsilon) {
  std::vector<T> out;
  for (size_t row = 0; row < x.size(); row += static_cast<size_t>(cols)) {
    T mean = 0;
    T squares = 0;
    for (int64_t i = 0; i < cols; ++i) mean += x[row + static_cast<size_t>(i)];
    mean = bias.empty() ? 0 : mean / static_cast<T>(cols);
    for (int64_t i = 0; i < cols; ++i) {
      const T centred = x[row + static_cast<size_t>(i)] - mean;
      squares += centred * centred;
    }
    const T factor = 1 / std::sqrt(squares / static_cast<T>(cols) + epsilon);
    for (int64_t i = 0; i < cols; ++i) {
      const auto c = static_cast<size_t>(i);
      out.push_back((x[row + c] - mean) * factor * weight[c] + (bias.empty() ? T{0} : T{bias[c]}));
    }
  }
  return out;
}

TEST_F(CudaOps, NormsAreCloseToFp64AlsoInPlace) {
  for (const bool layer : {false, true}) {
    for (const int64_t cols : {1, 8, 64, 100, 576, 5000}) {
      Gpu gpu;
      constexpr int64_t kRows = 3;
      const auto x = random_values(kRows * cols, 1, 3.0f);
      const auto weight = random_values(cols, 2);
      const auto bias = layer ? random_values(cols, 3) : std::vector<float>();
      const Tensor in = gpu.tensor({kRows, cols}, x);
      const Tensor out = gpu.tensor({kRows, cols}, std::vector<float>(x.size(), kPoison));
      for (const Tensor& target : {out, in}) {
        if (layer) {
          layer_norm(gpu.ctx, in, gpu.place(weight), gpu.place(bias), 1e-5f, target);
        } else {
          rms_norm(gpu.ctx, in, gpu.place(weight), 1e-5f, target);
        }
        const auto exact = norm_of<double>(x, weight, bias, cols, 1e-5);
        std::vector<double> magnitude;
        for (const double value : exact) magnitude.push_back(1 + std::abs(value));
        const Comparison c = compare(
            gpu.values(target), norm_of<float>(x, weight, bias, cols, 1e-5f), exact, magnitude);
        EXPECT_TRUE(c.ok) << "cols " << cols << " layer " << layer << ": " << c.message;
      }
    }
  }
}

template <class T>
std::vector<T> rope_of(const std::vector<float>& x, const std::vector<int32_t>& positions,
                       const RopeFrequencies& f, int64_t heads, int64_t head_size) {
  std::vector<T> out(x.begin(), x.end());
  const auto half = f.inverse.size();
  for (size_t row = 0; row < positions.size(); ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      const size_t at = (row * static_cast<size_t>(heads) + static_cast<size_t>(head)) *
                        static_cast<size_t>(head_size);
      for (size_t i = 0; i < half; ++i) {
        // The angle is f32 by definition: positions are large and inverse is f32.
        const float angle = static_cast<float>(positions[row]) * f.inverse[i];
        const T cosine = std::cos(static_cast<T>(angle)) * static_cast<T>(f.magnitude);
        const T sine = std::sin(static_cast<T>(angle)) * static_cast<T>(f.magnitude);
        const T a = x[at + i];
        const T b = x[at + i + half];
        out[at + i] = a * cosine - b * sine;
        out[at + i + half] = b * cosine + a * sine;
      }
    }
  }
  return out;
}

TEST_F(CudaOps, RopeIsCloseToFp64) {
  for (const int64_t rotary : {8, 64, 80}) {
    Gpu gpu;
    const RopeFrequencies frequencies = rope_frequencies({.rotary_dims = rotary});
    const std::vector<int32_t> positions{0, 1, 77, 8191, 131071};
    const auto x = random_values(std::ssize(positions) * 3 * 80, 5);
    const Tensor t = gpu.tensor({std::ssize(positions), 3, 80}, x);
    rope(gpu.ctx, positions, frequencies, t);
    const std::vector<double> magnitude(x.size(), 2.0);
    const Comparison c = compare(gpu.values(t), rope_of<float>(x, positions, frequencies, 3, 80),
                                 rope_of<double>(x, positions, frequencies, 3, 80), magnitude);
    EXPECT_TRUE(c.ok) << c.message;
  }
}

TEST_F(CudaOps, RowsAndColumnsMoveUnchanged) {
  Gpu gpu;
  const auto x = random_values(5 * 30, 3);
  const Tensor in = gpu.tensor({5, 30}, x);
  const auto poison = [&gpu](int64_t rows, int64_t cols) {
    return gpu.tensor({rows, cols}, std::vector<float>(static_cast<size_t>(rows * cols), kPoison));
  };
  const std::array parts{poison(5, 16), poison(5, 8), poison(5, 6)};
  split_columns(gpu.ctx, in, parts);
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    std::vector<float> expected;
    for (int64_t row = 0; row < 5; ++row) {
      for (int64_t c = 0; c < part.dim(1); ++c) {
        expected.push_back(x[static_cast<size_t>(row * 30 + begin + c)]);
      }
    }
    EXPECT_TRUE(same_bits(gpu.values(part), expected));
    begin += part.dim(1);
  }
  const Tensor gathered = poison(2, 30);
  gather_rows(gpu.ctx, in, std::array{4, 1}, gathered);
  std::vector<float> expected(x.begin() + 120, x.end());
  expected.insert(expected.end(), x.begin() + 30, x.begin() + 60);
  EXPECT_TRUE(same_bits(gpu.values(gathered), expected));
}

struct SequenceShape {
  int64_t past;
  int64_t rows;
};

// Keys, values and queries of one sequence, from its own shape alone.
struct SequenceData {
  std::vector<float> k;  // [past + rows, kv_heads, head_size]
  std::vector<float> v;
  std::vector<float> q;  // [rows, heads, head_size]
};

SequenceData data_of(const AttentionConfig& c, const SequenceShape& shape) {
  const auto seed = static_cast<uint32_t>(shape.past * 100 + shape.rows);
  const int64_t tokens = shape.past + shape.rows;
  return {.k = random_values(tokens * c.kv_heads * c.head_size, seed),
          .v = random_values(tokens * c.kv_heads * c.head_size, seed + 1),
          .q = random_values(shape.rows * c.heads * c.head_size, seed + 2)};
}

// The tier of a sequence's page.
using PagePlacement = TierIndex (*)(int64_t page);
TierIndex all_local(int64_t) { return 0; }
TierIndex all_remote(int64_t) { return 1; }

// `read_bytes`, where wanted: of the remote tier, as the kernels counted them.
std::vector<float> run_attention(const AttentionConfig& c, const std::vector<SequenceShape>& shapes,
                                 PagePlacement placement, KernelKind kernels,
                                 int64_t* read_bytes = nullptr) {
  Gpu gpu(kernels);
  std::vector<std::vector<KvPage>> pages(shapes.size());
  std::vector<KvSequence> sequences;
  const std::vector<std::byte> poison(static_cast<size_t>(c.page_bytes()), std::byte{0xff});
  std::vector<float> q;
  std::vector<float> k;
  std::vector<float> v;
  int64_t rows = 0;
  const int64_t width = c.kv_heads * c.head_size;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const auto [past, fresh] = shapes[i];
    for (int64_t t = 0; t < past + fresh; t += kPageTokens) {
      const TierIndex tier = placement(t / kPageTokens);
      pages[i].push_back({.data = gpu.place(poison, tier), .tier = tier});
    }
    const SequenceData data = data_of(c, shapes[i]);
    if (past > 0) {
      const KvSequence before{.pages = pages[i], .past = 0, .first_row = 0, .rows = past};
      store_kv(gpu.ctx, c, {&before, 1},
               gpu.tensor({past, c.kv_heads, c.head_size},
                          {data.k.begin(), data.k.begin() + past * width}),
               gpu.tensor({past, c.kv_heads, c.head_size},
                          {data.v.begin(), data.v.begin() + past * width}));
    }
    k.insert(k.end(), data.k.begin() + past * width, data.k.end());
    v.insert(v.end(), data.v.begin() + past * width, data.v.end());
    q.insert(q.end(), data.q.begin(), data.q.end());
    sequences.push_back({.pages = pages[i], .past = past, .first_row = rows, .rows = fresh});
    rows += fresh;
  }
  store_kv(gpu.ctx, c, sequences, gpu.tensor({rows, c.kv_heads, c.head_size}, k),
           gpu.tensor({rows, c.kv_heads, c.head_size}, v));
  const Tensor out =
      gpu.tensor({rows, c.heads, c.head_size}, std::vector<float>(q.size(), kPoison));
  attention(gpu.ctx, c, sequences, gpu.tensor({rows, c.heads, c.head_size}, q), out);
  const std::vector<float> values = gpu.values(out);
  if (read_bytes != nullptr) *read_bytes = link_status(*gpu.ctx.cuda, 1).read_bytes;
  return values;
}

// A number as the tensor cores get it: rounded to the cache's type, and what that took, rounded
// too.
float two_terms(float x, DType dtype) {
  const float high = rounded(std::vector<float>{x}, dtype)[0];
  return high + rounded(std::vector<float>{x - high}, dtype)[0];
}

// T = float: the naive implementation of the kernel's precision.
template <class T>
void attention_of(const AttentionConfig& c, const SequenceShape& shape, KernelKind kernels,
                  std::vector<T>& out, std::vector<double>& magnitude) {
  SequenceData data = data_of(c, shape);
  data.k = rounded(std::move(data.k), c.kv_dtype);
  data.v = rounded(std::move(data.v), c.kv_dtype);
  for (int64_t i = 0; i < shape.rows * c.heads; ++i) {
    const int64_t end = shape.past + i / c.heads + 1;
    const int64_t begin = c.window > 0 ? std::max<int64_t>(0, end - c.window) : 0;
    const int64_t kv_head = i % c.heads / (c.heads / c.kv_heads);
    const auto at = [&](int64_t t, int64_t d) {
      return static_cast<size_t>((t * c.kv_heads + kv_head) * c.head_size + d);
    };
    const bool in_terms = std::is_same_v<T, float> && kernels == KernelKind::kTma &&
                          cuda::on_tensor_cores(element_of(c.kv_dtype, "test"), c.head_size);
    const bool one_term =
        shape.rows >= cuda::kPrefillLeastRows && cuda::has_prefill_tiles(c.head_size);
    const auto term = [&](T x) {
      if (!in_terms) return x;
      const auto value = static_cast<float>(x);
      return static_cast<T>(one_term ? rounded(std::vector<float>{value}, c.kv_dtype)[0]
                                     : two_terms(value, c.kv_dtype));
    };
    std::vector<T> q;
    for (int64_t d = 0; d < c.head_size; ++d) {
      q.push_back(term(static_cast<T>(data.q[static_cast<size_t>(i * c.head_size + d)]) * c.scale));
    }
    std::vector<T> p;
    for (int64_t t = begin; t < end; ++t) {
      T dot = 0;
      for (int64_t d = 0; d < c.head_size; ++d) dot += q[static_cast<size_t>(d)] * data.k[at(t, d)];
      p.push_back(dot);
    }
    const T most = *std::max_element(p.begin(), p.end());
    T sum = 0;
    for (T& value : p) {
      value = std::exp(value - most);
      sum += value;
      value = term(value);
    }
    for (int64_t d = 0; d < c.head_size; ++d) {
      T value = 0;
      double size = 0;
      for (int64_t t = begin; t < end; ++t) {
        const T weight = p[static_cast<size_t>(t - begin)] / sum;
        value += weight * data.v[at(t, d)];
        size += static_cast<double>(weight) * std::abs(data.v[at(t, d)]);
      }
      out.push_back(value);
      magnitude.push_back(size);
    }
  }
}

AttentionConfig attention_config(int64_t heads, int64_t kv_heads, int64_t head_size, DType dtype,
                                 int64_t window = 0) {
  return {.heads = heads,
          .kv_heads = kv_heads,
          .head_size = head_size,
          .scale = 1.0f / std::sqrt(static_cast<float>(head_size)),
          .window = window,
          .kv_dtype = dtype};
}

// Sequences of few rows, which are cut into runs, and of many, which are not.
TEST_P(CudaKernels, AttentionIsCloseToFp64) {
  const std::vector<std::vector<SequenceShape>> batches{
      {{0, 1}, {63, 2}, {700, 1}, {64, 1}, {127, 3}, {4500, 1}},
      {{0, 70}, {63, 2}, {700, 1}, {64, 1}}};
  for (const DType dtype : kFloatTypes) {
    for (const AttentionConfig& c :
         {attention_config(2, 2, 8, dtype), attention_config(2, 2, 16, dtype),
          attention_config(12, 1, 32, dtype), attention_config(6, 2, 64, dtype),
          attention_config(4, 1, 80, dtype, 100), attention_config(8, 1, 96, dtype),
          attention_config(2, 1, 256, dtype, 1), attention_config(3, 3, 128, dtype, 64),
          attention_config(16, 2, 128, dtype), attention_config(71, 1, 64, dtype),
          attention_config(40, 2, 128, dtype), attention_config(36, 1, 256, dtype)}) {
      for (const std::vector<SequenceShape>& shapes : batches) {
        std::vector<float> naive;
        std::vector<double> exact;
        std::vector<double> magnitude;
        std::vector<double> unused;
        for (const SequenceShape& shape : shapes) {
          attention_of(c, shape, GetParam(), naive, unused);
          attention_of(c, shape, GetParam(), exact, magnitude);
        }
        const Comparison r =
            compare(run_attention(c, shapes, all_local, GetParam()), naive, exact, magnitude);
        EXPECT_TRUE(r.ok) << name(dtype) << " head size " << c.head_size << ", " << shapes.size()
                          << " sequences: " << r.message;
      }
    }
  }
}

// More runs than one group of them.
TEST_P(CudaKernels, AttentionOverALongSequenceIsCloseToFp64) {
  const AttentionConfig c = attention_config(6, 2, 64, DType::kBF16);
  const SequenceShape shape{20000, 1};
  std::vector<float> naive;
  std::vector<double> exact;
  std::vector<double> magnitude;
  std::vector<double> unused;
  attention_of(c, shape, GetParam(), naive, unused);
  attention_of(c, shape, GetParam(), exact, magnitude);
  const Comparison r =
      compare(run_attention(c, {shape}, all_local, GetParam()), naive, exact, magnitude);
  EXPECT_TRUE(r.ok) << r.message;
}

TEST_P(CudaKernels, AttentionHasTheSameBitsForEveryPlacementAndBatch) {
  for (const auto& [heads, window] :
       {std::pair<int64_t, int64_t>{4, 0}, {24, 0}, {142, 0}, {4, 1500}}) {
    const AttentionConfig c = attention_config(heads, 2, 64, DType::kBF16, window);
    const std::vector<SequenceShape> shapes{{300, 1}, {10, 5}, {0, 50}, {18000, 1}, {2100, 1}};
    const std::vector<float> together = run_attention(c, shapes, all_local, GetParam());
    const PagePlacement placements[] = {
        all_remote, [](int64_t page) -> TierIndex { return page % 16 == 3; },
        [](int64_t page) -> TierIndex { return page / 16 % 3 == 0; },
        [](int64_t page) -> TierIndex { return page * 7919 % 5 < 2; },
        [](int64_t page) -> TierIndex { return page < 200; }};
    for (size_t i = 0; i < std::size(placements); ++i) {
      EXPECT_TRUE(same_bits(run_attention(c, shapes, placements[i], GetParam()), together))
          << heads << " heads, window " << window << ", placement " << i;
    }
    std::vector<float> alone;
    for (const SequenceShape& shape : shapes) {
      const auto part = run_attention(c, {shape}, all_local, GetParam());
      alone.insert(alone.end(), part.begin(), part.end());
    }
    EXPECT_TRUE(same_bits(alone, together)) << heads << " heads, window " << window;
  }
}

// Batches with runs enough to keep all multiprocessors busy take them whole, others in parts.
TEST_P(CudaKernels, AttentionOfABatchHasTheBitsOfEachRowAlone) {
  const AttentionConfig c = attention_config(64, 64, 16, DType::kBF16);
  std::vector<SequenceShape> shapes;
  for (int64_t i = 0; i < 24; ++i) shapes.push_back({i * 97 + 40, 1});
  const std::vector<float> together = run_attention(c, shapes, all_local, GetParam());
  std::vector<float> alone;
  for (const SequenceShape& shape : shapes) {
    const auto part = run_attention(c, {shape}, all_local, GetParam());
    alone.insert(alone.end(), part.begin(), part.end());
  }
  EXPECT_TRUE(same_bits(alone, together));
  EXPECT_TRUE(same_bits(run_attention(c, shapes, all_remote, GetParam()), together));
}

// Query heads that share a KV head share its bytes.
TEST_F(CudaOps, AttentionReadsARemotePageOnce) {
  if (const std::string reason = no_gpu(KernelKind::kTma); !reason.empty()) GTEST_SKIP() << reason;
  for (const int64_t heads : {2, 16, 42, 128}) {  // 1, 8, 21 and 64 to a KV head
    const AttentionConfig c = attention_config(heads, 2, 128, DType::kBF16);
    int64_t read_bytes = 0;
    run_attention(
        c, {{5000, 1}, {64, 1}, {1023, 1}}, [](int64_t page) -> TierIndex { return page % 3 == 1; },
        KernelKind::kTma, &read_bytes);
    // Of 79, 2 and 16 pages. The second's last page has one token: half of it can be left.
    const int64_t last = c.page_bytes() / (cuda::takes_ring(c.heads, c.kv_heads) ? 2 : 1);
    EXPECT_EQ(read_bytes, (26 + 5) * c.page_bytes() + last) << heads << " heads";
  }
}

}  // namespace
}  // namespace dak::test
