#include "server/schema/text_formats.h"

#include <fmt/format.h>

#include <functional>

namespace dak {
namespace {

// RFC 3339, years 1000 to 9999; 29 February in leap years alone.
std::string date() {
  const std::string leap =
      "[1-9]\\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00";
  return fmt::format(
      "(?:[1-9]\\d{{3}}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]"
      "\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|(?:{})-02-29)",
      leap);
}

std::string time() {
  return "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]"
         "\\d)";
}

// RFC 3339, appendix A; without years and months, whose length is not fixed.
std::string duration() {
  const std::string time =
      "T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,4}S)";
  return fmt::format("P(?:\\d{{1,4}}W|\\d{{1,4}}D(?:{0})?|{0})", time);
}

// `version`: the digit that says it.
std::string uuid(std::string_view version) {
  const bool any = version.empty();
  return fmt::format("[0-9a-f]{{8}}-[0-9a-f]{{4}}-{}[0-9a-f]{{3}}-{}[0-9a-f]{{3}}-[0-9a-f]{{12}}",
                     any ? "[0-9a-f]" : version, any ? "[0-9a-f]" : "[89ab]");
}

std::string hostname() {
  const std::string label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
  return fmt::format("{0}(?:\\.{0}){{0,3}}", label);
}

// Dots are between other characters; the domain has two labels or more, the last one of letters.
std::string email() {
  return "[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\\.)+[a-z]{2,"
         "12}";
}

std::string ipv4() {
  return "(?:(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
}

// All eight groups: without "::".
std::string ipv6() { return "(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"; }

// With an authority: "scheme://host", a port, a path, a query and a fragment.
std::string uri() {
  const std::string part = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*";
  return fmt::format(
      "[A-Za-z][A-Za-z0-9+.-]*://"
      "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-"
      "9-]*[A-Za-z0-9])?)*(?::[1-9]\\d{{0,3}})?(?:/{0})?(?:\\?{0})?(?:#{0})?",
      part);
}

}  // namespace

std::optional<std::string> pattern_of_format(std::string_view format) {
  const struct {
    std::string_view name;
    std::string (*pattern)();
  } kFormats[] = {
      {"date", date},
      {"time", time},
      {"duration", duration},
      {"email", email},
      {"hostname", hostname},
      {"ipv4", ipv4},
      {"ipv6", ipv6},
      {"uri", uri},
      {"date-time", [] { return date() + "T" + time(); }},
      {"uuid", [] { return uuid(""); }},
  };
  for (const auto& [name, pattern] : kFormats) {
    if (name == format) return fmt::format("^(?:{})$", pattern());
  }
  constexpr std::string_view kUuid = "uuid";
  const std::string_view version = format.substr(std::min(kUuid.size(), format.size()));
  if (format.starts_with(kUuid) && version.size() == 1 && version[0] >= '1' && version[0] <= '8') {
    return fmt::format("^{}$", uuid(version));
  }
  return {};
}

}  // namespace dak
