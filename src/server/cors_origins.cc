#include "server/cors_origins.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "base/error.h"
#include "server/http_target.h"

namespace dak {
namespace {

constexpr std::string_view kAny = "*";
constexpr std::pair<std::string_view, std::string_view> kOwnPorts[] = {{"http", ":80"},
                                                                       {"https", ":443"}};

bool is_uri_scheme(std::string_view text) {
  const auto is_letter = [](unsigned char c) { return std::isalpha(c) != 0; };
  return !text.empty() && is_letter(static_cast<unsigned char>(text.front())) &&
         std::ranges::all_of(text, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '+' || c == '-' || c == '.';
         });
}

// Empty: it is none.
std::string origin_of(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const size_t colon = text.find("://");
  if (colon == text.npos || !is_uri_scheme(std::string_view(text).substr(0, colon))) return {};
  const std::string_view authority = std::string_view(text).substr(colon + 3);
  // Browsers know no pattern of hosts.
  if (!host_of_authority(authority) || authority.ends_with(':') ||
      authority.find('*') != authority.npos) {
    return {};
  }
  for (const auto& [scheme, port] : kOwnPorts) {
    if (text.starts_with(std::string(scheme) + "://") && authority.ends_with(port) &&
        (authority.ends_with("]" + std::string(port)) || std::ranges::count(authority, ':') == 1)) {
      text.resize(text.size() - port.size());
      break;
    }
  }
  return text;
}

}  // namespace

void CorsOrigins::add(const std::string& origin, std::string_view flag) {
  std::string known = origin == kAny ? origin : origin_of(origin);
  if (known.empty()) {
    throw_invalid(flag, {}, origin, "is no origin, as browsers send it: scheme://host[:port]",
                  "e.g. https://page.example, without a path, or *");
  }
  origins_.push_back(std::move(known));
}

std::string CorsOrigins::allowed(const std::string& origin) const {
  const auto has = [this](std::string_view one) {
    return std::ranges::find(origins_, one) != origins_.end();
  };
  if (has(kAny)) return std::string(kAny);
  return has(origin) ? origin : std::string();
}

}  // namespace dak
