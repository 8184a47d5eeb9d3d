#include "cli/flags.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/choice.h"
#include "base/error.h"
#include "base/numbers.h"
#include "base/units.h"

namespace dak {
namespace {

std::string flag_name(const CLI::Option* option) {
  return option->get_lnames().empty() ? option->get_name() : "--" + option->get_lnames().front();
}

// `read` returns the text that CLI11 is to see, or throws.
void read_with(CLI::Option* option,
               const std::function<std::string(const std::string&, const std::string&)>& read) {
  option->transform(CLI::Validator(
      [read, name = flag_name(option)](std::string& text) {
        text = read(text, name);
        return std::string();
      },
      "", ""));
}

std::vector<CLI::App*> commands_of(const CLI::App& app) {
  return const_cast<CLI::App&>(app).get_subcommands([](CLI::App*) { return true; });
}

std::vector<std::string> names_of(const std::vector<CLI::App*>& commands) {
  std::vector<std::string> names;
  names.reserve(commands.size());
  for (const CLI::App* command : commands) names.push_back(command->get_name());
  return names;
}

// The command furthest down of those that were parsed.
const CLI::App& deepest(const CLI::App& app) {
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  return parsed.empty() ? app : deepest(*parsed.front());
}

std::string full_name(const CLI::App& app) {
  const CLI::App* parent = app.get_parent();
  return parent == nullptr ? app.get_name() : full_name(*parent) + " " + app.get_name();
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  return flags;
}

// The word where a command is to stand. A model may stand there too: a file that is there is no
// typo.
void check_command(const CLI::App& app, const std::string& word) {
  const std::vector<CLI::App*> commands = commands_of(app);
  if (commands.empty() || word.starts_with('-')) return;
  const std::vector<std::string> names = names_of(commands);
  if (std::ranges::find(names, word) != names.end()) return;
  std::error_code failed;
  const bool needed = app.get_require_subcommand_min() > 0;
  if (!needed && (nearest_name(word, names).empty() || std::filesystem::exists(word, failed))) {
    return;
  }
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  throw_invalid(
      full_name(app), "command", word, "is not known",
      fmt::format("{}known: {}; see {} --help", did_you_mean(word, names), known, full_name(app)));
}

}  // namespace

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->footer("");
  command->option_defaults()->group("Options");
  return command;
}

CLI::Option* as_size(CLI::Option* option) {
  read_with(option, [](const std::string& text, const std::string& flag) {
    parse_bytes(text, flag);
    return text;
  });
  return option->type_name("SIZE");
}

CLI::Option* as_tokens(CLI::Option* option) {
  read_with(option, [](const std::string& text, const std::string& flag) {
    return std::to_string(parse_tokens(text, flag));
  });
  return option->type_name("TOKENS");
}

void check_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    // CLI11 alone takes 010 for 8, -1 for the largest, 1e999 and nan for numbers.
    if (type == "INT") {
      read_with(option, [](const std::string& text, const std::string& flag) {
        return std::to_string(parse_whole(text, flag));
      });
    } else if (type == "UINT") {
      read_with(option, [](const std::string& text, const std::string& flag) {
        return std::to_string(parse_unsigned(text, flag));
      });
    } else if (type == "FLOAT") {
      read_with(option, [](const std::string& text, const std::string& flag) {
        parse_real(text, flag);
        return text;
      });
    }
  }
  for (CLI::App* command : commands_of(app)) check_numbers(*command);
}

std::vector<std::string> command_words(int argc, char** argv, const CLI::App& app) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  if (words.empty()) return words;
  if (words[0] == "version") words[0] = "--version";
  if (words[0] == "help") {
    words.erase(words.begin());
    words.emplace_back("--help");
  }
  const CLI::App* at = &app;
  for (const std::string& word : words) {
    check_command(*at, word);
    const std::vector<CLI::App*> commands = commands_of(*at);
    const auto found = std::ranges::find(
        commands, word, [](const CLI::App* command) { return command->get_name(); });
    if (found == commands.end()) break;
    at = *found;
  }
  return words;
}

void check_leftovers(const CLI::App& app) {
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  if (left.empty()) return;
  const CLI::App& command = deepest(app);
  const std::string see = fmt::format("see {} --help", full_name(command));
  const auto flag = std::ranges::find_if(
      left, [](const std::string& word) { return word.size() > 1 && word.starts_with('-'); });
  if (flag == left.end()) {
    throw_invalid(full_name(command), {}, left.front(), "is an argument too many", see);
  }
  const std::string name = flag->substr(0, flag->find('='));
  throw_invalid(full_name(command), {}, name, "is no flag of this command",
                did_you_mean(name, flags_of(command)) + see);
}

std::string parsed_command(const CLI::App& app) { return full_name(deepest(app)); }

}  // namespace dak
