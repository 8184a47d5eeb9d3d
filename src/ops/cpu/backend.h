// The CPU side of each operation: shapes are already checked, traffic already counted.
#pragma once

#include <cstdint>
#include <span>

#include "ops/attention.h"
#include "ops/context.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace dak::cpu {

// OpContext's scratch slots that operations use; a slot is free again when its operation returns.
enum Slot : size_t { kInputSlot, kThreadSlot, kStateSlot, kTableSlot, kRoundedSlot };

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue);
void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation);
void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out, int32_t offset, bool add);
void rms_norm(OpContext& ctx, const Tensor& x, const float* weight, float epsilon,
              const Tensor& out);
void layer_norm(OpContext& ctx, const Tensor& x, const float* weight, const float* bias,
                float epsilon, const Tensor& out);
void rope(OpContext& ctx, std::span<const int32_t> positions, const RopeFrequencies& frequencies,
          const Tensor& x);
void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v);
void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out);

// Smallest share of a parallel loop that is worth waking a thread for, given one index's cost in
// multiply-adds or bytes.
inline int64_t grain_of(int64_t cost_of_one) {
  constexpr int64_t kWorthwhile = 1 << 15;
  return cost_of_one >= kWorthwhile ? 1 : kWorthwhile / (cost_of_one + 1) + 1;
}

}  // namespace dak::cpu
