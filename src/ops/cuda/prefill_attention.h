// Attention of sequences with many query rows: the host side of sm90_prefill_attention.cuh.
#pragma once

#include <span>

#include "base/tensor.h"
#include "ops/attention.h"
#include "ops/cuda/kernels.h"
#include "ops/cuda/prefill_plan.h"
#include "ops/cuda/state.h"

namespace dak::cuda {

// Whether this sequence's rows go this way: from its own rows alone, so that its bits do not depend
// on what else is in the batch. For backends with TMA kernels and on_tensor_cores() pages.
inline bool takes_prefill_tiles(const AttentionConfig& config, const KvSequence& sequence) {
  return sequence.rows >= kPrefillLeastRows && has_prefill_tiles(config.head_size);
}

// Those sequences of the batch that do; `kv` is of the whole batch.
void attend_prefill_tiles(CudaBackend& backend, const AttentionConfig& config,
                          std::span<const KvSequence> sequences, const KvParams& kv,
                          const Tensor& q, const Tensor& out);

}  // namespace dak::cuda
