// Whether a value is valid to a schema: for the values of enum and const.
#pragma once

#include "server/schema/schema_source.h"

namespace dak {

// As JSON Schema has it; formats are those of text_formats.h.
bool holds(SchemaSource& source, const OrderedJson& schema, const OrderedJson& value,
           int depth = 0);
// Likewise without $ref, allOf, anyOf and oneOf, whose parts are looked at one by one, and without
// formats, which many validators take for annotations.
bool holds_alone(SchemaSource& source, const OrderedJson& schema, const OrderedJson& value);
// 1 and 1.0 are one value, objects are equal in any order.
bool same_value(const OrderedJson& a, const OrderedJson& b);
// Whether `value` is of `type`, a name of JSON Schema's.
bool is_of_type(const OrderedJson& value, std::string_view type);

}  // namespace dak
