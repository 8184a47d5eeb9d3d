// Origins of web pages that may use the API from a browser.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dak {

class CorsOrigins {
 public:
  // "*" (any), or scheme://host[:port]: kept as browsers write it, in lower case and without the
  // scheme's own port. Throws kInvalidArgument where `origin` is neither.
  void add(const std::string& origin, std::string_view flag);

  bool empty() const { return origins_.empty(); }
  // What Access-Control-Allow-Origin says to a request of this origin; empty: nothing.
  std::string allowed(const std::string& origin) const;

 private:
  std::vector<std::string> origins_;
};

}  // namespace dak
