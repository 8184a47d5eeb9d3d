// Seeded random numbers for synthetic weights and caches: value i depends on seed and i alone, so
// that the CPU and a GPU make the same bits, in any order and on any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace dak {

// `count` values of `dtype` (f32, f16 or bf16), value i uniform in centre +- half_width from a hash
// of (seed, first_index + i).
struct RandomValues {
  uint64_t seed = 0;
  int64_t first_index = 0;
  int64_t count = 0;
  DType dtype = DType::kBF16;
  float centre = 0;
  float half_width = 1;
};

void fill_random_cpu(std::byte* at, const RandomValues& values);

}  // namespace dak
