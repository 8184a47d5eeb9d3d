// What the tests of operations share: random values, tiered weights in scattered memory, outputs
// with guard values around them, and loops over the ways to run an operation.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "base/half.h"
#include "base/tensor.h"
#include "memory/tiered_tensor.h"
#include "ops/context.h"
#include "ops/cpu/kernels.h"
#include "tests/support/compare.h"

namespace dak::test {

inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
inline constexpr DType kFloatTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
// Share of the blocks in tier 1; "epsilon" is one block, "1 - epsilon" all but one.
inline constexpr double kRatios[] = {0.0, 1e-9, 0.5, 1.0 - 1e-9, 1.0};

inline std::vector<float> random_values(int64_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

inline float rounded(float value, DType dtype) {
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(value));
  return value;
}

inline std::vector<float> rounded(std::vector<float> values, DType dtype) {
  for (float& value : values) value = rounded(value, dtype);
  return values;
}

// A weight whose blocks are separate allocations, each exactly as long as it must be (so that
// AddressSanitizer sees a read past the end), scattered over tiers 0 and 1.
struct Weight {
  TieredTensor tensor;
  std::vector<std::unique_ptr<std::byte[]>> memory;
};

inline bool in_tier_one(int64_t block, int64_t blocks, double ratio) {
  int64_t wanted = std::llround(ratio * static_cast<double>(blocks));
  if (ratio > 0 && ratio < 1)
    wanted = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, blocks - 1));
  return block * 7919 % blocks < wanted;  // scattered, not a prefix
}

inline Weight make_weight(const std::vector<float>& values, int64_t rows, int64_t cols, DType dtype,
                          double ratio = 0.0) {
  Weight w;
  w.tensor = {.name = "w", .dtype = dtype, .rows = rows, .cols = cols, .blocks = {}};
  const int64_t blocks = row_blocks_of(rows);
  const auto bytes = static_cast<size_t>(w.tensor.block_bytes());
  for (int64_t i = 0; i < blocks; ++i) {
    w.memory.push_back(std::make_unique<std::byte[]>(bytes));
    const int64_t first = i * kRowBlockRows;
    pack_row_block(values.data() + first * cols, std::min(kRowBlockRows, rows - first), cols, dtype,
                   w.memory.back().get());
    w.tensor.blocks.push_back({.data = w.memory.back().get(),
                               .tier = static_cast<TierIndex>(in_tier_one(i, blocks, ratio))});
  }
  return w;
}

// An f32 tensor between guard values, filled with `fill`.
class Guarded {
 public:
  explicit Guarded(std::vector<int64_t> shape, float fill = kPoison) {
    tensor_.rank = static_cast<int>(shape.size());
    tensor_.shape = {1, 1, 1};
    std::copy(shape.begin(), shape.end(), tensor_.shape.begin());
    const auto count = static_cast<size_t>(tensor_.elements());
    storage_.assign(count + 2 * kGuard, kGuardValue);
    std::fill_n(storage_.begin() + kGuard, count, fill);
    tensor_.data = reinterpret_cast<std::byte*>(storage_.data() + kGuard);
  }
  Guarded(std::vector<int64_t> shape, const std::vector<float>& values)
      : Guarded(std::move(shape)) {
    std::copy(values.begin(), values.end(), storage_.begin() + kGuard);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  const Tensor& tensor() const { return tensor_; }
  std::vector<float> values() const { return {storage_.begin() + kGuard, storage_.end() - kGuard}; }
  bool intact() const {
    const auto is_guard = [](float value) { return value == kGuardValue; };
    return std::all_of(storage_.begin(), storage_.begin() + kGuard, is_guard) &&
           std::all_of(storage_.end() - kGuard, storage_.end(), is_guard);
  }

 private:
  static constexpr int kGuard = 64;
  static constexpr float kGuardValue = -12345.5f;
  std::vector<float> storage_;
  Tensor tensor_;
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Forces one instruction set while it lives.
class ForcedKernels {
 public:
  explicit ForcedKernels(const cpu::Kernels& isa) { cpu::force_kernels(&isa); }
  ~ForcedKernels() { cpu::force_kernels(nullptr); }
  ForcedKernels(const ForcedKernels&) = delete;
  ForcedKernels& operator=(const ForcedKernels&) = delete;
};

// Calls body(context, description) for every instruction set with 1, 2 and 5 threads.
template <class Body>
void for_each_way(const Body& body) {
  for (const cpu::Kernels* isa : cpu::runnable_kernels()) {
    const ForcedKernels forced(*isa);
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool(threads);
      OpContext ctx;
      ctx.pool = &pool;
      // Scratch that an operation reads before it wrote it must show.
      for (size_t slot = 0; slot < OpContext::kOperationSlots; ++slot) {
        std::fill_n(ctx.scratch(slot, 1 << 16), 1 << 16, kPoison);
      }
      SCOPED_TRACE(std::string(isa->isa) + ", " + std::to_string(threads) + " threads");
      body(ctx);
    }
  }
}

}  // namespace dak::test
