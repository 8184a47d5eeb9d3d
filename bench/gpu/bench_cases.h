// The sections of dak_bench_split_matmul; each prints as it goes and returns its JSON rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gpu/bench_setup.h"

namespace dak::bench {

struct Options {
  std::string remote = "host";
  std::string json;
  std::vector<std::string> sections;  // default: all that the kernels have
  KernelKind kernels = KernelKind::kAuto;
  std::vector<int64_t> batches = {1, 8, 32, 64};
  std::vector<double> ratios = {0, 0.016, 0.05, 0.2, 0.5, 1};
  std::string only;  // shapes whose name contains this
};

struct Bench {
  const Options& options;
  const Arenas& arenas;
  const Machine& machine;
  LinkController& links;
  cudaStream_t stream;
};

using Rows = std::vector<std::string>;  // JSON objects

// Every shape x batch x ratio: verified, then timed in a graph and alone.
Rows run_matmuls(const Bench& bench, int& failures);
// HBM and link throughput against a fixed window, and under the controller.
Rows run_windows(const Bench& bench);
// The four linear layers of OPT-30B, layer after layer, with and without overlapping launches.
Rows run_chains(const Bench& bench);
// The window over time: from reset, and while a copy engine uses the same link.
Rows run_reaction(const Bench& bench);

}  // namespace dak::bench
