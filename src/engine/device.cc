#include "engine/device.h"

#include <algorithm>
#include <charconv>

#include "base/choice.h"
#include "base/error.h"
#include "base/units.h"
#include "hardware/memory_info.h"
#include "memory_cuda/arenas.h"

namespace dak {
namespace {

constexpr std::string_view kFlag = "--device";
constexpr std::string_view kCuda = "cuda";

int parse_ordinal(std::string_view text) {
  std::string_view number = text.substr(kCuda.size());
  if (number.empty()) return 0;
  number.remove_prefix(1);
  int ordinal = -1;
  const auto [end, status] = std::from_chars(number.data(), number.data() + number.size(), ordinal);
  if (status != std::errc() || end != number.data() + number.size() || ordinal < 0) {
    throw_invalid(kFlag, {}, text, "is not a GPU", "use auto, cpu, cuda or cuda:N");
  }
  return ordinal;
}

const CudaDevice& usable_device(std::string_view text, int ordinal,
                                const std::vector<CudaDevice>& devices) {
  if (devices.empty()) {
    throw_unsupported(kFlag, {}, text, no_cuda_reason(), "use --device cpu");
  }
  if (ordinal >= std::ssize(devices)) {
    throw_unsupported(kFlag, {}, text, "there is no such GPU",
                      fmt::format("use cuda:0 to cuda:{}, or --device cpu", devices.size() - 1));
  }
  const CudaDevice& device = devices[static_cast<size_t>(ordinal)];
  if (!device.unusable.empty()) {
    throw_unsupported(kFlag, {}, text, fmt::format("{}: {}", device.name, device.unusable),
                      "use --device cpu");
  }
  return device;
}

DeviceSelection on_gpu(const CudaDevice& gpu, KernelKind asked, bool automatic) {
  const KernelKind kernels = choose_kernels(asked, gpu.kernels);
  DeviceSelection selection{
      .device = {.backend = Backend::kCuda, .ordinal = gpu.ordinal, .kernels = kernels},
      .note = {}};
  const std::string gpu_text = fmt::format("using {} (cuda:{})", gpu.name, gpu.ordinal);
  if (asked == KernelKind::kAuto && kernels == KernelKind::kPlain) {
    selection.note = fmt::format(
        "{} with plain loads, since {}: no window for remote reads, and attention without tensor "
        "cores, slow over long contexts",
        gpu_text, gpu.kernels.missing);
  } else if (automatic) {
    selection.note = gpu_text;
  }
  return selection;
}

// `why` the CPU; empty: it was asked for.
DeviceSelection on_cpu(KernelKind kernels, const std::string& why) {
  if (kernels != KernelKind::kAuto) {
    const bool asked = why.empty();
    throw_unsupported(
        "--kernels", {}, name(kernels),
        asked ? "the CPU backend has none of a GPU's" : "there is no GPU to use them: " + why,
        asked ? "use --device cuda, or omit it" : "omit it");
  }
  DeviceSelection selection;
  if (!why.empty()) selection.note = "using the CPU: " + why;
  return selection;
}

DeviceSelection select_automatically(KernelKind kernels, const std::vector<CudaDevice>& devices) {
  const CudaDevice* first = nullptr;  // that can be used at all
  for (const CudaDevice& device : devices) {
    if (!device.unusable.empty()) continue;
    if (kernels != KernelKind::kTma || device.kernels.tma) {
      return on_gpu(device, kernels, /*automatic=*/true);
    }
    if (first == nullptr) first = &device;
  }
  if (first != nullptr) return on_gpu(*first, kernels, /*automatic=*/true);  // says why not
  return on_cpu(kernels, devices.empty() ? no_cuda_reason()
                                         : fmt::format("{} cannot be used: {}", devices[0].name,
                                                       devices[0].unusable));
}

[[noreturn]] void throw_too_large(const Plan& plan, int64_t need, int64_t available,
                                  std::string_view whose, std::string fix) {
  throw Error(ErrorCode::kResourceExhausted,
              {.where = plan.model,
               .field = {},
               .value = {},
               .problem = fmt::format("needs {}, and {} of {} memory are available",
                                      format_bytes(need), format_bytes(available), whose),
               .fix = std::move(fix)});
}

}  // namespace

DeviceSelection select_device(std::string_view text, KernelKind kernels) {
  return select_device(text, kernels, cuda_devices());
}

DeviceSelection select_device(std::string_view text, KernelKind kernels,
                              const std::vector<CudaDevice>& devices) {
  if (text == "cpu") return on_cpu(kernels, {});
  if (text.empty() || text == "auto") return select_automatically(kernels, devices);
  if (text != kCuda && !text.starts_with("cuda:")) {
    throw_unknown(kFlag, text, "is not a device", {"auto", "cpu", "cuda", "cuda:N"});
  }
  return on_gpu(usable_device(text, parse_ordinal(text), devices), kernels, /*automatic=*/false);
}

std::vector<Tier> cpu_tiers(double read_bytes_per_s) {
  const Tier local{.name = "local",
                   .kind = TierKind::kLocal,
                   .capacity_bytes = available_memory_bytes(),
                   .read_bytes_per_s = read_bytes_per_s,
                   .channel = "DRAM"};
  Tier host = local;
  host.name = "host";
  host.kind = TierKind::kHost;
  return {local, host};
}

std::vector<Tier> cuda_tiers(int ordinal) {
  const CudaBandwidth bandwidth = measure_cuda_bandwidth(ordinal);
  const CudaDevice device = cuda_devices().at(static_cast<size_t>(ordinal));
  return {{.name = "local",
           .kind = TierKind::kLocal,
           .node = ordinal,
           .capacity_bytes = std::max<int64_t>(1, device.free_bytes - kCudaMarginBytes),
           .read_bytes_per_s = bandwidth.local,
           .channel = "HBM"},
          {.name = "host",
           .kind = TierKind::kHost,
           .capacity_bytes = available_memory_bytes(),
           .read_bytes_per_s = bandwidth.host,
           .channel = "host link"}};
}

Tier peer_tier(int ordinal, int peer) {
  open_peer(ordinal, peer);
  const CudaDevice device = cuda_devices().at(static_cast<size_t>(peer));
  const int64_t free_bytes = device.free_bytes - kCudaMarginBytes;
  if (free_bytes <= 0) {
    throw Error(ErrorCode::kResourceExhausted,
                {.where = fmt::format("tier peer:{}", peer),
                 .field = {},
                 .value = format_bytes(device.free_bytes),
                 .problem = fmt::format("is all that GPU {} has free, and {} of it stay so", peer,
                                        format_bytes(kCudaMarginBytes)),
                 .fix = "free memory of that GPU, or use host"});
  }
  return {.name = fmt::format("peer:{}", peer),
          .kind = TierKind::kPeer,
          .node = peer,
          .capacity_bytes = free_bytes,
          .read_bytes_per_s = measure_peer_bandwidth(ordinal, peer),
          .channel = fmt::format("peer link {}", peer)};
}

void check_memory(const Plan& plan, const Device& device) {
  int64_t on_host = 0;
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const int64_t bytes = plan.bytes_in(static_cast<TierIndex>(i));
    // On the CPU backend every tier is the same DRAM: their sum must fit it.
    if (device.backend == Backend::kCpu || plan.tiers[i].kind == TierKind::kHost) {
      on_host += bytes;
    } else if (plan.tiers[i].capacity_bytes > 0 && bytes > plan.tiers[i].capacity_bytes) {
      throw_too_large(plan, bytes, plan.tiers[i].capacity_bytes, plan.tiers[i].name,
                      "offload more, or use a smaller --context");
    }
  }
  const int64_t available = available_memory_bytes();
  if (on_host > available) {
    throw_too_large(plan, on_host, available, "host",
                    "use a smaller model or --context, or raise the limit if a container sets one "
                    "(docker -m)");
  }
}

std::vector<std::unique_ptr<Arena>> make_arenas(const Plan& plan, const Device& device,
                                                const ProgressFn& progress) {
  std::vector<std::unique_ptr<Arena>> arenas;
  for (size_t i = 0; i < plan.tiers.size(); ++i) {
    const Tier& tier = plan.tiers[i];
    // What the backend allocates itself comes beside its arena.
    const int64_t bytes =
        plan.bytes_in(static_cast<TierIndex>(i)) - (i == 0 ? plan.fixed.backend_bytes : 0);
    if (device.backend == Backend::kCpu) {
      arenas.push_back(make_cpu_arena(tier));
    } else if (tier.kind == TierKind::kPeer) {
      arenas.push_back(make_peer_arena(tier, device.ordinal, bytes));
    } else if (tier.kind == TierKind::kHost) {
      arenas.push_back(make_pinned_arena(tier, device.ordinal, bytes, progress));
    } else {
      arenas.push_back(make_device_arena(tier, device.ordinal, bytes));
    }
  }
  return arenas;
}

}  // namespace dak
