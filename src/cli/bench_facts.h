// The facts without which a figure means nothing: machine, build, model, command line.
#pragma once

#include <string_view>

#include "cli/bench.h"

namespace dak {

// What an error says of a file that --output cannot write.
inline constexpr std::string_view kOutputFix = "check the folder of --output";

// Opened for the GPU that the cells run on; nullopt on the CPU or without NVML.
std::optional<NvmlDevice> nvml_of(const Device& device);

// Of this machine and this build, without a device.
OrderedRow host_facts();
// Ask after the tiers were probed: an idle PCIe link may have trained down.
OrderedRow machine_facts(const Device& device, const std::vector<Tier>& tiers,
                         const std::optional<NvmlDevice>& nvml);
OrderedRow model_facts(const ModelFiles& files, const DecodeBench& bench,
                       const std::vector<Tier>& tiers);
OrderedRow settings_facts(const DecodeBench& bench);

// This process's own, "dak bench decode ...".
std::string command_line();

}  // namespace dak
