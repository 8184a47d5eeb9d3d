// The reference that prefill is measured against.
#pragma once

#include <cstdint>
#include <string>

namespace dak::bench {

bool onednn_available();
std::string onednn_version();

// out[m, n] = x[m, k] w[n, k]^T, all f32 row-major, on `threads` threads.
void onednn_sgemm(const float* x, const float* w, float* out, int64_t m, int64_t n, int64_t k,
                  int threads);

}  // namespace dak::bench
