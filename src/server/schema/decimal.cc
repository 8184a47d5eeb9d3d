#include "server/schema/decimal.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace dak {
namespace {

constexpr int kMostPowers = 38;

Int128 power(int exponent) {
  Int128 value = 1;
  for (int i = 0; i < exponent; ++i) value *= 10;
  return value;
}

Int128 beyond(int places) { return power(DecimalRange::kMostDigits + places); }

// digits * 10^(exponent + places), rounded down; whether that was exact.
std::pair<Int128, bool> scaled(const Decimal& number, int places) {
  const int shift = number.exponent + places;
  const Int128 most = beyond(places);
  if (number.digits == 0) return {0, true};
  if (shift >= kMostPowers) return {number.digits < 0 ? -most : most, true};
  if (shift >= 0) {
    const Int128 factor = power(shift);
    const Int128 size = number.digits < 0 ? -number.digits : number.digits;
    if (size > most / factor) return {number.digits < 0 ? -most : most, true};
    return {number.digits * factor, true};
  }
  if (shift <= -kMostPowers) return {number.digits < 0 ? -1 : 0, false};
  const Int128 factor = power(-shift);
  Int128 value = number.digits / factor;
  const bool exact = value * factor == number.digits;
  if (!exact && number.digits < 0) --value;
  return {value, exact};
}

// One state: what has been written, as far as it matters for what may follow.
struct Prefix {
  enum class Phase : uint8_t { kStart, kMinus, kZero, kDigits, kPoint, kPlaces };
  Phase phase = Phase::kStart;
  bool negative = false;
  int digits = 0;    // before the point, or after it
  Int128 value = 0;  // of the digits so far: all of them, or the remainder where bounds are decided
  uint64_t fits = 0;  // bit r: what has r more digits before the point is inside the bounds
  bool decided = false;

  auto key() const { return std::tuple(phase, negative, digits, value, fits, decided); }
  bool operator<(const Prefix& other) const { return key() < other.key(); }
};

class Builder {
 public:
  explicit Builder(const DecimalRange& range) : range_(range) {}

  TextDfa build() {
    id_of(Prefix{});
    for (size_t i = 0; i < prefixes_.size(); ++i) {
      const Prefix prefix = prefixes_[i];
      TextDfa::State state{.edges = {}, .accepts = accepts(prefix)};
      // In the order of code points.
      if (prefix.phase == Prefix::Phase::kStart) {
        TextDfa::add_edge(state, '-', '-',
                          id_of({.phase = Prefix::Phase::kMinus, .negative = true}));
      }
      const bool whole =
          prefix.phase == Prefix::Phase::kZero || prefix.phase == Prefix::Phase::kDigits;
      if (whole && range_.places > 0) {
        Prefix next = prefix;
        next.phase = Prefix::Phase::kPoint;
        next.digits = 0;
        TextDfa::add_edge(state, '.', '.', id_of(next));
      }
      for (uint32_t digit = 0; digit < 10; ++digit) {
        TextDfa::add_edge(state, '0' + digit, '0' + digit, after(prefix, digit));
      }
      TextDfa::add_edge(state, '9' + 1, kLastCodePoint, TextDfa::kDead);
      dfa_.states.push_back(std::move(state));
    }
    return pruned(dfa_);
  }

 private:
  // Whether all, some or none of the numbers whose digits in units of the last place are from
  // `first` to `last` are inside.
  enum class Inside : uint8_t { kNone, kSome, kAll };
  Inside inside(bool negative, Int128 first, Int128 last) const {
    if (negative) std::tie(first, last) = std::pair(-last, -first);
    if (first >= range_.low && last <= range_.high) return Inside::kAll;
    return last < range_.low || first > range_.high ? Inside::kNone : Inside::kSome;
  }

