#include "base/numbers.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace dak {
namespace {

template <typename Number>
Number parse_number(std::string_view text, std::string_view where, std::string_view problem) {
  Number value{};
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, value);
  if (stop == end && status == std::errc::result_out_of_range) {
    throw_invalid(where, {}, text, "is out of range");
  }
  if (status != std::errc() || stop != end) throw_invalid(where, {}, text, problem);
  return value;
}

}  // namespace

Amount read_amount(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  Amount amount;
  amount.negative = text.starts_with('-');
  if (amount.negative || text.empty() || kDigits.find(text.front()) == std::string_view::npos) {
    return amount;
  }
  // Neither exponents nor words such as nan: a size has none.
  size_t end = text.find_first_not_of("0123456789.");
  end = std::min(end, text.size());
  const auto [stop, status] =
      std::from_chars(text.data(), text.data() + end, amount.value, std::chars_format::fixed);
  if (stop != text.data() + end) return amount;
  if (status != std::errc{}) amount.value = HUGE_VAL;  // more digits than a double holds
  amount.number = text.substr(0, end);
  while (end < text.size() && text[end] == ' ') ++end;
  for (const char c : text.substr(end)) {
    amount.unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return amount;
}

std::string_view read_tokens(std::string_view text, int64_t& tokens) {
  const Amount amount = read_amount(text);
  if (amount.negative) return "is a negative number of tokens";
  if (amount.number.empty()) return "is not a number of tokens";
  double scale = 1;
  if (amount.unit == "k") scale = 1024;
  if (amount.unit == "m") scale = 1024.0 * 1024;
  if (!amount.unit.empty() && scale == 1) return "is not a number of tokens";
  const double value = amount.value * scale;
  if (!(value <= 0x1p50)) return kTooLarge;
  if (value != std::floor(value)) return "is not a whole number of tokens";
  tokens = static_cast<int64_t>(value);
  return {};
}

int64_t parse_tokens(std::string_view text, std::string_view where) {
  int64_t tokens = 0;
  const std::string_view problem = read_tokens(text, tokens);
  if (!problem.empty()) throw_invalid(where, {}, text, problem, "write 4096, 8k (8192) or 1m");
  return tokens;
}

int64_t parse_whole(std::string_view text, std::string_view where) {
  return parse_number<int64_t>(text, where, "is not a whole number");
}

uint64_t parse_unsigned(std::string_view text, std::string_view where) {
  return parse_number<uint64_t>(text, where, "is not a whole number from 0 on");
}

double parse_real(std::string_view text, std::string_view where) {
  const auto value = parse_number<double>(text, where, "is not a number");
  if (!std::isfinite(value)) throw_invalid(where, {}, text, "is not a finite number");
  return value;
}

}  // namespace dak
