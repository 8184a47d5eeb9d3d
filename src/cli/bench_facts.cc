#include "cli/bench_facts.h"

#include <fmt/chrono.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "cli/build_facts.h"
#include "hardware/cuda_device.h"

namespace dak {
namespace {

std::string now_utc() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

// The first "key : value" line of a file of such lines.
std::string value_in(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t value = line.find_first_not_of(": \t", key.size());
    return value == std::string::npos ? "" : line.substr(value);
  }
  return {};
}

int64_t host_ram_bytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
}

std::optional<CudaDevice> gpu_of(const Device& device) {
  if (device.backend != Backend::kCuda) return std::nullopt;
  return cuda_devices().at(static_cast<size_t>(device.ordinal));
}

}  // namespace

std::optional<NvmlDevice> nvml_of(const Device& device) {
  const std::optional<CudaDevice> gpu = gpu_of(device);
  return gpu ? NvmlDevice::open(gpu->pci_bus_id) : std::nullopt;
}

OrderedRow host_facts() {
  return {{"date_utc", now_utc()},
          {"dak_version", build::kVersion},
          {"dak_commit", build::kCommit},
          {"build", fmt::format("{}, {}{}", build::kCompiler, build::kBuildType,
                                build::kSanitized ? ", sanitized" : "")},
          {"cpu", value_in("/proc/cpuinfo", "model name")},
          {"cpu_threads", sysconf(_SC_NPROCESSORS_ONLN)},
          {"host_ram_bytes", host_ram_bytes()}};
}

OrderedRow machine_facts(const Device& device, const std::vector<Tier>& tiers,
                         const std::optional<NvmlDevice>& nvml) {
  const std::optional<CudaDevice> gpu = gpu_of(device);
  OrderedRow facts = host_facts();
  facts["device"] = gpu ? fmt::format("cuda:{}", device.ordinal) : "cpu";
  facts["gpu"] = gpu ? OrderedRow(gpu->name) : OrderedRow(nullptr);
  facts["kernels"] = gpu ? OrderedRow(name(device.kernels)) : OrderedRow(nullptr);
  facts["gpu_memory_bytes"] = gpu ? OrderedRow(gpu->total_bytes) : OrderedRow(nullptr);
  facts["driver"] = or_null(nvml ? nvml->driver_version() : std::nullopt);
  facts["cuda_runtime"] = gpu ? OrderedRow(build::kCuda) : OrderedRow(nullptr);
  facts["pcie_generation"] = or_null(nvml ? nvml->pcie_generation() : std::nullopt);
  facts["pcie_width"] = or_null(nvml ? nvml->pcie_width() : std::nullopt);
  facts["tiers"] = OrderedRow::array();
  for (const Tier& tier : tiers) {
    facts["tiers"].push_back({{"name", tier.name},
                              {"kind", name(tier.kind)},
                              {"channel", tier.channel},
                              {"capacity_bytes", tier.capacity_bytes},
                              {"gb_s", tier.read_bytes_per_s / kGiga}});
  }
  facts["matched_ratio"] = matched_ratio(tiers);
  return facts;
}

OrderedRow model_facts(const ModelFiles& files, const DecodeBench& bench,
                       const std::vector<Tier>& tiers) {
  EngineOptions options = bench.engine;
  options.offload_ratio = 0;
  // The tiers may be too small for that: only the sizes are of interest.
  std::vector<Tier> boundless = tiers;
  for (Tier& tier : boundless) tier.capacity_bytes = INT64_MAX;
  const Plan plan = plan_model(files, options, boundless);
  OrderedRow facts;
  facts["name"] = files.config.name;
  facts["family"] = files.config.family;
  facts["layers"] = files.config.layers;
  facts["dtype"] = plan.operands.empty() ? "" : std::string(name(plan.operands[0].operand.dtype));
  facts["weight_bytes"] = plan.weight_bytes();
  facts["synthetic_seed"] = or_null(options.synthetic_seed);
  return facts;
}

OrderedRow settings_facts(const DecodeBench& bench) {
  OrderedRow facts;
  facts["past_tokens"] = bench.past_tokens.value_or(0);
  facts["steps"] = bench.steps;
  facts["repeats"] = bench.repeats;
  facts["warmup_steps"] = bench.warmup_steps;
  const std::optional<PlacementPolicy>& policy = bench.engine.placement;
  facts["placement"] = policy ? OrderedRow(name(*policy)) : OrderedRow(nullptr);
  return facts;
}

std::string command_line() {
  std::ifstream file("/proc/self/cmdline");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t program_end = text.find('\0');
  if (program_end == std::string::npos) return "dak";
  text = "dak" + text.substr(program_end);  // not where it lies on this machine
  if (text.back() == '\0') text.pop_back();
  for (char& c : text) {
    if (c == '\0') c = ' ';
  }
  return text;
}

}  // namespace dak
