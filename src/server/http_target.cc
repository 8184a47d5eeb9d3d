#include "server/http_target.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>

#include "server/http.h"

namespace dak {
namespace {

constexpr int kMostPort = 65535;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool is_letter_or_digit(char c) {
  const char small = lower(c);
  return (small >= 'a' && small <= 'z') || (c >= '0' && c <= '9');
}

// RFC 3986's reg-name without the comma, which joins two fields to one.
bool is_host_char(char c) {
  return is_letter_or_digit(c) ||
         std::string_view("-._~%!$&'()*+;=").find(c) != std::string_view::npos;
}

bool is_port(std::string_view text) {
  int port = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + (c - '0');
    if (port > kMostPort) return false;
  }
  return true;
}

bool is_ipv6(const std::string& text) {
  in6_addr address{};
  return inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

[[noreturn]] void refuse(const char* reason) { throw HttpRefusal(400, reason); }

std::string path_of(std::string_view text) {
  return std::string(text.substr(0, text.find_first_of("?#")));
}

// "http://host/path?query": a server accepts it as well (RFC 9112 3.2.2).
HttpTarget parse_uri(std::string_view method, std::string_view target) {
  const size_t colon = target.find("://");
  std::string scheme(target.substr(0, std::min(colon, target.size())));
  std::ranges::transform(scheme, scheme.begin(), lower);
  if (scheme != "http" && scheme != "https") {
    refuse("the request's target is neither a path nor an http URI");
  }
  const std::string_view rest = target.substr(colon + 3);
  const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  const std::optional<std::string> host = host_of_authority(rest.substr(0, end));
  if (!host) refuse("the host in the request's target is no host name or address");
  std::string path = path_of(rest.substr(end));
  if (path.empty()) path = method == "OPTIONS" && end == rest.size() ? "*" : "/";
  return {.path = std::move(path), .host = *host};
}

}  // namespace

HttpTarget parse_http_target(std::string_view method, std::string_view target) {
  if (method == "CONNECT") throw HttpRefusal(501, "CONNECT: dak is no proxy");
  if (!std::ranges::all_of(target, [](char c) { return c > 0x20 && c < 0x7f; })) {
    refuse("the request's target has other than ASCII characters; write them as %XX");
  }
  if (target.starts_with('/')) return {.path = path_of(target), .host = {}};
  if (target == "*") {
    if (method != "OPTIONS") refuse("the target * is for OPTIONS alone");
    return {.path = "*", .host = {}};
  }
  return parse_uri(method, target);
}

std::optional<std::string> host_of_authority(std::string_view authority) {
  std::string host;
  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    host = authority.substr(1, end - 1);
    if (!is_ipv6(host)) return std::nullopt;
    port = authority.substr(end + 1);
    if (!port.empty() && port.front() != ':') return std::nullopt;
  } else {
    const size_t end = std::min(authority.find(':'), authority.size());
    host = authority.substr(0, end);
    if (host.empty() || !std::ranges::all_of(host, is_host_char)) return std::nullopt;
    port = authority.substr(end);
  }
  if (!port.empty() && !is_port(port.substr(1))) return std::nullopt;
  std::ranges::transform(host, host.begin(), lower);
  return host;
}

bool is_loopback_address(const std::string& host) {
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace dak
