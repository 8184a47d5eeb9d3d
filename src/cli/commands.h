// The commands of `dak`. Each adds itself to the application and returns what runs it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace dak {

using Command = std::function<int()>;  // exit status

Command add_run(CLI::App& app);
Command add_plan(CLI::App& app);
Command add_probe(CLI::App& app);
Command add_inspect(CLI::App& app);
Command add_bench(CLI::App& app);

}  // namespace dak
