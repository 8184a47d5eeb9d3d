// Arguments of a built-in function, bound to its parameters' names.
#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace dak::jinja {

// Throws for too many or too few arguments, unknown names and doubles. A parameter named "" takes
// positional arguments only. References `args`, which must outlive it.
class Bound {
 public:
  Bound(std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
        size_t required = 0);

  bool has(size_t i) const { return values_[i] != nullptr; }
  const Value& operator[](size_t i) const { return *values_[i]; }  // must be there
  bool flag(size_t i, bool fallback) const { return has(i) ? truthy(*values_[i]) : fallback; }
  // Present and not None.
  bool given(size_t i) const { return has(i) && !values_[i]->is<None>(); }
  int64_t integer(size_t i) const;  // must be there and an int
  int64_t integer(size_t i, int64_t fallback) const;
  const std::string& string(size_t i) const;  // must be there and a string

 private:
  std::string_view function_;
  std::vector<const Value*> values_;
};

}  // namespace dak::jinja
