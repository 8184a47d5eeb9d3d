#include <cstring>

#include "base/half.h"
#include "ops/cpu/backend.h"

namespace dak::cpu {
namespace {

void narrow(const float* in, int64_t count, DType dtype, std::byte* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  auto* bits = reinterpret_cast<uint16_t*>(out);
  for (int64_t i = 0; i < count; ++i) {
    bits[i] = f32_to_half(dtype, in[i]);
  }
}

// k, v: [kv_heads, head_size] of one token.
void store_token(const AttentionConfig& config, const KvSequence& sequence, int64_t token,
                 const float* k, const float* v) {
  std::byte* page = sequence.pages[static_cast<size_t>(token / kPageTokens)].data;
  const int64_t values = config.kv_heads * kPageTokens * config.head_size;
  for (int64_t head = 0; head < config.kv_heads; ++head) {
    const int64_t at = (head * kPageTokens + token % kPageTokens) * config.head_size;
    const int64_t from = head * config.head_size;
    narrow(k + from, config.head_size, config.kv_dtype, page + bytes_of(config.kv_dtype, at));
    narrow(v + from, config.head_size, config.kv_dtype,
           page + bytes_of(config.kv_dtype, values + at));
  }
}

}  // namespace

void store_kv(OpContext& ctx, const AttentionConfig& config, std::span<const KvSequence> sequences,
              const Tensor& k, const Tensor& v) {
  const int64_t width = config.kv_heads * config.head_size;
  for (const KvSequence& sequence : sequences) {
    ctx.pool->parallel_for(sequence.rows, grain_of(2 * width),
                           [&](int64_t begin, int64_t end, int) {
                             for (int64_t i = begin; i < end; ++i) {
                               const int64_t row = sequence.first_row + i;
                               store_token(config, sequence, sequence.past + i,
                                           k.f32() + row * width, v.f32() + row * width);
                             }
                           });
  }
}

}  // namespace dak::cpu
