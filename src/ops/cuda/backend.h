// The CUDA side of each operation: shapes are already checked, traffic already counted. Everything
// is enqueued on the context's stream; tensors and weights are device-readable, spans are not.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"
#include "ops/context.h"
#include "ops/cuda/kv_staging.h"
#include "ops/embedding.h"
#include "ops/heads.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/rope.h"

namespace dak::cuda {

// How often a product with `rows` rows of x reads the part of `weight` that lies in `tier`. The
// TMA kernels read it once: up to 64 rows the split kernel, above that the GEMM (whose token tiles
// share what is local through L2). Plain kernels take 64 rows at a time and read the weight again
// for the next; what mode prefetch has copied it copies once (in HBM those bytes are then written
// once and read as often as local ones); cuBLASLt is taken to read once.
int64_t readings(const OpContext& ctx, const TieredTensor& weight, TierIndex tier, int64_t rows);

void matmul(OpContext& ctx, const Tensor& x, const TieredTensor& w, const Tensor& out,
            const MatmulEpilogue& epilogue);
void matmul_gated(OpContext& ctx, const Tensor& x, const TieredTensor& gate_up, const Tensor& out,
                  Activation activation);
void embedding(OpContext& ctx, std::span<const int32_t> ids, const TieredTensor& table,
               const Tensor& out);
void add_positions(OpContext& ctx, std::span<const int32_t> positions, const TieredTensor& table,
                   int32_t offset, const Tensor& out);
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
void announce_kv(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences);
void attention(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
               const Tensor& q, const Tensor& out);
void split_heads(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences, std::span<const int32_t> positions,
                 const HeadTransform& transform, const Tensor& qkv, const Tensor& q);
// What a recorded decode step reads: its next inputs, one row for each sequence.
void set_inputs(OpContext& ctx, std::span<const int32_t> tokens, std::span<const int32_t> positions,
                const AttentionConfig& config, std::span<const KvSequence> sequences);
// What recorded steps shall know of a layer's pages; it goes up with the next step. `versions`: see
// DecodeGraph::set_pages. What such a step has to copy of the layer's remote pages before, in mode
// prefetch.
std::vector<CopyRange> tell_kv_pages(OpContext& ctx, const AttentionConfig& config,
                                     std::span<const KvSequence> sequences,
                                     std::span<const int64_t> versions);
const float* host_values(OpContext& ctx, const Tensor& x);
std::unique_ptr<OperationTimer> make_operation_timer(OpContext& ctx);

}  // namespace dak::cuda
