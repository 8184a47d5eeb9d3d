// Which of dak's GPU kernels read the weights, and which of them a build has for a GPU. No CUDA
// here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

enum class KernelKind : uint8_t {
  kAuto,   // kTma where GPU and build have it, else kPlain
  kTma,    // bulk copies by the Tensor Memory Accelerator, wgmma, a window for each link
  kPlain,  // ordinary 16-byte loads and mma.sync; remote reads have no window
};

std::string_view name(KernelKind kind);
// "auto", "tma" or "plain"; throws kInvalidArgument naming `flag` for anything else.
KernelKind parse_kernel_kind(std::string_view text, std::string_view flag);

struct ComputeCapability {
  int major = 0;
  int minor = 0;
};

struct KernelSupport {
  bool tma = false;
  bool plain = false;
  std::string missing;  // why not all of them, and what to do; empty if both are there
};

// What a build for `architectures` ("80,90a") has for such a GPU. Code for 80 runs on 8.0 to 8.9,
// code for 90a on 9.0 alone.
KernelSupport kernel_support(std::string_view architectures, ComputeCapability gpu);

// `asked`, or for kAuto the best there is. Throws kUnsupported, with the reason, for what `support`
// lacks.
KernelKind choose_kernels(KernelKind asked, const KernelSupport& support);

}  // namespace dak
