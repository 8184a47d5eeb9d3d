// Choosing every row's next token at the end of a recorded decode step. No device code here.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/cuda/kernels.h"
#include "ops/token_draw.h"

namespace dak::cuda {

// What the device keeps of a decode step from one replay of its graph to the next: the token that
// each row draws (ops/token_draw.h) becomes the row's next input, one position further. Rows of no
// sequence draw nothing and stay as they are; their temperature is 0.
struct AdvanceParams {
  const float* logits;       // [m, vocabulary]
  const DrawParams* draws;   // [m]
  unsigned long long* best;  // [m], zero between launches
  int32_t* ids;              // [m], in place
  int32_t* positions;        // [m]
  KvRow* rows;               // [m]; token -1: of no sequence
  int32_t* history;          // [kTokenHistory, m] on the host; step s goes to row s % kTokenHistory
  uint32_t* step;            // counts up
  int64_t m;
  int64_t vocabulary;  // below 2^23
};
inline constexpr uint32_t kTokenHistory = 16;
// A token of -1 in `history` says that every logit was NaN or -inf.
void launch_advance(const AdvanceParams& params, cudaStream_t stream);

}  // namespace dak::cuda
