// From a warp's sums to outputs: through shared memory, so that stores are whole sectors and the
// code for each activation is there once for 32 tokens.
#pragma once

#include <cstdint>

#include "kernels/element.cuh"
#include "kernels/sm90_gemm_stages.cuh"
#include "kernels/sm90_split_epilogue.cuh"

namespace dak {

// What one thread stores of each slice: 4 consecutive outputs of every 8th token.
struct GemmOutputs {
  int32_t column;   // of the first output
  int32_t columns;  // how many of the 4 exist; <= 0: none
  int32_t place;    // in the slice
  float4 bias;
};

// A warp has 16 rows of the weight, that is 16 outputs (or 8 gated, store_gated_slice).
__device__ inline GemmOutputs gemm_outputs(const SplitEpilogue& epilogue, int32_t block, int warp,
                                           int lane) {
  const int four = lane % 4 * 4;
  const int row = block * 64 + warp * 16 + four;
  GemmOutputs outputs{.column = row, .columns = epilogue.rows - row, .place = four, .bias = {}};
  const auto bias_at = [&](int i) {
    return epilogue.bias != nullptr && i < outputs.columns ? epilogue.bias[row + i] : 0.0f;
  };
  outputs.bias = {bias_at(0), bias_at(1), bias_at(2), bias_at(3)};
  return outputs;
}

// In place, in shared memory. Not unrolled: activations are long.
template <typename Shape>
__device__ void activate_slice(const SplitEpilogue& epilogue, const GemmOutputs& outputs,
                               float* slice, int lane) {
  if (outputs.columns <= 0) return;
#pragma unroll 1
  for (int token = lane / 4; token < Shape::kSliceTokens; token += 8) {
    auto* value = reinterpret_cast<float4*>(slice + token * Shape::kSliceStride + outputs.place);
    const float4 v = *value;
    float four[4] = {v.x + outputs.bias.x, v.y + outputs.bias.y, v.z + outputs.bias.z,
                     v.w + outputs.bias.w};
    activate_all(epilogue.activation, four);
    *value = {four[0], four[1], four[2], four[3]};
  }
}

template <typename T2>
__device__ uint2 narrow4(float4 v, T2 (*narrow)(float, float)) {
  const T2 low = narrow(v.x, v.y);
  const T2 high = narrow(v.z, v.w);
  return {*reinterpret_cast<const uint32_t*>(&low), *reinterpret_cast<const uint32_t*>(&high)};
}

// 4 outputs at once: aligned, and no residual but f32.
__device__ inline void store_four(const SplitEpilogue& epilogue, int64_t index, float4 v,
                                  float4 residual) {
  v = {v.x + residual.x, v.y + residual.y, v.z + residual.z, v.w + residual.w};
  if (epilogue.out_dtype == Element::kF32) {
    *reinterpret_cast<float4*>(static_cast<float*>(epilogue.out) + index) = v;
  } else if (epilogue.out_dtype == Element::kBF16) {
    *reinterpret_cast<uint2*>(static_cast<__nv_bfloat16*>(epilogue.out) + index) =
        narrow4<__nv_bfloat162>(v, __floats2bfloat162_rn);
  } else {
    *reinterpret_cast<uint2*>(static_cast<__half*>(epilogue.out) + index) =
        narrow4<__half2>(v, __floats2half2_rn);
  }
}

// Gated outputs, which take no bias: a lane has a token, its 8 rows of gate and 8 of up, so that no
// lane is idle and 8 activations go side by side. (With lanes by outputs half of them were, and one
// value came after the other: 10 us of 90 a tile.)
template <typename Shape>
__device__ void store_gated_slice(const SplitEpilogue& epilogue, const float* slice,
                                  int32_t first_row, int32_t token, int lane, bool wide) {
  const int32_t columns = min(8, (epilogue.rows - first_row) / 2);
  if (token >= epilogue.batch || columns <= 0) return;
  const auto* rows = reinterpret_cast<const float4*>(slice + lane * Shape::kSliceStride);
  float gate[8];
  float up[8];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    *reinterpret_cast<float4*>(gate + 4 * i) = rows[i];
    *reinterpret_cast<float4*>(up + 4 * i) = rows[2 + i];
  }
  activate_all(epilogue.activation, gate);
#pragma unroll
  for (int i = 0; i < 8; ++i) gate[i] *= up[i];
  const int32_t column = first_row / 2;
  if (wide && columns == 8 && epilogue.residual == nullptr) {
    const int64_t index = token * epilogue.out_stride + column;
    store_four(epilogue, index, {gate[0], gate[1], gate[2], gate[3]}, {});
    store_four(epilogue, index + 4, {gate[4], gate[5], gate[6], gate[7]}, {});
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i < columns) store_output(epilogue, token, column + i, gate[i]);
  }
}

