// Compiled with -mavx2 -mfma -mf16c. Only kernels.cc, which asks the machine first, may lead here.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/kernels.h"

namespace dak::cpu {
namespace {

#include "ops/cpu/kernels_body.h"
// After the element types it loads.
#include "ops/cpu/avx2_lanes.h"

}  // namespace

constinit const Kernels kAvx2Kernels = make_kernels<Avx2Lanes, Avx2Lanes, Avx2Lanes>("avx2");

}  // namespace dak::cpu
