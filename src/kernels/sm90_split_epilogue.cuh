// What happens to a finished sum before it is stored: bias, activation, gating, residual.
#pragma once

#include <cstdint>

#include "kernels/element.cuh"
#include "kernels/ptx/sync.cuh"
#include "kernels/split_epilogue.h"

namespace dak {

__device__ inline float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return fmaxf(x, 0.0f);
    case Activation::kSilu:
      // To about 4 ulp; twice as quick as with expf and a rounded quotient.
      return __fdividef(x, 1.0f + __expf(-x));
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  }
  return x;
}

// `activate` for each of them; the choice once.
template <int kCount>
__device__ void activate_all(Activation activation, float (&values)[kCount]) {
  const auto each = [&values](Activation of) {
#pragma unroll
    for (float& value : values) value = activate(of, value);
  };
  switch (activation) {
    case Activation::kNone:
      return;
    case Activation::kRelu:
      return each(Activation::kRelu);
    case Activation::kSilu:
      return each(Activation::kSilu);
    case Activation::kGelu:
      return each(Activation::kGelu);
    case Activation::kGeluTanh:
      return each(Activation::kGeluTanh);
  }
}

__device__ inline void store_output(const SplitEpilogue& epilogue, int batch_row, int column,
                                    float value) {
  const int64_t index = batch_row * epilogue.out_stride + column;
  if (epilogue.residual != nullptr) {
    // Past L1: within one kernel another SM may have written it.
    value += load_element_l2(epilogue.residual, index, epilogue.out_dtype);
  }
  store_element(epilogue.out, index, epilogue.out_dtype, value);
}

// Whether this row block's `delivered` pieces were its last. The barrier and thread 0's fence
// together order every thread's pieces before the count.
__device__ inline bool arrive_last(uint32_t& is_last, uint32_t* arrivals, uint32_t delivered,
                                   uint32_t pieces, int row, int thread) {
  ptx::named_barrier(static_cast<uint32_t>(1 + row), 128);
  if (thread == 0) {
    __threadfence();
    const bool last = atomicAdd(arrivals, delivered) + delivered == pieces;
    if (last) *arrivals = 0;
    __threadfence();
    is_last = last ? 1 : 0;
  }
  ptx::named_barrier(static_cast<uint32_t>(1 + row), 128);
  return is_last != 0;
}

// `total` in the fragment order of wgmma m64nNk16: value 4j + q of thread t is row
// 16 (t / 32) + t % 32 / 4 + 8 (q / 2), column 8j + 2 (t % 4) + q % 2; rows of the fragment are
// outputs, columns are the batch.
template <int kBatch>
__device__ void store_outputs(const SplitEpilogue& epilogue, const float (&total)[kBatch / 2],
                              int32_t row_block, int thread) {
  const int row_in_block = thread / 32 * 16 + thread % 32 / 4;
  const int row = row_block * 64 + row_in_block;
  const bool has_first = row < epilogue.rows;
  const bool has_second = row + 8 < epilogue.rows;
  const float bias_first = epilogue.bias != nullptr && has_first ? epilogue.bias[row] : 0.0f;
  const float bias_second = epilogue.bias != nullptr && has_second ? epilogue.bias[row + 8] : 0.0f;
#pragma unroll
  for (int i = 0; i < kBatch / 2; i += 4) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const int batch_row = i * 2 + thread % 4 * 2 + q;
      if (batch_row >= epilogue.batch) continue;
      const float first = total[i + q] + bias_first;
      const float second = total[i + q + 2] + bias_second;
      if (epilogue.gated) {
        const int column = row_block * 32 + thread / 32 * 8 + thread % 32 / 4;
        if (has_second) {
          store_output(epilogue, batch_row, column, activate(epilogue.activation, first) * second);
        }
        continue;
      }
      if (has_first) {
        store_output(epilogue, batch_row, row, activate(epilogue.activation, first));
      }
      if (has_second) {
        store_output(epilogue, batch_row, row + 8, activate(epilogue.activation, second));
      }
    }
  }
}

}  // namespace dak
