// What a request holds its answer to: OpenAI's response_format, with the schema where other servers
// take it too, and the fields of those that say the same.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/json_field.h"
#include "text/chat_template.h"

namespace dak {

struct ResponseFormat {
  enum class Kind : uint8_t { kText, kJsonObject, kJsonSchema };
  Kind kind = Kind::kText;
  OrderedJson schema;  // kJsonSchema
  std::string param;   // kJsonSchema: the field that the schema is in
};

// Fields of a request that `response_format_of` reads or refuses.
std::span<const std::string_view> format_fields();

// `body` holds `ordered` in the order of its members: properties come in the schema's. Throws Error
// naming the field: a member that is not known, two formats, or one that dak does not have.
ResponseFormat response_format_of(const JsonField& body, const OrderedJson& ordered);

}  // namespace dak
