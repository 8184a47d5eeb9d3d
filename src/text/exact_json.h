// JSON whose numbers keep their digits: an integer beyond 64 bits, or a number of which a double
// would lose digits, is a value of type binary that holds its text. ChatTemplate prints such values
// as they were written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "text/chat_template.h"

namespace dak {

// `text` is valid JSON. Objects with more than `most_members` are refused (kCorrupt): finding a
// member takes time in proportion to their number.
OrderedJson parse_exact_json(std::string_view text, int64_t most_members = INT64_MAX);

// As Python's json writes it, digits as they came.
std::string exact_json_text(const OrderedJson& json);

// The same with ordinary numbers.
OrderedJson without_digits(const OrderedJson& json);

}  // namespace dak
