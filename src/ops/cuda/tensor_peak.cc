#include "ops/tensor_peak.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/device_buffer.h"
#include "kernels/event_pair.h"
#include "kernels/random_fill.h"
#include "ops/cuda/uva.h"
#include "ops/cuda_backend.h"

namespace dak {
namespace {

constexpr int64_t kSide = 8192;
constexpr int kWarmUps = 5;  // 7 ms: clocks are up
constexpr int kRepeats = 10;

bool has_cublas_lt() {
  try {
    check_uva();
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::optional<double> measure_tensor_peak(int ordinal, DType dtype) {
  if (!has_cublas_lt()) return std::nullopt;
  cuda_check(cudaSetDevice(ordinal));
  const DeviceBuffer operands(2 * bytes_of(dtype, kSide * kSide));
  const DeviceBuffer sums(kUvaWorkspaceBytes + bytes_of(DType::kF32, kSide * kSide));
  // Zeros would take less power and so run faster.
  random_fill(operands.as(), {.seed = 3, .count = 2 * kSide * kSide, .dtype = dtype}, nullptr);
  UvaMatmul product(sums.as(), sums.size_bytes(), nullptr);
  const TieredTensor weight{.name = "peak",
                            .dtype = dtype,
                            .rows = kSide,
                            .cols = kSide,
                            .blocks = {{.data = operands.as(), .tier = 0}}};
  const std::byte* x = operands.as() + bytes_of(dtype, kSide * kSide);
  const auto multiply = [&] { product.multiply(weight, x, kSide, kSide, product.sums()); };
  for (int i = 0; i < kWarmUps; ++i) multiply();
  const EventPair events;
  float best_ms = 1e30f;
  for (int i = 0; i < kRepeats; ++i) {
    cuda_check(cudaEventRecord(events.begin, nullptr));
    multiply();
    cuda_check(cudaEventRecord(events.end, nullptr));
    cuda_check(cudaEventSynchronize(events.end));
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, events.begin, events.end));
    best_ms = std::min(best_ms, ms);
  }
  constexpr double kFlops = 2.0 * kSide * kSide * kSide;
  return kFlops / (static_cast<double>(best_ms) * 1e-3);
}

}  // namespace dak
