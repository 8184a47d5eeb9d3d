// The CUDA side of each operation: shapes are already checked, traffic already counted. Everything
// is enqueued on the context's stream; tensors and weights are device-readable, spans are not.
#pragma once

#include <cstdint>
#include <span>

#include "ops/attention.h"
#include "ops/context.h"
#include "ops/embedding.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace dak::cuda {

// Rows of x that one reading of a weight serves; more rows read it again.
inline constexpr int64_t kRowsPerReading = 64;

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
void split_columns(OpContext& ctx, const Tensor& x, std::span<const Tensor> parts);
void gather_rows(OpContext& ctx, const Tensor& x, std::span<const int32_t> rows, const Tensor& out);
void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v);
void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out);
const float* host_values(OpContext& ctx, const Tensor& x);

}  // namespace dak::cuda
