// Numbers as people write them, read to their end: "8k" tokens, "-2", "0.5".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dak {

// "1.5 GiB" in its parts.
struct Amount {
  bool negative = false;    // then there is nothing else
  std::string_view number;  // digits with a point at most; empty: there is none
  double value = 0;         // of the number; infinite past what a double holds
  std::string unit;         // all that follows it, in lower case
};

Amount read_amount(std::string_view text);

// "4096", "8k" (8192), "1.5k", "1m" (1024 * 1024): a whole number of tokens. Throws
// kInvalidArgument naming `where` on anything else.
int64_t parse_tokens(std::string_view text, std::string_view where);

// As parse_tokens, for a caller that says itself what is wrong: returns it, "" if nothing.
inline constexpr std::string_view kTooLarge = "is too large";
std::string_view read_tokens(std::string_view text, int64_t& tokens);

// Decimal digits with a - before them at most. Throw kInvalidArgument naming `where`.
int64_t parse_whole(std::string_view text, std::string_view where);
uint64_t parse_unsigned(std::string_view text, std::string_view where);
// A finite number: 0.5, -2, 1e-3. Throws likewise.
double parse_real(std::string_view text, std::string_view where);

}  // namespace dak
