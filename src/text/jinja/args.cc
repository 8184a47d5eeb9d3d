#include "text/jinja/args.h"

#include <algorithm>

namespace dak::jinja {

Bound::Bound(std::string_view function, const Args& args,
             std::initializer_list<std::string_view> names, size_t required)
    : function_(function), values_(names.size(), nullptr) {
  if (args.positional.size() > names.size()) {
    fail(fmt::format("{}() takes at most {} arguments, {} were given", function, names.size(),
                     args.positional.size()));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.keyword) {
    const auto* it = std::find(names.begin(), names.end(), name);
    if (it == names.end() || name.empty()) {
      fail(fmt::format("{}() has no argument '{}'", function, printable(name)));
    }
    const Value*& slot = values_[static_cast<size_t>(it - names.begin())];
    if (slot != nullptr) fail(fmt::format("{}() got '{}' twice", function, name));
    slot = &value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_[i] == nullptr) {
      fail(fmt::format("{}() needs at least {} arguments", function, required));
    }
  }
}

int64_t Bound::integer(size_t i) const {
  int64_t number = 0;
  if (!as_int(*values_[i], &number)) {
    if (values_[i]->is<Undefined>()) fail_undefined(*values_[i]);
    fail(fmt::format("{}() needs an integer, not a {}", function_, type_name(*values_[i])));
  }
  return number;
}

int64_t Bound::integer(size_t i, int64_t fallback) const { return has(i) ? integer(i) : fallback; }

const std::string& Bound::string(size_t i) const {
  const std::string* text = as_string(*values_[i]);
  if (text == nullptr) {
    if (values_[i]->is<Undefined>()) fail_undefined(*values_[i]);
    fail(fmt::format("{}() needs a string, not a {}", function_, type_name(*values_[i])));
  }
  return *text;
}

}  // namespace dak::jinja
