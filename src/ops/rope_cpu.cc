#include <cmath>

#include "ops/cpu/backend.h"

namespace dak::cpu {

void rope(OpContext& ctx, std::span<const int32_t> positions, const RopeFrequencies& frequencies,
          const Tensor& x) {
  const auto half = static_cast<int64_t>(frequencies.inverse.size());
  const int64_t heads = x.dim(1);
  const int64_t head_size = x.dim(2);
  if (half == 0 || positions.empty()) return;
  // Per thread [2, half]: cosines and sines of the row, the same for every head.
  float* tables = ctx.scratch(kTableSlot, ctx.pool->size() * 2 * half);
  constexpr int64_t kTrigonometryCost = 40;
  ctx.pool->parallel_for(
      x.dim(0), grain_of((heads + kTrigonometryCost) * 2 * half),
      [&](int64_t begin, int64_t end, int thread) {
        float* cosine = tables + thread * 2 * half;
        float* sine = cosine + half;
        for (int64_t row = begin; row < end; ++row) {
          const auto position = static_cast<float>(positions[static_cast<size_t>(row)]);
          for (int64_t i = 0; i < half; ++i) {
            const float angle = position * frequencies.inverse[static_cast<size_t>(i)];
            cosine[i] = std::cos(angle) * frequencies.magnitude;
            sine[i] = std::sin(angle) * frequencies.magnitude;
          }
          for (int64_t head = 0; head < heads; ++head) {
            float* first = x.f32() + (row * heads + head) * head_size;
            float* second = first + half;
            for (int64_t i = 0; i < half; ++i) {
              const float a = first[i];
              const float b = second[i];
              first[i] = a * cosine[i] - b * sine[i];
              second[i] = b * cosine[i] + a * sine[i];
            }
          }
        }
      });
}

}  // namespace dak::cpu
