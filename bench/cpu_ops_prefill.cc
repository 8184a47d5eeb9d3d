#include <thread>

#include "base/tensor.h"
#include "bench/cpu_ops.h"
#include "bench/onednn_sgemm.h"
#include "ops/matmul.h"

namespace dak::bench {
namespace {

// OpenMP's threads spin a while after each call; ours must not be timed against them.
void let_openmp_sleep() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }

std::byte* bytes_of(std::vector<float>& values) {
  return reinterpret_cast<std::byte*>(values.data());
}

}  // namespace

PrefillResult measure_prefill(OpContext& ctx, const Shape& shape, int64_t m, int repeats) {
  const int64_t bytes = weight_bytes(shape, DType::kBF16);
  const auto arena = make_cpu_arena({.name = "local", .capacity_bytes = bytes, .channel = {}});
  constexpr uint32_t kSeed = 1;
  const TieredTensor weight =
      make_weight(arena->allocate(bytes), *ctx.pool, shape, DType::kBF16, kSeed);
  std::vector<float> plain(static_cast<size_t>(shape.rows * shape.cols));
  ctx.pool->parallel_for(shape.rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * shape.cols; i < end * shape.cols; ++i) {
      plain[static_cast<size_t>(i)] = weight_value(kSeed, i / shape.cols, i % shape.cols);
    }
  });
  std::vector<float> x_values(static_cast<size_t>(m * shape.cols));
  for (size_t i = 0; i < x_values.size(); ++i) {
    x_values[i] =
        input_value(static_cast<int64_t>(i) / shape.cols, static_cast<int64_t>(i) % shape.cols);
  }
  std::vector<float> out_values(static_cast<size_t>(m * shape.rows));
  const Tensor x = make_tensor(bytes_of(x_values), DType::kF32, m, shape.cols);
  const Tensor out = make_tensor(bytes_of(out_values), DType::kF32, m, shape.rows);

  const auto ours = [&] { matmul(ctx, x, weight, out); };
  const auto theirs = [&] {
    onednn_sgemm(x_values.data(), plain.data(), out_values.data(), m, shape.rows, shape.cols,
                 ctx.pool->size());
  };
  // Verified, and warm.
  ours();
  verify(x, shape, kSeed, out);
  std::fill(out_values.begin(), out_values.end(), 0.0f);
  theirs();
  verify(x, shape, kSeed, out);

  // Each sample lasts long enough for the clock.
  constexpr double kSampleSeconds = 0.05;
  const double once = seconds_of(ours);
  const auto calls = static_cast<int>(std::clamp(kSampleSeconds / once, 1.0, 1000.0));
  const auto sample = [&](const auto& body) {
    body();
    return seconds_of([&] {
             for (int i = 0; i < calls; ++i) body();
           }) /
           calls;
  };
  PrefillResult result{.shape = shape, .m = m, .onednn = {}, .matmul = {}};
  Times ratios;
  for (int i = 0; i < repeats; ++i) {
    let_openmp_sleep();
    result.matmul.seconds.push_back(sample(ours));
    result.onednn.seconds.push_back(sample(theirs));
    ratios.seconds.push_back(result.onednn.seconds.back() / result.matmul.seconds.back());
  }
  result.ratio = ratios.median();
  return result;
}

}  // namespace dak::bench
