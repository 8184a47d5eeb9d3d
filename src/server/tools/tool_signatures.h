// What a request's tools are called and which types their arguments have.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace dak {

// Types of JSON values, as bits.
enum ValueTypes : uint8_t {
  kValueString = 1,
  kValueNumber = 2,
  kValueBoolean = 4,
  kValueNull = 8,
  kValueObject = 16,
  kValueArray = 32,
  kValueAny = 63,
};

class ToolSignatures {
 public:
  // `tools` as a request has them, checked; null: none.
  explicit ToolSignatures(const OrderedJson& tools);

  bool has(std::string_view name) const { return tools_.find(name) != tools_.end(); }
  // Of an argument; kValueAny where the schema does not say.
  uint8_t types(std::string_view tool, std::string_view argument) const;

 private:
  std::map<std::string, std::map<std::string, uint8_t, std::less<>>, std::less<>> tools_;
};

// Types that `schema`, a part of `root`, allows.
uint8_t types_of_schema(const OrderedJson& schema, const OrderedJson& root);

// An argument that a model wrote without quotes as JSON: what can be read as one of `types` is
// that, digit for digit; anything else is a string.
std::string typed_value(std::string_view text, uint8_t types);

}  // namespace dak
