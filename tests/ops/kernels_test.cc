// The inner loops one by one: every instruction set against the portable one, and exp against fp64.
#include "ops/cpu/kernels.h"

#include <cmath>

#include "support/throws_error.h"
#include "tests/ops/support.h"

namespace dak::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Calls body(isa) for each table, and expects what it returns to be the same bits.
template <class Body>
void expect_same(const Body& body) {
  const std::vector<float> expected = body(cpu::kScalarKernels);
  for (const cpu::Kernels* isa : cpu::runnable_kernels()) {
    EXPECT_TRUE(same_bits(body(*isa), expected)) << isa->isa;
  }
}

std::vector<float> sweep() {
  std::vector<float> x{0.0f, -0.0f, 88.7f, 88.8f, 200.0f, kInf, -87.4f, -103.9f, -104.1f, -kInf};
  for (float v = -104.0f; v < 88.5f; v += 0.01003f) x.push_back(v);
  for (float v = 1e-30f; v < 1.0f; v *= 3.0f) {
    x.push_back(v);
    x.push_back(-v);
  }
  while (x.size() % 8 != 0) x.push_back(0.5f);
  return x;
}

TEST(Kernels, ScalarIsAlwaysThereAndTheBestIsLast) {
  ASSERT_FALSE(cpu::runnable_kernels().empty());
  EXPECT_EQ(cpu::runnable_kernels().front(), &cpu::kScalarKernels);
  EXPECT_EQ(&cpu::kernels(), cpu::runnable_kernels().back());
}

TEST(Kernels, ExpIsAccurateAndHandlesItsEnds) {
  const std::vector<float> x = sweep();
  for (const cpu::Kernels* isa : cpu::runnable_kernels()) {
    std::vector<float> y = x;
    isa->exp_and_sum(y.data(), static_cast<int64_t>(y.size()), 0.0f);
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      if (exact > std::numeric_limits<float>::max()) {
        EXPECT_EQ(y[i], kInf) << x[i];
        continue;
      }
      // 2 ulp where results are normal, one subnormal step below.
      const double tolerance = std::max(exact * 2 * 0x1p-23, 0x1p-149);
      const double error = std::abs(y[i] - exact);
      EXPECT_TRUE(error <= tolerance) << isa->isa << " exp(" << x[i] << ") = " << y[i];
    }
    EXPECT_EQ(y[0], 1.0f);
    std::vector<float> nan(8, kPoison);
    EXPECT_TRUE(std::isnan(isa->exp_and_sum(nan.data(), 8, 0.0f)));
  }
}

TEST(Kernels, EveryInstructionSetGivesTheSameBits) {
  const std::vector<float> x = sweep();
  const auto count = static_cast<int64_t>(x.size());
  expect_same([&](const cpu::Kernels& isa) {
    std::vector<float> y = x;
    y.push_back(isa.exp_and_sum(y.data(), count, 0.25f));
    y.push_back(isa.largest(x.data(), count));
    return y;
  });
  for (const Activation activation :
       {Activation::kRelu, Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    expect_same([&](const cpu::Kernels& isa) {
      std::vector<float> y = x;
      std::replace(y.begin(), y.end(), -kInf, 1.0f);  // -inf * 0 is NaN of either sign
      isa.activate(activation, y.data(), count);
      return y;
    });
  }
  const std::vector<float> acc = random_values(8 * 20, 1);
  expect_same([&](const cpu::Kernels& isa) {
    std::vector<float> y(20, kPoison);
    isa.reduce(acc.data(), 20, y.data());
    return y;
  });
}

TEST(Kernels, WeightedRowsAreTheSumInOrder) {
  for (const DType dtype : kFloatTypes) {
    for (const int64_t size : {8, 24, 64, 80, 96, 136}) {
      for (const int64_t queries : {1, 2, 3, 4, 7}) {
        const int64_t rows = 13;
        const auto p = random_values(queries * 16, 1);
        const auto v = rounded(random_values(rows * size, 2), dtype);
        std::vector<std::byte> stored(static_cast<size_t>(bytes_of(dtype, rows * size)));
        for (size_t i = 0; i < v.size(); ++i) {
          const uint16_t bits = dtype == DType::kF16 ? f32_to_f16(v[i]) : f32_to_bf16(v[i]);
          if (dtype == DType::kF32) std::memcpy(stored.data() + i * 4, &v[i], 4);
          if (dtype != DType::kF32) std::memcpy(stored.data() + i * 2, &bits, 2);
        }
        const auto start = random_values(queries * size, 3);
        std::vector<float> expected = start;
        for (int64_t q = 0; q < queries; ++q) {
          for (int64_t d = 0; d < size; ++d) {
            float& sum = expected[static_cast<size_t>(q * size + d)];
            for (int64_t t = 0; t < rows; ++t) {
              sum = std::fma(p[static_cast<size_t>(q * 16 + t)],
                             v[static_cast<size_t>(t * size + d)], sum);
            }
          }
        }
        for (const cpu::Kernels* isa : cpu::runnable_kernels()) {
          std::vector<float> out = start;
          isa->add_weighted_rows(p.data(), 16, queries, stored.data(), dtype, rows, size,
                                 out.data());
          EXPECT_TRUE(same_bits(out, expected)) << isa->isa << " " << size << " " << queries;
        }
      }
    }
  }
}

TEST(Scratch, GrowsKeepsOthersInPlaceAndIsAligned) {
  OpContext ctx;
  float* first = ctx.scratch(0, 10);
  first[0] = 7.0f;
  for (size_t slot = 1; slot < 20; ++slot) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(ctx.scratch(slot, 1000)) % 64, 0u);
  }
  EXPECT_EQ(ctx.scratch(0, 5), first);
  EXPECT_EQ(first[0], 7.0f);
  float* grown = ctx.scratch(0, 1 << 20);
  grown[(1 << 20) - 1] = 1.0f;
  EXPECT_EQ(ctx.scratch(0, 1 << 20), grown);
}

TEST(Kernels, TypesThatAreNoneOfTheirsAreRefused) {
  std::vector<float> x(64);
  std::vector<float> out(64 * 64);
  const std::vector<std::byte> rows(64 * 64 * 4);
  for (const cpu::Kernels* isa : cpu::runnable_kernels()) {
    for (const DType dtype : {DType::kQ8_0, DType::kQ4_K}) {
      const std::string words = "dtype '" + std::string(name(dtype)) + "'";
      const cpu::RowsView view{.data = rows.data(), .dtype = dtype};
      EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"a product on the CPU", words},
                               [&] { isa->accumulate(view, x.data(), 64, 1, out.data()); }));
      EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, {"attention on the CPU", words}, [&] {
        isa->add_weighted_rows(x.data(), 8, 1, rows.data(), dtype, 8, 8, out.data());
      }));
    }
  }
}

}  // namespace
}  // namespace dak::test
