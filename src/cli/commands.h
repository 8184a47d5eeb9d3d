// The commands of `dak`. Each adds itself to the application and returns what runs it.
#pragma once

#include <functional>

// CLI11 takes seconds to compile: only what parses flags includes it.
namespace CLI {
class App;
}  // namespace CLI

namespace dak {

using Command = std::function<int()>;  // exit status

Command add_run(CLI::App& app);
Command add_plan(CLI::App& app);
Command add_probe(CLI::App& app);
Command add_inspect(CLI::App& app);
Command add_bench(CLI::App& app);
Command add_serve(CLI::App& app);

}  // namespace dak
