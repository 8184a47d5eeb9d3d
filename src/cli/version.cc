#include "cli/version.h"

#include <fmt/core.h>

#include "cli/build_facts.h"
#include "hardware/cuda_device.h"
#include "ops/cpu/kernels.h"

namespace dak {

namespace {

// "CUDA 13.0.88 for sm 90a (NVIDIA H200)", or why there is none.
std::string cuda_text() {
  const std::vector<CudaDevice> devices = cuda_devices();
  if (cuda_architectures().empty()) return fmt::format("CUDA ({})", no_cuda_reason());
  std::string names;
  for (const CudaDevice& device : devices) {
    names += (names.empty() ? "" : ", ") + device.name;
    if (!device.unusable.empty()) names += ": " + device.unusable;
  }
  return fmt::format("CUDA {} for sm {} ({})", build::kCuda, cuda_architectures(),
                     names.empty() ? no_cuda_reason() : names);
}

}  // namespace

std::string version_text() {
  return fmt::format("dak {} ({})\ncompiler: {}, {}{}\nbackends: CPU ({}), {}", build::kVersion,
                     build::kCommit, build::kCompiler, build::kBuildType,
                     build::kSanitized ? ", sanitized" : "", cpu::kernels().isa, cuda_text());
}

}  // namespace dak
