#include "ops/heads.h"

#include <array>

#include "ops/cuda/backend.h"
#include "ops/norm.h"
#include "ops/rows.h"
#include "pass/names.h"

namespace dak {

void split_heads(OpContext& ctx, const AttentionConfig& config,
                 std::span<const KvSequence> sequences, std::span<const int32_t> positions,
                 const HeadTransform& transform, const Tensor& qkv, const Heads& out) {
  require(qkv.rank == 2 && qkv.dtype == DType::kF32 &&
              qkv.dim(1) == (config.heads + 2 * config.kv_heads) * config.head_size,
          "split_heads: qkv must be f32 [m, (heads + 2 kv_heads) head_size]");
  require(std::ssize(positions) == qkv.dim(0), "split_heads: one position per row");
  if (ctx.notes != nullptr) return ctx.notes->add({.kind = StepKind::kHeads}, qkv.dim(0));
  const TimedOperation timed(ctx, kAttentionKind);
  if (ctx.backend == Backend::kCuda) {
    check_attention(config, sequences, qkv.dim(0));
    return cuda::split_heads(ctx, config, sequences, positions, transform, qkv, out.q);
  }
  split_columns(ctx, qkv, std::array{out.q, out.k, out.v});
  const float epsilon = transform.norm_epsilon;
  if (transform.q_norm != nullptr) rms_norm(ctx, out.q, transform.q_norm, epsilon, out.q);
  if (transform.k_norm != nullptr) rms_norm(ctx, out.k, transform.k_norm, epsilon, out.k);
  if (transform.frequencies != nullptr) {
    rope(ctx, positions, *transform.frequencies, out.q);
    rope(ctx, positions, *transform.frequencies, out.k);
  }
  store_kv(ctx, config, sequences, out.k, out.v);
}

}  // namespace dak
