// Template source to tokens, with the whitespace rules of trim_blocks and lstrip_blocks applied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace dak::jinja {

enum class TokenKind {
  kText,        // template data, to be printed as it is
  kPrintBegin,  // {{
  kPrintEnd,    // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kString,  // text: the value, escapes resolved
  kInteger,
  kFloat,
  kOperator,  // text: "+", "**", "==", ...
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;
  int64_t integer = 0;
  double real = 0;
};

// A template that is wrong: kCorrupt; one that dak cannot do: kUnsupported. Names where and line.
[[noreturn]] void throw_template_error(ErrorCode code, std::string_view where, int line,
                                       std::string_view problem);

// Ends with a kEnd token.
std::vector<Token> tokenize(std::string_view source, std::string_view where);

}  // namespace dak::jinja
