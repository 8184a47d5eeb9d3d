#include "ops/embedding.h"

#include "support/throws_error.h"
#include "tests/ops/support.h"

namespace dak::test {
namespace {

TEST(Embedding, GathersRowsOfEveryTypeAndPlacement) {
  const int64_t rows = 200;
  for (const DType dtype : kFloatTypes) {
    for (const int64_t cols : {1, 8, 65, 300}) {
      const auto table = rounded(random_values(rows * cols, 1), dtype);
      const std::vector<int32_t> ids{0, 199, 64, 63, 5, 5, 128};
      std::vector<float> expected;
      for (const int32_t id : ids) {
        expected.insert(expected.end(), table.begin() + id * cols, table.begin() + (id + 1) * cols);
      }
      for_each_way([&](OpContext& ctx) {
        for (const double ratio : kRatios) {
          const Weight weight = make_weight(table, rows, cols, dtype, ratio);
          const Guarded out({static_cast<int64_t>(ids.size()), cols});
          ctx.traffic = {};
          embedding(ctx, ids, weight.tensor, out.tensor());
          ASSERT_TRUE(same_bits(out.values(), expected));
          ASSERT_TRUE(out.intact());
          ASSERT_EQ(ctx.traffic.total_bytes(), 7 * bytes_of(dtype, cols));
          if (ratio == 1.0) {
            ASSERT_EQ(ctx.traffic.read_bytes[0], 0);
          }
        }
      });
    }
  }
}

TEST(Embedding, OffsetAndAdd) {
  ThreadPool pool(1);
  OpContext ctx;
  ctx.pool = &pool;
  const auto table = random_values(10 * 4, 1);
  const Weight weight = make_weight(table, 10, 4, DType::kF32);
  const std::vector<int32_t> ids{0, 7};
  const Guarded out({2, 4}, 1.0f);
  add_positions(ctx, ids, weight.tensor, 2, out.tensor());
  const auto values = out.values();
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(values[i], 1.0f + table[2 * 4 + i]);
    EXPECT_EQ(values[4 + i], 1.0f + table[9 * 4 + i]);
  }
}

TEST(Embedding, RejectsIdsOutOfRange) {
  ThreadPool pool(1);
  OpContext ctx;
  ctx.pool = &pool;
  const Weight weight = make_weight(random_values(40, 1), 10, 4, DType::kF32);
  const Guarded out({1, 4});
  for (const int32_t id : {-1, 10, std::numeric_limits<int32_t>::max()}) {
    EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "embedding: id out of range", [&] {
      embedding(ctx, std::vector<int32_t>{id}, weight.tensor, out.tensor());
    }));
  }
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "embedding: id out of range", [&] {
    add_positions(ctx, std::vector<int32_t>{9}, weight.tensor, 1, out.tensor());
  }));
  EXPECT_TRUE(test::throws_error(ErrorCode::kInternal, "embedding: id out of range", [&] {
    add_positions(ctx, std::vector<int32_t>{std::numeric_limits<int32_t>::max()}, weight.tensor,
                  std::numeric_limits<int32_t>::max(), out.tensor());
  }));
}

}  // namespace
}  // namespace dak::test
