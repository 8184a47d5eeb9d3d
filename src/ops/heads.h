// From a layer's fused projection to what attention reads.
#pragma once

#include <cstdint>
#include <span>

#include "ops/attention.h"
#include "ops/rope.h"

namespace dak {

struct HeadTransform {
  const float* q_norm = nullptr;  // [head_size], RMS norm of each head; nullptr: none
  const float* k_norm = nullptr;
  float norm_epsilon = 0;
  const RopeFrequencies* frequencies = nullptr;  // nullptr: no rotation
};

struct Heads {
  Tensor q;  // [m, heads, head_size]
  Tensor k;  // [m, kv_heads, head_size], scratch
  Tensor v;  // like k
};

// Cuts qkv f32 [m, (heads + 2 kv_heads) head_size] into heads, normalises and rotates those of q
// and k, and stores k and v in the cache. Only out.q has defined values afterwards.
void split_heads(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences, std::span<const int32_t> positions,
                 const HeadTransform& transform, const Tensor& qkv, const Heads& out);

}  // namespace dak
