// dak: LLM inference for models and contexts larger than GPU memory.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/licences.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/version.h"

namespace {

constexpr int kUsageError = 2;
constexpr int kFailure = 1;
// `dak plan ... | head -1`: nothing is wrong, and nobody is there to read more.
constexpr int kReaderGone = 128 + SIGPIPE;

void print_error(std::string_view message) {
  const dak::Style style(STDERR_FILENO);
  dak::print_err("{}dak: error:{} {}\n", style.red, style.reset, message);
}

// CLI11 writes a usage text after some errors; one line naming flag and fix is enough.
int print_usage_error(const CLI::ParseError& error, const CLI::App& app) {
  std::string message = error.what();
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  print_error(fmt::format("{}; see {} --help", message, dak::parsed_command(app)));
  return kUsageError;
}

void print_licences() {
  dak::print_out("{}\n{}", dak::own_licence(), dak::third_party_notices());
  throw CLI::Success();
}

// What the command line alone shows to be wrong, and not a file or the machine.
bool is_usage_error(const dak::Error& error) {
  const std::string& where = error.info().where;
  return error.code() == dak::ErrorCode::kInvalidArgument &&
         (where.starts_with('-') || where == "MODEL" || where == "dak" ||
          where.starts_with("dak "));
}

int run_main(int argc, char** argv) {
  CLI::App app{
      "LLM inference for models and contexts larger than GPU memory: part of every weight is read "
      "from local memory and the rest straight from host memory, while it computes.",
      "dak"};
  app.set_version_flag("-v,-V,--version", dak::version_text,
                       "Print version, compiler and backends, as dak version does");
  app.add_flag_callback("--licenses", print_licences,
                        "Print dak's licence and the notices of all that is linked into it");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer(
      "Examples:\n"
      "  dak run model.gguf -p \"Why is the sky blue?\"\n"
      "  dak plan path/to/config.json --local-budget 24GiB\n"
      "  dak plan configs/llama-3.1-70b --hardware gh200 --workload decode:batch=8,context=4k\n"
      "  dak serve model.gguf --port 8000\n"
      "  dak inspect model.gguf --json\n"
      "  dak bench model.gguf --batch 1,8 --ratio 0,0.2");

  using AddCommand = dak::Command (*)(CLI::App&);
  std::vector<std::pair<CLI::App*, dak::Command>> commands;
  for (const AddCommand add : {dak::add_run, dak::add_plan, dak::add_probe, dak::add_inspect,
                               dak::add_bench, dak::add_serve}) {
    dak::Command command = add(app);
    commands.emplace_back(app.get_subcommands([](CLI::App*) { return true; }).back(),
                          std::move(command));
  }
  dak::check_numbers(app);
  std::vector<std::string> words = dak::command_words(argc, argv, app);
  std::ranges::reverse(words);  // as CLI11 wants them
  try {
    app.parse(words);
  } catch (const CLI::Success& success) {  // --help, --version
    std::ostringstream text;
    const int status = app.exit(success, text, text);
    dak::print_text(text.str());
    return status;
  } catch (const CLI::ParseError& error) {
    dak::check_leftovers(app);
    return print_usage_error(error, app);
  }
  for (const auto& [subcommand, command] : commands) {
    if (subcommand->parsed()) return command();
  }
  return kUsageError;
}

// What has been printed must have arrived, also where an error ends the command.
int checked_main(int argc, char** argv) {
  int status = kFailure;
  std::string message;
  try {
    status = run_main(argc, argv);
  } catch (const dak::OutputError&) {
    throw;
  } catch (const dak::Error& error) {
    message = error.what();
    if (is_usage_error(error)) status = kUsageError;
  } catch (const std::bad_alloc&) {
    message = "out of memory; use a smaller model or --context";
  } catch (const std::exception& error) {
    message = error.what();
  }
  if (!message.empty()) {
    try {
      dak::flush_output();
    } catch (const dak::OutputError&) {
      // The error that came first says more.
    }
    print_error(message);
  }
  dak::flush_output();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  dak::secure_standard_descriptors();
  try {
    return checked_main(argc, argv);
  } catch (const dak::OutputError& error) {
    if (error.reader_gone()) return kReaderGone;
    print_error(error.what());
  }
  return kFailure;
}