  uint32_t after(const Prefix& prefix, uint32_t digit) {
    using Phase = Prefix::Phase;
    Prefix next = prefix;
    switch (prefix.phase) {
      case Phase::kStart:
      case Phase::kMinus:
        next.phase = digit == 0 ? Phase::kZero : Phase::kDigits;
        next.digits = 1;
        break;
      case Phase::kZero:
        return TextDfa::kDead;
      case Phase::kDigits:
        if (++next.digits > DecimalRange::kMostDigits) return TextDfa::kDead;
        next.fits >>= 1;
        break;
      case Phase::kPoint:
      case Phase::kPlaces:
        next.phase = Phase::kPlaces;
        next.digits = prefix.phase == Phase::kPoint ? 1 : prefix.digits + 1;
        if (next.digits > range_.places) return TextDfa::kDead;
        break;
    }
    const bool fraction = next.phase == Phase::kPlaces;
    if (prefix.decided) {
      if (!fraction) next.value = (prefix.value * 10 + digit) % range_.multiple;
      return id_of(next);
    }
    next.value = prefix.value * 10 + digit;
    if (fraction) return decide_fraction(next);
    return decide_whole(next);
  }

  uint32_t decide_whole(Prefix next) {
    const int room =
        next.phase == Prefix::Phase::kZero ? 0 : DecimalRange::kMostDigits - next.digits;
    next.fits = 0;
    bool open = false;
    for (int more = 0; more <= room; ++more) {
      const Int128 unit = power(more + range_.places);
      const Inside which = inside(next.negative, next.value * unit, next.value * unit + unit - 1);
      open = open || which == Inside::kSome;
      if (which == Inside::kAll) next.fits |= uint64_t{1} << more;
    }
    if (!open) {
      if (next.fits == 0) return TextDfa::kDead;
      next.decided = true;
      next.value %= range_.multiple;
    }
    return id_of(next);
  }

  uint32_t decide_fraction(Prefix next) {
    const Int128 unit = power(range_.places - next.digits);
    const Inside which = inside(next.negative, next.value * unit, next.value * unit + unit - 1);
    if (which == Inside::kNone) return TextDfa::kDead;
    if (which == Inside::kAll) {
      next.decided = true;
      next.value = 0;
      next.fits = 1;
    }
    return id_of(next);
  }

  bool accepts(const Prefix& prefix) const {
    using Phase = Prefix::Phase;
    if (prefix.phase == Phase::kStart || prefix.phase == Phase::kMinus ||
        prefix.phase == Phase::kPoint) {
      return false;
    }
    if (prefix.negative && prefix.phase == Phase::kZero) return false;
    if (prefix.decided) return (prefix.fits & 1) != 0 && prefix.value % range_.multiple == 0;
    const int left = prefix.phase == Phase::kPlaces ? range_.places - prefix.digits : range_.places;
    const Int128 value = prefix.value * power(left);
    return prefix.value % range_.multiple == 0 &&
           inside(prefix.negative, value, value) == Inside::kAll;
  }

  uint32_t id_of(const Prefix& prefix) {
    const auto [at, is_new] = known_.try_emplace(prefix, static_cast<uint32_t>(prefixes_.size()));
    if (is_new) prefixes_.push_back(prefix);
    return at->second;
  }

  DecimalRange range_;
  std::map<Prefix, uint32_t> known_;
  std::vector<Prefix> prefixes_;
  TextDfa dfa_;
};

}  // namespace

Decimal decimal_of(std::string_view text) {
  constexpr int kMostKept = 30;
  Decimal out;
  bool negative = false, point = false;
  int kept = 0;
  size_t at = 0;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    const char c = text[at];
    if (c == '-') {
      negative = true;
    } else if (c == '.') {
      point = true;
    } else if (kept < kMostKept) {
      out.digits = out.digits * 10 + (c - '0');
      if (out.digits != 0) ++kept;
      if (point) --out.exponent;
    } else if (!point) {
      ++out.exponent;
    }
  }
  if (at < text.size()) out.exponent += std::stoi(std::string(text.substr(at + 1)));
  if (negative) out.digits = -out.digits;
  return out;
}

Int128 lower_bound_of(const Decimal& number, int places, bool exclusive) {
  const auto [value, exact] = scaled(number, places);
  return std::clamp(value + (exact ? exclusive : 1), -beyond(places), beyond(places));
}

Int128 upper_bound_of(const Decimal& number, int places, bool exclusive) {
  const auto [value, exact] = scaled(number, places);
  return std::clamp(value - (exact && exclusive), -beyond(places), beyond(places));
}

TextDfa decimal_dfa(const DecimalRange& range) {
  if (range.low > range.high) return {};
  return Builder(range).build();
}

}  // namespace dak
