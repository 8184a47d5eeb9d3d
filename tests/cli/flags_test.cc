// Every flag of every command, found by --help: those of one kind read the same values and refuse
// the same ones by name.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "process.h"

namespace dak {
namespace {

using Words = std::vector<std::string>;

// As "--context TOKENS": the first of its names and what --help calls its value; "" for a switch.
struct Flag {
  std::string name;
  std::string kind;
};

struct Help {
  Words command;  // "bench", "serve"
  std::string text;
  std::vector<Flag> flags;
  Words positionals;
};

Words split(const std::string& text, char separator) {
  Words words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
  return words;
}

Help read_help(const Words& command) {
  Words arguments = command;
  arguments.emplace_back("--help");
  Help help{.command = command, .text = run_dak(arguments).out, .flags = {}, .positionals = {}};
  bool in_positionals = false;
  for (const std::string& line : split(help.text, '\n')) {
    if (!line.starts_with("  ")) in_positionals = line.starts_with("Positionals");
    if (!line.starts_with("  ") || line.starts_with("   ")) continue;
    std::istringstream words(line);
    std::string names;
    std::string kind;
    words >> names >> kind;
    if (in_positionals) help.positionals.push_back(names);
    if (!names.starts_with('-')) continue;
    // Past the first column stands the description.
    if (line.size() > 34 && line.find(kind, names.size()) >= 32) kind.clear();
    Words all = split(names, ',');
    const auto longer =
        std::ranges::find_if(all, [](const std::string& name) { return name.starts_with("--"); });
    const std::string& name = longer == all.end() ? all[0] : *longer;
    help.flags.push_back({.name = name.substr(0, name.find('{')), .kind = kind});
  }
  return help;
}

const std::vector<Help>& every_help() {
  static const std::vector<Help> all = [] {
    std::vector<Help> found;
    for (const Words& command :
         {Words{}, Words{"run"}, Words{"plan"}, Words{"probe"}, Words{"inspect"}, Words{"serve"},
          Words{"bench"}, Words{"bench", "decode"}, Words{"bench", "prefill"},
          Words{"bench", "workload"}, Words{"bench", "serve"}}) {
      found.push_back(read_help(command));
    }
    return found;
  }();
  return all;
}

// The command with the flag, on no model at all: what is wrong with the flag is said first.
ProcessResult with_flag(const Help& help, const std::string& flag, const std::string& value) {
  Words arguments = help.command;
  if (!help.positionals.empty()) arguments.emplace_back("no-such-model");
  arguments.push_back(flag + "=" + value);
  if (!help.command.empty() && help.command.back() == "serve" && flag != "--port") {
    arguments.emplace_back("--port=" + std::string(help.command.size() == 1 ? "0" : "9"));
  }
  if (help.command == Words{"bench", "workload"}) {
    arguments.insert(arguments.end(), {"--workload", "decode"});
  }
  return run_dak(arguments);
}

std::string what(const Help& help) {
  std::string text = "dak";
  for (const std::string& word : help.command) text += " " + word;
  return text;
}

void expect_refused(const Help& help, const Flag& flag, const Words& values,
                    const std::string& problem) {
  for (const std::string& value : values) {
    const ProcessResult result = with_flag(help, flag.name, value);
    EXPECT_EQ(result.status, 2) << what(help) << " " << flag.name << "=" << value << result.err;
    EXPECT_EQ(result.out, "") << what(help);
    EXPECT_NE(result.err.find(problem), std::string::npos)
        << what(help) << " " << flag.name << "=" << value << ": " << result.err;
  }
}

bool is_known(const std::string& kind) {
  static const std::set<std::string> kinds{"",           "TEXT",          "INT",          "UINT",
                                           "FLOAT",      "SIZE",          "SIZE,...",     "TOKENS",
                                           "TOKENS,...", "TOKENS-TOKENS", "TIER=SIZE,..."};
  return kinds.contains(kind);
}

TEST(Flags, AreOfKnownKinds) {
  size_t flags = 0;
  for (const Help& help : every_help()) {
    for (const Flag& flag : help.flags) {
      EXPECT_TRUE(is_known(flag.kind)) << what(help) << " " << flag.name << " " << flag.kind;
      ++flags;
    }
  }
  EXPECT_GT(flags, 100U);
}

// What a flag counts in is seen in its text: tokens are never plain numbers, nor are bytes.
TEST(Flags, OfTokensAndBytesSaySo) {
  for (const Help& help : every_help()) {
    for (const Flag& flag : help.flags) {
      const bool number = flag.kind == "INT" || flag.kind == "UINT" || flag.kind == "TEXT";
      for (const std::string counted : {"token", "context", "prompt-", "prefix", "budget", "body",
                                        "window", "chunk", "memory", "size"}) {
        EXPECT_FALSE(number && flag.name.find(counted) != std::string::npos)
            << what(help) << " " << flag.name << " " << flag.kind;
      }
    }
  }
}

TEST(Flags, OfSizesRefuseTheSameValues) {
  for (const Help& help : every_help()) {
    for (Flag flag : help.flags) {
      if (flag.kind.find("SIZE") == std::string::npos) continue;
      Words values{"24", "-1GiB", "nan", "9999999TiB", "1GiBs"};
      if (flag.kind.starts_with("TIER")) {
        for (std::string& value : values) value.insert(0, "local,host=");
      }
      expect_refused(help, flag, values, flag.kind == "SIZE" ? "': " : flag.name.substr(0, 2));
      expect_refused(help, flag, {values[0]}, "is a size without a unit");
      expect_refused(help, flag, {values[1]}, "is a negative size");
    }
  }
}

TEST(Flags, OfTokensReadThousandsAndRefuseTheSameValues) {
  for (const Help& help : every_help()) {
    for (const Flag& flag : help.flags) {
      if (flag.kind.find("TOKENS") == std::string::npos) continue;
      expect_refused(help, flag, {"8kb", "8k9", "nan", "many", "0x10"},
                     "is not a number of tokens");
      expect_refused(help, flag, {"-8k", "-1"}, "is a negative number of tokens");
      expect_refused(help, flag, {"1.5"}, "is not a whole number of tokens");
      expect_refused(help, flag, {"99999999999999999999"}, "is too large");
      const ProcessResult good = with_flag(help, flag.name, "8k");
      EXPECT_EQ(good.err.find(flag.name), std::string::npos) << what(help) << good.err;
      EXPECT_EQ(good.status, 1) << what(help) << " " << flag.name << good.err;
    }
  }
}

TEST(Flags, OfNumbersReadThemToTheirEnd) {
  for (const Help& help : every_help()) {
    for (const Flag& flag : help.flags) {
      if (flag.kind == "INT" || flag.kind == "UINT") {
        expect_refused(help, flag, {"7x", "0x10", "1.5"}, flag.name);
        expect_refused(help, flag, {"99999999999999999999999"}, flag.name);
      }
      if (flag.kind == "UINT") expect_refused(help, flag, {"-1"}, "from 0 on");
      if (flag.kind == "FLOAT")
        expect_refused(help, flag, {"nan", "inf", "1e999", "1x"}, flag.name);
    }
  }
}

// One letter of a flag's name changed, in every command.
TEST(Flags, ThatAreMisspeltAreSuggested) {
  for (const Help& help : every_help()) {
    for (const Flag& flag : help.flags) {
      if (flag.name.size() < 6) continue;
      std::string typo = flag.name;
      typo.erase(4, 1);
      const ProcessResult result = with_flag(help, typo, "1");
      EXPECT_EQ(result.status, 2) << what(help) << " " << typo;
      EXPECT_NE(result.err.find("did you mean --"), std::string::npos)
          << typo << ": " << result.err;
      EXPECT_NE(result.err.find(what(help) + " --help"), std::string::npos) << result.err;
      EXPECT_EQ(result.out, "");
    }
  }
}

// What stands below the flags, and the examples, are a command's own.
TEST(Flags, AHelpTellsNothingOfAnotherCommand) {
  std::map<std::string, std::string> said;  // by which command
  for (const Help& help : every_help()) {
    // `dak bench` is `dak bench decode`.
    const bool decode = help.command == Words{"bench", "decode"};
    const std::string command = decode ? "dak bench" : what(help);
    for (const std::string& line : split(help.text, '\n')) {
      EXPECT_TRUE(!line.starts_with("  dak ") || line.starts_with("  " + command + " "))
          << what(help) << ": " << line;
      if (line.size() < 24 || line.starts_with(' ')) continue;
      const auto [first, is_new] = said.emplace(line, command);
      EXPECT_TRUE(is_new || first->second == command || line.ends_with(':'))
          << what(help) << " and " << first->second << ": " << line;
    }
  }
}

struct Typo {
  Words arguments;
  Words expected;
};

TEST(Commands, ThatAreMisspeltAreSuggested) {
  const std::vector<Typo> typos{
      {{"serv", "m"}, {"'serv'", "did you mean serve?", "known: run, plan"}},
      {{"rnu"}, {"did you mean run?", "dak --help"}},
      {{"Inspect", "m"}, {"did you mean inspect?"}},
      {{"translate"}, {"'translate'", "known: run, plan", "dak --help"}},
      {{"bench", "serv", "--port", "1"}, {"dak bench", "did you mean serve?", "decode"}},
      {{"bench", "prefil", "m"}, {"did you mean prefill?"}},
      {{"help", "sevre"}, {"did you mean serve?"}},
      {{}, {"subcommand", "dak --help"}},
      {{"--hepl"}, {"did you mean --help?"}},
      {{"run"}, {"MODEL", "dak run --help"}},
      {{"run", "m", "n", "o"}, {"dak run", "'n'", "an argument too many", "dak run --help"}},
      {{"run", "--contxt", "8k", "m"}, {"'--contxt'", "did you mean --context?"}},
      {{"run", "--bogus=1"}, {"'--bogus'", "no flag of this command", "dak run --help"}},
      {{"bench", "serve", "--prot", "1"}, {"did you mean --port?", "dak bench serve --help"}},
      {{"run", "m", "-p"}, {"--prompt", "dak run --help"}},
      {{"run", "m", "--offload-ratio", "0.1", "--hbm-budget", "1GiB"}, {"excludes"}}};
  for (const Typo& typo : typos) {
    const ProcessResult result = run_dak(typo.arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    for (const std::string& part : typo.expected) {
      EXPECT_NE(result.err.find(part), std::string::npos) << part << " in " << result.err;
    }
  }
}

TEST(Values, ThatAreMisspeltAreSuggested) {
  const std::vector<Typo> typos{
      {{"run", "m", "--mode", "drect"}, {"did you mean direct?", "prefetch, uva or resident"}},
      {{"run", "m", "--kernels", "tam"}, {"did you mean tma?", "auto, tma or plain"}},
      {{"run", "m", "--dtype", "bf61"}, {"did you mean bf16?", "f32, f16 or bf16"}},
      {{"run", "m", "--kv-dtype", "int8"}, {"use f32, f16 or bf16"}},
      {{"run", "m", "--placement", "gredy"}, {"did you mean greedy?", "uniform or greedy"}},
      {{"run", "m", "--device", "cud"}, {"did you mean cuda?", "cuda:N"}},
      {{"run", "m", "--tiers", "locl,host"}, {"did you mean local?", "peer:GPU"}},
      {{"run", "m", "--tiers", "hbm"}, {"is not a tier", "local, host"}},
      {{"run", "m", "--workload", "decod"}, {"did you mean decode?"}},
      {{"run", "m", "--workload", "decode:contxt=8k"}, {"did you mean context?"}},
      {{"bench", "m", "--format", "jsn"}, {"did you mean json?", "md, csv or json"}},
      {{"bench", "m", "--mode", "direct,prefech"}, {"did you mean prefetch?"}},
      {{"bench", "serve", "--format", "cvs"}, {"did you mean csv?"}}};
  for (const Typo& typo : typos) {
    const ProcessResult result = run_dak(typo.arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_EQ(result.out, "");
    for (const std::string& part : typo.expected) {
      EXPECT_NE(result.err.find(part), std::string::npos) << part << " in " << result.err;
    }
  }
  const std::string config = std::string(DAK_SOURCE_DIR) + "/configs/llama-3.1-70b";
  EXPECT_NE(run_dak({"plan", config, "--hardware", "h20"}).err.find("did you mean h200?"),
            std::string::npos);
}

TEST(Commands, SayVersionAndHelpInEveryWay) {
  const std::string version = run_dak({"--version"}).out;
  EXPECT_NE(version.find("dak 0."), std::string::npos);
  for (const char* way : {"-v", "-V", "version"}) {
    const ProcessResult result = run_dak({way});
    EXPECT_EQ(result.status, 0) << way;
    EXPECT_EQ(result.out, version) << way;
  }
  EXPECT_EQ(run_dak({"help"}).out, run_dak({"--help"}).out);
  EXPECT_EQ(run_dak({"help", "bench", "serve"}).out, run_dak({"bench", "serve", "-h"}).out);
}

}  // namespace
}  // namespace dak
