#include "engine/prefill_chunk.h"

#include <gtest/gtest.h>

#include "model/declared_model.h"

namespace dak {
namespace {

Program program_with(int64_t hidden) {
  ModelConfig config;
  config.family = "llama";
  config.layers = 1;
  config.hidden = hidden;
  config.heads = hidden / 128;
  config.kv_heads = config.heads;
  config.head_size = 128;
  config.intermediate = 4 * hidden;
  config.vocabulary = 32000;
  return program_of(config);
}

PrefillChunkRequest request_of(int64_t budget, int64_t context = 131072) {
  return {.context = context,
          .local_budget_bytes = budget,
          .input_dtype = DType::kBF16,
          .reads_weights_once = true};
}

TEST(PrefillChunk, IsTheLongestWhoseActivationsKeepToTheirShare) {
  const Program program = program_with(8192);
  int64_t last = 0;
  for (const int64_t budget :
       {int64_t{1} << 30, int64_t{8} << 30, int64_t{40} << 30, int64_t{80} << 30}) {
    const int64_t chunk = choose_prefill_chunk(program, request_of(budget));
    EXPECT_GE(chunk, std::max(last, kLeastPrefillChunk));
    const auto bytes = [&](int64_t rows) {
      return static_cast<double>(Workspace::size_bytes(program, rows, 1, DType::kBF16));
    };
    const double room = kPrefillActivationShare * static_cast<double>(budget);
    EXPECT_TRUE(chunk == kLeastPrefillChunk || bytes(chunk) <= room);
    EXPECT_TRUE(chunk == kMostPrefillChunk || bytes(2 * chunk) > room);
    last = chunk;
  }
  EXPECT_GE(last, 4096);
  EXPECT_EQ(choose_prefill_chunk(program, request_of(int64_t{1} << 30)), kLeastPrefillChunk);
}

TEST(PrefillChunk, IsWhatWasAskedForAndNeverMoreThanTheContext) {
  const Program program = program_with(1024);
  PrefillChunkRequest request = request_of(int64_t{80} << 30, 3000);
  EXPECT_EQ(choose_prefill_chunk(program, request), 3000);
  request.asked = 7;
  EXPECT_EQ(choose_prefill_chunk(program, request), 7);
  request.asked = 5000;
  EXPECT_EQ(choose_prefill_chunk(program, request), 3000);
  request.asked = 0;
  request.reads_weights_once = false;
  EXPECT_EQ(choose_prefill_chunk(program, request), kLeastPrefillChunk);
}

TEST(PrefillChunk, PassesAreAsFewAsTheChunkAllowsAndNeverShort) {
  for (const int64_t chunk : {7, 200, 512, 1024, 4096, 8192}) {
    for (int64_t length = 1; length < 20000; length += 1 + length / 50) {
      int64_t passes = 0;
      int64_t shortest = length;
      for (int64_t left = length; left > 0; ++passes) {
        const int64_t rows = next_prefill_rows(left, chunk);
        ASSERT_GE(rows, 1);
        ASSERT_LE(rows, std::min(left, chunk));
        shortest = std::min(shortest, rows);
        left -= rows;
      }
      EXPECT_EQ(passes, (length + chunk - 1) / chunk);
      if (chunk >= 512 && length > 64) {
        EXPECT_GT(shortest, 64) << length << " by " << chunk;
      }
    }
  }
}

}  // namespace
}  // namespace dak
