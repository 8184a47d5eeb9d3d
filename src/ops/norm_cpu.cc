#include <cmath>

#include "ops/cpu/backend.h"
#include "ops/cpu/kernels.h"

namespace dak::cpu {
namespace {

// Sum of term(i) for i in [0, count) over 8 lanes, added in the tree of Kernels::reduce.
template <class Term>
float lane_sum(int64_t count, const Term& term) {
  float s[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) s[lane] += term(i + lane);
  }
  for (int64_t lane = 0; i + lane < count; ++lane) s[lane] += term(i + lane);
  return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

// Calls body(x, out, d) for every vector of the last dimension.
template <class Body>
void for_each_vector(OpContext& ctx, const Tensor& x, const Tensor& out, const Body& body) {
  const int64_t d = x.dim(x.rank - 1);
  const float* in = x.f32();
  float* to = out.f32();
  ctx.pool->parallel_for(x.elements() / d, grain_of(d), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(in + i * d, to + i * d, d);
  });
}

}  // namespace

void rms_norm(OpContext& ctx, const Tensor& x, const float* weight, float epsilon,
              const Tensor& out) {
  for_each_vector(ctx, x, out, [&](const float* in, float* to, int64_t d) {
    const float squares = lane_sum(d, [&](int64_t i) { return in[i] * in[i]; });
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(d) + epsilon);
    for (int64_t i = 0; i < d; ++i) to[i] = in[i] * scale * weight[i];
  });
}

void layer_norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias,
                float epsilon, const Tensor& out) {
  for_each_vector(ctx, x, out, [&](const float* in, float* to, int64_t d) {
    const auto count = static_cast<float>(d);
    const float mean = lane_sum(d, [&](int64_t i) { return in[i]; }) / count;
    // Two passes: the difference of mean square and squared mean would cancel.
    const float squares = lane_sum(d, [&](int64_t i) { return (in[i] - mean) * (in[i] - mean); });
    const float scale = 1.0f / std::sqrt(squares / count + epsilon);
    for (int64_t i = 0; i < d; ++i) to[i] = (in[i] - mean) * scale * weight[i] + bias[i];
  });
}

}  // namespace dak::cpu
