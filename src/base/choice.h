// Names that a user chooses from, and what is meant by one that is misspelt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dak {

// The name nearest to `text`; empty where none is near. Near: so few letters to put in, take out,
// change or swap with their neighbour (a third of the text's, at least one) that it may be a typo
// (optimal string alignment), or a beginning of the name. Case does not count, and _ is -.
std::string nearest_name(std::string_view text, const std::vector<std::string>& names);

// "did you mean direct? ", or nothing where no name is near: to go before a fix.
std::string did_you_mean(std::string_view text, const std::vector<std::string>& names);

// Throws kInvalidArgument: "<where>: '<text>': <problem>; did you mean direct? use direct or uva".
[[noreturn]] void throw_unknown(std::string_view where, std::string_view text,
                                std::string_view problem, const std::vector<std::string>& names);

}  // namespace dak