template <typename Shape>
__device__ void store_slice(const SplitEpilogue& epilogue, const GemmOutputs& outputs,
                            const float* slice, int32_t first_token, int lane, bool wide) {
  if (outputs.columns <= 0) return;
  constexpr int kEach = Shape::kSliceTokens / 8;
  const bool four = wide && outputs.columns >= 4;
  const bool add_there = four && epilogue.residual == epilogue.out;
  float4 residual[kEach] = {};
  if (four && epilogue.residual != nullptr && !add_there) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int32_t token = first_token + lane / 4 + 8 * i;
      if (token >= epilogue.batch) continue;
      residual[i] =
          __ldcg(reinterpret_cast<const float4*>(static_cast<const float*>(epilogue.residual) +
                                                 token * epilogue.out_stride + outputs.column));
    }
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int in_slice = lane / 4 + 8 * i;
    const int32_t token = first_token + in_slice;
    if (token >= epilogue.batch) continue;
    const float4 v =
        *reinterpret_cast<const float4*>(slice + in_slice * Shape::kSliceStride + outputs.place);
    if (add_there) {
      // L2 adds, once for each output, so bits do not depend on time; no thread waits
      // for the residual (0.7 us a slice).
      ptx::add_to_global(
          static_cast<float*>(epilogue.out) + token * epilogue.out_stride + outputs.column, v);
    } else if (four) {
      store_four(epilogue, token * epilogue.out_stride + outputs.column, v, residual[i]);
    } else {
      const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j < outputs.columns) store_output(epilogue, token, outputs.column + j, values[j]);
      }
    }
  }
}

// Whether 4 consecutive outputs can be stored at once.
__device__ inline bool stores_wide(const SplitEpilogue& epilogue) {
  const auto aligned = [](const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  };
  return epilogue.out_stride % 4 == 0 && aligned(epilogue.out) && aligned(epilogue.residual) &&
         (epilogue.residual == nullptr || epilogue.out_dtype == Element::kF32);
}

// `slices` of kSliceTokens tokens of a warpgroup's `sums`, in the fragment order of wgmma m64nNk16
// (sm90_split_epilogue.cuh); `scratch` is the warp's own.
template <typename Shape>
__device__ void store_gemm_tile(const SplitEpilogue& epilogue, const float (&sums)[Shape::kValues],
                                int slices, int32_t block, int32_t first_token, float* scratch,
                                int warp, int lane) {
  const GemmOutputs outputs = gemm_outputs(epilogue, block, warp, lane);
  const bool wide = stores_wide(epilogue);
  const bool plain = epilogue.activation == Activation::kNone && epilogue.bias == nullptr;
  constexpr int kSliceValues = Shape::kSliceTokens / 2;
  float* mine = scratch + lane % 4 * 2 * Shape::kSliceStride + lane / 4;
  constexpr int kSlices = Shape::kTokens / Shape::kSliceTokens;
  // One loop for all slices, or its code is there eight times; only what reads registers is.
#pragma unroll 1
  for (int slice = 0; slice < slices; ++slice) {
    const int32_t token = first_token + slice * Shape::kSliceTokens;
    if (token >= epilogue.batch) break;
#pragma unroll
    for (int s = 0; s < kSlices; ++s) {
      if (s != slice) continue;
#pragma unroll
      for (int i = 0; i < kSliceValues; ++i) {
        mine[(i / 4 * 8 + i % 2) * Shape::kSliceStride + i % 4 / 2 * 8] =
            sums[s * kSliceValues + i];
      }
    }
    __syncwarp();
    if (epilogue.gated) {
      store_gated_slice<Shape>(epilogue, scratch, block * 64 + warp * 16, token + lane, lane, wide);
    } else {
      if (!plain) {
        activate_slice<Shape>(epilogue, outputs, scratch, lane);
        __syncwarp();
      }
      store_slice<Shape>(epilogue, outputs, scratch, token, lane, wide);
    }
    __syncwarp();
  }
}

}  // namespace dak
