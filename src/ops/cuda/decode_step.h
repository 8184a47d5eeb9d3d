// A run of operations of a decode step as one persistent kernel; the host's side of
// decode_step.cuh. No device code, so that host code can include it.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/link_state.h"
#include "kernels/sm90_split_matmul.h"
#include "kernels/split_schedule.h"
#include "ops/cuda/kernels.h"

namespace dak::cuda {

// Rows of a batch that the kernel takes.
inline constexpr int kMaxStepRows = 32;

enum class StepKind : int32_t { kMatmul, kAttention, kNorm, kGather };

struct StepMatmul {
  const WorkItem* items;  // item i is thread block i's first
  float* partials;        // see SplitMatmulParams
  uint32_t* arrivals;
  int32_t chunks;
  int32_t slice_chunks;
  SplitEpilogue epilogue;
};

// Heads, cache and attention in one; `attention.q` and `heads.q` are not used. All runs are local.
struct StepAttention {
  AttentionParams attention;
  SplitHeadsParams heads;
};

struct StepOp {
  CUtensorMap x_map;  // of a matmul; aligns the whole
  StepKind kind;
  // Thread blocks 0 .. participants - 1 take part, of a norm or gather those that have rows, of
  // attention those that read no remote tier. The operation is over when all of them have arrived.
  int32_t participants;
  StepMatmul matmul;
  StepAttention attention;
  NormParams norm;
  GatherRowsParams gather;
};

struct StepParams {
  const StepOp* ops;  // [op_count], in order: each waits for the one before
  uint32_t* done;     // [op_count] participants that have arrived, zero between launches
  LinkState* links;   // [kMaxTiers]
  int32_t op_count;
  int32_t readers;  // thread blocks 0 .. readers - 1 read remote tiers
  int32_t reader_begin[kMaxTiers];
  int32_t reader_end[kMaxTiers];
};

// Whether the kernel has a form for these pages. Other head sizes of up to 128 would do, each for
// 30 seconds of compilation.
inline constexpr int kStepHeadSize = 128;
constexpr bool step_takes(DType kv_dtype, int64_t head_size) {
  return (kv_dtype == DType::kBF16 || kv_dtype == DType::kF16) && head_size == kStepHeadSize;
}

// `batch_tile` 8, 16 or 32; all weights and pages of `dtype`. One thread block a multiprocessor,
// all of them at once (a cooperative launch): they wait for each other.
void launch_decode_step(const StepParams& params, DType dtype, int batch_tile, int sm_count,
                        cudaStream_t stream);

}  // namespace dak::cuda
