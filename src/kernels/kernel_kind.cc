#include "kernels/kernel_kind.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/choice.h"
#include "base/error.h"

namespace dak {
namespace {

constexpr std::array kKinds{KernelKind::kAuto, KernelKind::kTma, KernelKind::kPlain};
constexpr int kLeastMajor = 8;  // cp.async, and mma.sync of bf16
constexpr std::string_view kTmaArchitecture = "90a";

// Whether code for one architecture, "80" or "90a", runs on the GPU: on its minor version and the
// later ones, but with the suffix a on that one alone.
bool runs_on(std::string_view architecture, ComputeCapability gpu) {
  int number = 0;
  std::from_chars(architecture.data(), architecture.data() + architecture.size(), number);
  const int minor = number % 10;
  if (number / 10 != gpu.major) return false;
  return architecture.ends_with('a') ? minor == gpu.minor : minor <= gpu.minor;
}

// "sm_80, sm_90a"
std::string listed(std::string_view architectures) {
  std::string list = "sm_";
  for (const char c : architectures) list += c == ',' ? ", sm_" : std::string(1, c);
  return list;
}

std::string why_not(std::string_view architectures, ComputeCapability gpu, bool plain) {
  if (gpu.major < kLeastMajor) {
    return fmt::format("compute capability {}.{}, and dak needs {}.0", gpu.major, gpu.minor,
                       kLeastMajor);
  }
  const bool hopper = gpu.major == 9 && gpu.minor == 0;
  if (plain && !hopper) {
    return fmt::format("dak's TMA kernels are for compute capability 9.0, and this is {}.{}",
                       gpu.major, gpu.minor);
  }
  return fmt::format(
      "this dak was built for {}: for this GPU build it with -DDAK_CUDA_ARCHITECTURES={}",
      listed(architectures),
      hopper ? std::string(kTmaArchitecture) : fmt::format("{}{}", gpu.major, gpu.minor));
}

}  // namespace

std::string_view name(KernelKind kind) {
  switch (kind) {
    case KernelKind::kAuto:
      return "auto";
    case KernelKind::kTma:
      return "tma";
    case KernelKind::kPlain:
      return "plain";
  }
  return "unknown";
}

KernelKind parse_kernel_kind(std::string_view text, std::string_view flag) {
  for (const KernelKind kind : kKinds) {
    if (text == name(kind)) return kind;
  }
  std::vector<std::string> names;
  names.reserve(std::size(kKinds));
  for (const KernelKind kind : kKinds) names.emplace_back(name(kind));
  throw_unknown(flag, text, "are no kernels of dak", names);
}

KernelSupport kernel_support(std::string_view architectures, ComputeCapability gpu) {
  KernelSupport support;
  for (size_t begin = 0; begin < architectures.size();) {
    const size_t end = std::min(architectures.find(',', begin), architectures.size());
    const std::string_view architecture = architectures.substr(begin, end - begin);
    if (gpu.major >= kLeastMajor && runs_on(architecture, gpu)) {
      support.plain = true;
      support.tma = support.tma || architecture == kTmaArchitecture;
    }
    begin = end + 1;
  }
  if (!support.tma) support.missing = why_not(architectures, gpu, support.plain);
  return support;
}

KernelKind choose_kernels(KernelKind asked, const KernelSupport& support) {
  if (asked == KernelKind::kAuto && support.tma) return KernelKind::kTma;
  if (asked == KernelKind::kTma && support.tma) return asked;
  if (asked != KernelKind::kTma && support.plain) return KernelKind::kPlain;
  throw_unsupported("--kernels", {}, name(asked), support.missing,
                    support.plain ? "use --kernels plain" : "use --device cpu");
}

}  // namespace dak
