// The parser's view of the tokens: look, take, expect.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"

namespace dak::jinja {

class TokenStream {
 public:
  TokenStream(std::vector<Token> tokens, std::string_view where)
      : tokens_(std::move(tokens)), where_(where) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  int line() const { return current().line; }

  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_name(std::string_view name) const {
    return at(TokenKind::kName) && current().text == name;
  }
  bool at_operator(std::string_view op) const {
    return at(TokenKind::kOperator) && current().text == op;
  }

  Token take() {
    Token token = current();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool skip_name(std::string_view name) { return at_name(name) && (take(), true); }
  bool skip_operator(std::string_view op) { return at_operator(op) && (take(), true); }

  Token expect(TokenKind kind, std::string_view what) {
    if (!at(kind)) fail_expected(what);
    return take();
  }
  std::string expect_name() { return expect(TokenKind::kName, "a name").text; }
  void expect_operator(std::string_view op) {
    if (!skip_operator(op)) fail_expected(fmt::format("'{}'", op));
  }
  void expect_keyword(std::string_view name) {
    if (!skip_name(name)) fail_expected(fmt::format("'{}'", name));
  }

  [[noreturn]] void fail_expected(std::string_view what) const {
    error(fmt::format("expected {}, got {}", what, describe(current())));
  }
  [[noreturn]] void error(std::string_view problem) const {
    throw_template_error(ErrorCode::kCorrupt, where_, line(), problem);
  }
  [[noreturn]] void unsupported(std::string_view problem) const {
    throw_template_error(ErrorCode::kUnsupported, where_, line(), problem);
  }

 private:
  static std::string describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kText:
        return "text";
      case TokenKind::kPrintBegin:
        return "'{{'";
      case TokenKind::kPrintEnd:
        return "'}}'";
      case TokenKind::kBlockBegin:
        return "'{%'";
      case TokenKind::kBlockEnd:
        return "'%}'";
      case TokenKind::kString:
        return "a string";
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return "a number";
      case TokenKind::kEnd:
        return "the end of the template";
      default:
        return fmt::format("'{}'", printable(token.text));
    }
  }

  std::vector<Token> tokens_;
  std::string_view where_;
  size_t at_ = 0;
};

}  // namespace dak::jinja
