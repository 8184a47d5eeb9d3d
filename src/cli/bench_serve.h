// `dak bench serve`: a load on a server, and how long its answers take.
#pragma once

#include "cli/bench.h"
#include "cli/commands.h"
#include "server/load_generator.h"

namespace dak {

// What many requests come to. `whole_s`: from the first one's arrival to the last one's end.
struct LoadTargets {
  double first_token_s = 0;  // 0: any
  double per_token_s = 0;
};
OrderedRow load_row(const std::vector<LoadResult>& results, const LoadTargets& targets);

Command add_bench_serve(CLI::App& bench);

}  // namespace dak
