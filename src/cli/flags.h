// What CLI11 does not do: flags of one kind read alike and to their end, a command's help is its
// own, and a misspelt word is told what it may have meant.
#pragma once

#include <string>
#include <vector>

// CLI11 takes seconds to compile: only what parses flags includes it.
namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace dak {

// A command that takes over neither the footer nor the heading of its parent's flags.
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& description);

// The option's value is a size (parse_bytes; the text is kept) or a number of tokens (parse_tokens;
// becomes digits): SIZE and TOKENS in --help, and refused by the flag's name.
CLI::Option* as_size(CLI::Option* option);
CLI::Option* as_tokens(CLI::Option* option);

// Lists and ranges of them are read by their command; --help names them so.
inline constexpr const char* kSizeList = "SIZE,...";
inline constexpr const char* kTokensList = "TOKENS,...";
inline constexpr const char* kTokensRange = "TOKENS-TOKENS";

// Numbers of every command and flag are read to their end, decimally, and are finite.
void check_numbers(CLI::App& app);

// The words of a command line with `help` and `version`, which are flags, put as such. Throws
// kInvalidArgument for a command that is not known.
std::vector<std::string> command_words(int argc, char** argv, const CLI::App& app);

// After a parse that failed or left words over: throws kInvalidArgument for the first of them.
void check_leftovers(const CLI::App& app);

// "dak bench serve": the command that the parse came to.
std::string parsed_command(const CLI::App& app);

}  // namespace dak
