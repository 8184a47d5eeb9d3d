#include "server/allowed_hosts.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "server/http_target.h"

namespace dak {
namespace {

// "localhost." is the same name, from the root of all names.
std::string without_root(std::string host) {
  if (host.size() > 1 && host.ends_with('.')) host.pop_back();
  return host;
}

}  // namespace

void AllowedHosts::add(const std::string& host, std::string_view flag) {
  // An IPv6 address may come with or without its brackets.
  const bool bare_ipv6 = std::ranges::count(host, ':') > 1 && !host.starts_with('[');
  const std::optional<std::string> known = host_of_authority(bare_ipv6 ? "[" + host + "]" : host);
  const bool port = !bare_ipv6 && host.rfind(':') != std::string::npos && !host.ends_with(']');
  if (!known || port) {
    throw_invalid(flag, {}, host, "is no host name or address", "e.g. dak.example, without a port");
  }
  hosts_.push_back(without_root(*known));
}

bool AllowedHosts::allow(const std::string& host) const {
  if (host.empty()) return true;
  const std::string name = without_root(host);
  return name == "localhost" || is_loopback_address(name) ||
         std::ranges::find(hosts_, name) != hosts_.end();
}

}  // namespace dak
