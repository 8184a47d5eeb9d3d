// Expressions, by precedence from loose to tight: if-else, or, and, not, comparisons, + -, ~,
// * / // %, **, unary, then subscripts, calls, filters and tests.
#pragma once

#include <string>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace dak::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr parse_expression() { return parse_conditional(); }
  // One expression, or a tuple when commas follow; `inline_if` false leaves an "if" to the caller.
  ExprPtr parse_tuple(bool inline_if = true);
  // The filters of "{% filter x|y %}" (`starts_inline`) or "{% set a | x %}"; null when none.
  ExprPtr parse_block_filters(bool starts_inline);

  // Macros whose body is being parsed: a use of caller, kwargs or varargs is noted in all of them.
  std::vector<MacroDef*>& open_macros() { return open_macros_; }

  // Nesting of everything recursive, statements too.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    int& depth_;
  };

 private:
  ExprPtr parse_conditional();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_comparison();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters = true);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_string();
  ExprPtr parse_parentheses();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr expr);
  ExprPtr parse_filters_and_tests(ExprPtr expr);
  ExprPtr parse_attribute(ExprPtr object);
  ExprPtr parse_subscript(ExprPtr object);
  ExprPtr parse_call(ExprPtr callee);
  ExprPtr parse_filter(ExprPtr input);
  ExprPtr parse_test(ExprPtr input);
  void parse_call_args(Expr& call);
  ExprPtr parse_argument(Expr& call);
  bool next_compare_op(CompareOp* op);
  bool at_tuple_end() const;

  ExprPtr make(ExprKind kind, int line) const;
  void deepen(Expr& parent, const Expr& child) const;
  // Adds an operand and keeps the depth; too deep is an error.
  void add(Expr& parent, ExprPtr child) const;
  ExprPtr make_binary(ExprKind kind, int line, ExprPtr left, ExprPtr right) const;

  TokenStream& tokens_;
  std::vector<MacroDef*> open_macros_;
  int nesting_ = 0;
};

}  // namespace dak::jinja
