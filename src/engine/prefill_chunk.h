// How many tokens of a prompt one forward pass takes.
#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "ops/context.h"
#include "pass/program.h"

namespace dak {

struct PrefillChunkRequest {
  int64_t asked = 0;  // tokens; 0: as below
  int64_t context = 0;
  int64_t local_budget_bytes = 0;
  DType input_dtype = DType::kF32;  // of what matmuls read
  // A pass reads every weight once, however many tokens it has: so with the TMA kernels. Elsewhere
  // long passes save little.
  bool reads_weights_once = false;
};

inline constexpr int64_t kLeastPrefillChunk = 512;
inline constexpr int64_t kMostPrefillChunk = 8192;
// Share of the local budget that activations may take from weights for the sake of longer passes.
inline constexpr double kPrefillActivationShare = 0.025;

// As asked, else the longest of 512, 1024, ... 8192 tokens whose activations keep to their share of
// the budget: every pass crosses the link with all remote weights, so half as many passes are half
// the time to the first token where the link bounds it. What that costs: activations take the place
// of weights, so decoding reads at most kPrefillActivationShare of the budget more over the link.
// Never more than the context.
int64_t choose_prefill_chunk(const Program& program, const PrefillChunkRequest& request);

// Tokens of the next pass when `left` are to come: as few passes as `chunk` allows, about equally
// long, for one of a few tokens costs as much link time as a full one, and products of at most 64
// rows round differently.
int64_t next_prefill_rows(int64_t left, int64_t chunk);

}  // namespace dak
