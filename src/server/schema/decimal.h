// Numbers within bounds as DFAs over their decimal digits.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "server/schema/text_dfa.h"

namespace dak {

__extension__ using Int128 = __int128;

// A number in JSON as its decimal digits say it: digits * 10^exponent.
struct Decimal {
  Int128 digits = 0;
  int exponent = 0;
};
// `text`: "12", "-0.5", "1e+20"; digits beyond the 30th are cut off.
Decimal decimal_of(std::string_view text);

// Bounds of numbers with `places` digits after the point, in units of the last one.
struct DecimalRange {
  static constexpr int kMostPlaces = 15;
  static constexpr int kMostDigits = 20;  // before the point
  int places = 0;
  Int128 low = 0;
  Int128 high = 0;
  int64_t multiple = 1;  // of whole numbers alone
};

// `number` in units of 10^-places, rounded to the next one inside a bound; one further in where
// the bound is exclusive and hit. Beyond what 20 digits before the point hold, that.
Int128 lower_bound_of(const Decimal& number, int places, bool exclusive);
Int128 upper_bound_of(const Decimal& number, int places, bool exclusive);

// Texts of the numbers in the range: digits, a point and 1 to `places` digits if there are places;
// no exponent, no leading zeros, no negative zero.
TextDfa decimal_dfa(const DecimalRange& range);

}  // namespace dak
