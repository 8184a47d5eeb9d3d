// Arithmetic that the language has no name for. One instruction per wrapper.
#pragma once

namespace dak::ptx {

// 2^x, relative error 2^-22; 0 below 2^-126.
__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace dak::ptx
