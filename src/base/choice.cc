#include "base/choice.h"

#include <algorithm>
#include <cctype>

#include "base/error.h"

namespace dak {
namespace {

constexpr size_t kLongestText = 64;    // a longer one is no typo
constexpr size_t kLeastBeginning = 3;  // letters

std::string plain(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return result;
}

size_t edits(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest_name(std::string_view text, const std::vector<std::string>& names) {
  if (text.size() > kLongestText) return {};
  const std::string wanted = plain(text);
  // Dashes alone make no name near.
  const auto letters =
      static_cast<size_t>(std::ranges::count_if(wanted, [](char c) { return c != '-'; }));
  if (letters == 0) return {};
  size_t least = std::max<size_t>(1, letters / 3) + 1;
  std::string nearest;
  for (const std::string& name : names) {
    const std::string known = plain(name);
    const bool beginning = letters >= kLeastBeginning && known.starts_with(wanted);
    const size_t distance = beginning ? 1 : edits(wanted, known);
    if (distance >= known.size() || distance > least) continue;
    // Of several that begin so, the shortest.
    if (distance == least && (nearest.empty() || name.size() >= nearest.size())) continue;
    least = distance;
    nearest = name;
  }
  return nearest;
}

std::string did_you_mean(std::string_view text, const std::vector<std::string>& names) {
  const std::string nearest = nearest_name(text, names);
  return nearest.empty() ? std::string() : fmt::format("did you mean {}? ", nearest);
}

void throw_unknown(std::string_view where, std::string_view text, std::string_view problem,
                   const std::vector<std::string>& names) {
  std::string list;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) list += i + 1 == names.size() ? " or " : ", ";
    list += names[i];
  }
  throw_invalid(where, {}, text, problem, did_you_mean(text, names) + "use " + list);
}

}  // namespace dak
