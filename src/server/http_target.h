// What a request names: its target (RFC 9112, section 3.2) and hosts (RFC 3986, section 3.2).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dak {

struct HttpTarget {
  std::string path;  // without the query; "*" of OPTIONS *
  std::string host;  // of a whole URI, as host_of_authority gives it; else empty
};

// Throws HttpRefusal (400; 501 for CONNECT).
HttpTarget parse_http_target(std::string_view method, std::string_view target);

// The host of "name", "name:80", "127.0.0.1" or "[::1]:80": in lower case, without port and
// brackets; nothing where it is none.
std::optional<std::string> host_of_authority(std::string_view authority);

// 127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104, as host_of_authority gives them.
bool is_loopback_address(const std::string& host);

}  // namespace dak
