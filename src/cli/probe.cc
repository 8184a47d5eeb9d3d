#include "engine/probe.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/seconds.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/heat_map_svg.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/terminal.h"

namespace dak {
namespace {

struct ProbeFlags {
  std::string device = "auto";
  std::string output;
  std::string svg;
  int threads = 0;
  bool json = false;
};

HardwareProfile measure(const Device& device, int threads) {
  const InterruptGuard interrupt;
  ProbeLine line;
  return probe_hardware(device, threads, [&](const std::string& what, double share) {
    if (interrupt.flag()) throw Interrupted();
    line.show(what, share);
  });
}

int run(const ProbeFlags& flags) {
  check_threads(flags.threads);
  const DeviceSelection selection = select_device(flags.device);
  if (!selection.note.empty()) print_err("dak: {}\n", selection.note);
  const ProfileKey key = profile_key(selection.device, flags.threads);
  std::filesystem::path file = flags.output;
  if (flags.output.empty()) {
    file = profile_cache_file(key);
    const std::string note = load_cached_profile(key).note;
    if (!note.empty()) print_err("dak: {}; it is replaced\n", note);
  }
  const auto start = std::chrono::steady_clock::now();
  const HardwareProfile profile = measure(selection.device, flags.threads);
  const double took = seconds_since(start);
  save_profile(profile, file);
  const std::string map = heat_map_svg(profile);
  const std::filesystem::path svg = flags.svg.empty()
                                        ? std::filesystem::path(file).replace_extension(".svg")
                                        : std::filesystem::path(flags.svg);
  if (!map.empty()) write_text_file(svg, map, "check the folder, or use --svg FILE");
  if (map.empty() && !flags.svg.empty()) {
    print_err("dak: --svg has no effect: only a GPU has a heat map\n");
  }
  if (flags.json) {
    print_out("{}\n", nlohmann::json(profile).dump(2));
    return 0;
  }
  print_out("{}measured in {:.1f} s\nwritten: {}{}\n", profile_table(profile), took, file.string(),
            map.empty() ? "" : " and " + svg.string());
  return 0;
}

}  // namespace

Command add_probe(CLI::App& app) {
  auto flags = std::make_shared<ProbeFlags>();
  CLI::App* command = add_command(
      app, "probe", "Measure what this machine can do, once; plan and run use it from then on");
  command->add_option(
      "--device", flags->device,
      "auto (default: a GPU if there is one that dak can use), cpu, cuda or cuda:N");
  command->add_option("--threads", flags->threads,
                      "CPU threads (default: all this process may use)");
  command->add_option("--output", flags->output,
                      "Write the profile to this file instead of the cache");
  command->add_flag("--json", flags->json, "Print the profile as JSON");
  command->add_option("--svg", flags->svg,
                      "Write the heat map of a GPU's windows to this file (default: beside the "
                      "profile)");
  return [flags] {
    try {
      return run(*flags);
    } catch (const Interrupted&) {
      return 128 + SIGINT;
    }
  };
}

}  // namespace dak
