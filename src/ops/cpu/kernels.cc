#include "ops/cpu/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <atomic>
#include <vector>

namespace dak::cpu {
namespace {

#if defined(__x86_64__)
// clang's __builtin_cpu_supports does not know f16c before version 15.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
#endif

std::vector<const Kernels*> probe() {
  std::vector<const Kernels*> found{&kScalarKernels};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
    found.push_back(&kAvx2Kernels);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      found.push_back(&kAvx512Kernels);
    }
  }
#endif
  return found;
}

std::atomic<const Kernels*>& forced_kernels() {
  static std::atomic<const Kernels*> forced{nullptr};
  return forced;
}

}  // namespace

std::span<const Kernels* const> runnable_kernels() {
  static const std::vector<const Kernels*> found = probe();
  return found;
}

const Kernels& kernels() {
  const Kernels* forced = forced_kernels().load(std::memory_order_relaxed);
  return forced != nullptr ? *forced : *runnable_kernels().back();
}

void force_kernels(const Kernels* forced) { forced_kernels().store(forced); }

}  // namespace dak::cpu
