#include "engine/probe.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/plan_report.h"

namespace dak {
namespace {

struct Flags {
  std::string device = "auto";
  std::string output;
  int threads = 0;
  bool json = false;
};

}  // namespace

Command add_probe(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "probe", "Measure what this machine can do, once; plan and run use it from then on");
  command->add_option(
      "--device", flags->device,
      "auto (default: a GPU if there is one that dak can use), cpu, cuda or cuda:N");
  command->add_option("--threads", flags->threads,
                      "CPU threads (default: all this process may use)");
  command->add_option("--output", flags->output,
                      "Write the profile to this file instead of the cache");
  command->add_flag("--json", flags->json, "Print the profile as JSON");
  return [flags] {
    check_threads(flags->threads);
    const DeviceSelection selection = select_device(flags->device);
    if (!selection.note.empty()) fmt::print(stderr, "dak: {}\n", selection.note);
    const HardwareProfile profile = probe_hardware(selection.device, flags->threads);
    const std::filesystem::path file =
        flags->output.empty() ? profile_cache_file(profile_key(selection.device, flags->threads))
                              : std::filesystem::path(flags->output);
    save_profile(profile, file);
    if (flags->json) {
      fmt::print("{}\n", nlohmann::json(profile).dump(2));
    } else {
      fmt::print("{}written: {}\n", profile_table(profile), file.string());
    }
    return 0;
  };
}

}  // namespace dak
