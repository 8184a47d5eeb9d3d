// By which names a server may be asked. A page of another site can have its own name resolve to
// this machine's address (DNS rebinding): its requests then pass for the server's own page's, but
// for their Host.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dak {

class AllowedHosts {
 public:
  // A name or address without a port. Throws kInvalidArgument where `host` is none.
  void add(const std::string& host, std::string_view flag);

  // localhost, loopback addresses and what was added. `host`: HttpRequest::host; empty, which no
  // browser sends: allowed.
  bool allow(const std::string& host) const;

 private:
  std::vector<std::string> hosts_;  // in lower case
};

}  // namespace dak
