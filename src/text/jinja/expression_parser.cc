#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <optional>

namespace dak::jinja {
namespace {

constexpr int kMaxNesting = 100;    // of brackets and blocks while parsing
constexpr int kMaxTreeDepth = 300;  // chains such as a + b + c + ... nest to the left

Value constant_text(std::string text) {
  return std::make_shared<const Text>(std::move(text), nullptr);
}

std::optional<BinaryOp> product_op(const Token& token) {
  if (token.kind != TokenKind::kOperator) return std::nullopt;
  if (token.text == "*") return BinaryOp::kMul;
  if (token.text == "/") return BinaryOp::kDiv;
  if (token.text == "//") return BinaryOp::kFloorDiv;
  if (token.text == "%") return BinaryOp::kMod;
  return std::nullopt;
}

}  // namespace

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : depth_(parser.nesting_) {
  if (depth_ >= kMaxNesting) {
    parser.tokens_.unsupported(fmt::format("nesting deeper than {}", kMaxNesting));
  }
  ++depth_;
}

ExprPtr ExpressionParser::make(ExprKind kind, int line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

void ExpressionParser::add(Expr& parent, ExprPtr child) const {
  if (child != nullptr) deepen(parent, *child);
  parent.items.push_back(std::move(child));
}

ExprPtr ExpressionParser::make_binary(ExprKind kind, int line, ExprPtr left, ExprPtr right) const {
  ExprPtr expr = make(kind, line);
  add(*expr, std::move(left));
  add(*expr, std::move(right));
  return expr;
}

bool ExpressionParser::at_tuple_end() const {
  return tokens_.at(TokenKind::kPrintEnd) || tokens_.at(TokenKind::kBlockEnd) ||
         tokens_.at_operator(")");
}

ExprPtr ExpressionParser::parse_tuple(bool inline_if) {
  const int line = tokens_.line();
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) tokens_.expect_operator(",");
    if (at_tuple_end()) break;
    items.push_back(inline_if ? parse_conditional() : parse_or());
    if (!tokens_.at_operator(",")) break;
    is_tuple = true;
  }
  if (items.empty()) tokens_.fail_expected("an expression");
  if (!is_tuple) return std::move(items.front());
  ExprPtr tuple = make(ExprKind::kTuple, line);
  for (ExprPtr& item : items) add(*tuple, std::move(item));
  return tuple;
}

ExprPtr ExpressionParser::parse_conditional() {
  const Nesting nesting(*this);
  int line = tokens_.line();
  ExprPtr expr = parse_or();
  while (tokens_.skip_name("if")) {
    ExprPtr conditional = make(ExprKind::kConditional, line);
    add(*conditional, parse_or());
    add(*conditional, std::move(expr));
    add(*conditional, tokens_.skip_name("else") ? parse_conditional() : nullptr);
    expr = std::move(conditional);
    line = tokens_.line();
  }
  return expr;
}

ExprPtr ExpressionParser::parse_or() {
  const int line = tokens_.line();
  ExprPtr left = parse_and();
  while (tokens_.skip_name("or")) {
    left = make_binary(ExprKind::kOr, line, std::move(left), parse_and());
  }
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  const int line = tokens_.line();
  ExprPtr left = parse_not();
  while (tokens_.skip_name("and")) {
    left = make_binary(ExprKind::kAnd, line, std::move(left), parse_not());
  }
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  if (!tokens_.skip_name("not")) return parse_comparison();
  ExprPtr expr = make(ExprKind::kNot, line);
  add(*expr, parse_not());
  return expr;
}

bool ExpressionParser::next_compare_op(CompareOp* op) {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  for (const auto& [text, value] : kOps) {
    if (tokens_.skip_operator(text)) {
      *op = value;
      return true;
    }
  }
  if (tokens_.skip_name("in")) {
    *op = CompareOp::kIn;
    return true;
  }
  const bool next_is_in = tokens_.next().kind == TokenKind::kName && tokens_.next().text == "in";
  if (tokens_.at_name("not") && next_is_in) {
    tokens_.take();
    tokens_.take();
    *op = CompareOp::kNotIn;
    return true;
  }
  return false;
}

ExprPtr ExpressionParser::parse_comparison() {
  const int line = tokens_.line();
  ExprPtr left = parse_sum();
  CompareOp op = CompareOp::kEq;
  if (!next_compare_op(&op)) return left;
  ExprPtr chain = make(ExprKind::kCompare, line);
  add(*chain, std::move(left));
  do {
    chain->compare_ops.push_back(op);
    add(*chain, parse_sum());
  } while (next_compare_op(&op));
  return chain;
}

ExprPtr ExpressionParser::parse_sum() {
  const int line = tokens_.line();
  ExprPtr left = parse_concat();
  while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
    const BinaryOp op = tokens_.take().text == "+" ? BinaryOp::kAdd : BinaryOp::kSub;
    left = make_binary(ExprKind::kBinary, line, std::move(left), parse_concat());
    left->op = op;
  }
  return left;
}

ExprPtr ExpressionParser::parse_concat() {
  const int line = tokens_.line();
  ExprPtr first = parse_product();
  if (!tokens_.at_operator("~")) return first;
  ExprPtr concat = make(ExprKind::kConcat, line);
  add(*concat, std::move(first));
  while (tokens_.skip_operator("~")) add(*concat, parse_product());
  return concat;
}

ExprPtr ExpressionParser::parse_product() {
  const int line = tokens_.line();
  ExprPtr left = parse_power();
  while (const std::optional<BinaryOp> op = product_op(tokens_.current())) {
    tokens_.take();
    left = make_binary(ExprKind::kBinary, line, std::move(left), parse_power());
    left->op = *op;
  }
  return left;
}

ExprPtr ExpressionParser::parse_power() {
  const int line = tokens_.line();
  ExprPtr left = parse_unary();
  while (tokens_.skip_operator("**")) {  // from the left, unlike Python: as jinja2 does it
    left = make_binary(ExprKind::kBinary, line, std::move(left), parse_unary());
    left->op = BinaryOp::kPow;
  }
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  const int line = tokens_.line();
  ExprPtr expr;
  if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
    expr = make(tokens_.take().text == "-" ? ExprKind::kNegate : ExprKind::kPlus, line);
    add(*expr, parse_unary(false));
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(std::move(expr));
  return with_filters ? parse_filters_and_tests(std::move(expr)) : std::move(expr);
}

ExprPtr ExpressionParser::parse_primary() {
  const int line = tokens_.line();
  switch (tokens_.current().kind) {
    case TokenKind::kName:
      return parse_name();
    case TokenKind::kString:
      return parse_string();
    case TokenKind::kInteger: {
      ExprPtr expr = make(ExprKind::kConst, line);
      expr->value = tokens_.take().integer;
      return expr;
    }
    case TokenKind::kFloat: {
      ExprPtr expr = make(ExprKind::kConst, line);
      expr->value = tokens_.take().real;
      return expr;
    }
    default:
      break;
  }
  if (tokens_.at_operator("(")) return parse_parentheses();
  if (tokens_.at_operator("[")) return parse_list();
  if (tokens_.at_operator("{")) return parse_dict();
  tokens_.fail_expected("an expression");
}

ExprPtr ExpressionParser::parse_name() {
  const Token token = tokens_.take();
  const std::string& name = token.text;
  ExprPtr expr = make(ExprKind::kConst, token.line);
  if (name == "true" || name == "True") {
    expr->value = true;
  } else if (name == "false" || name == "False") {
    expr->value = false;
  } else if (name == "none" || name == "None") {
    expr->value = None{};
  } else {
    expr->kind = ExprKind::kName;
    expr->name = name;
    for (MacroDef* macro : open_macros_) {
      macro->uses_caller |= name == "caller";
      macro->uses_kwargs |= name == "kwargs";
      macro->uses_varargs |= name == "varargs";
    }
  }
  return expr;
}

ExprPtr ExpressionParser::parse_string() {
  ExprPtr expr = make(ExprKind::kConst, tokens_.line());
  std::string text;
  while (tokens_.at(TokenKind::kString)) text += tokens_.take().text;
  expr->value = constant_text(std::move(text));
  return expr;
}

ExprPtr ExpressionParser::parse_parentheses() {
  const int line = tokens_.line();
  tokens_.expect_operator("(");
  if (tokens_.skip_operator(")")) return make(ExprKind::kTuple, line);
  ExprPtr expr = parse_tuple();
  tokens_.expect_operator(")");
  return expr;
}

ExprPtr ExpressionParser::parse_list() {
  ExprPtr list = make(ExprKind::kList, tokens_.line());
  tokens_.expect_operator("[");
  while (!tokens_.at_operator("]")) {
    if (!list->items.empty()) tokens_.expect_operator(",");
    if (tokens_.at_operator("]")) break;
    add(*list, parse_conditional());
  }
  tokens_.expect_operator("]");
  return list;
}

ExprPtr ExpressionParser::parse_dict() {
  ExprPtr dict = make(ExprKind::kDict, tokens_.line());
  tokens_.expect_operator("{");
  while (!tokens_.at_operator("}")) {
    if (!dict->items.empty()) tokens_.expect_operator(",");
    if (tokens_.at_operator("}")) break;
    add(*dict, parse_conditional());
    tokens_.expect_operator(":");
    add(*dict, parse_conditional());
  }
  tokens_.expect_operator("}");
  return dict;
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (tokens_.at_operator(".")) {
      expr = parse_attribute(std::move(expr));
    } else if (tokens_.at_operator("[")) {
      expr = parse_subscript(std::move(expr));
    } else if (tokens_.at_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_filters_and_tests(ExprPtr expr) {
  while (true) {
    if (tokens_.skip_operator("|")) {
      expr = parse_filter(std::move(expr));
    } else if (tokens_.skip_name("is")) {
      expr = parse_test(std::move(expr));
    } else if (tokens_.at_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_attribute(ExprPtr object) {
  const int line = tokens_.line();
  tokens_.expect_operator(".");
  if (tokens_.at(TokenKind::kInteger)) {
    ExprPtr item = make(ExprKind::kItem, line);
    add(*item, std::move(object));
    ExprPtr index = make(ExprKind::kConst, line);
    index->value = tokens_.take().integer;
    add(*item, std::move(index));
    return item;
  }
  ExprPtr attribute = make(ExprKind::kAttribute, line);
  attribute->name = tokens_.expect(TokenKind::kName, "a name or a number").text;
  add(*attribute, std::move(object));
  return attribute;
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr object) {
  ExprPtr expr = make(ExprKind::kItem, tokens_.line());
  tokens_.expect_operator("[");
  add(*expr, std::move(object));
  if (!tokens_.at_operator(":")) {
    add(*expr, parse_conditional());
    if (tokens_.at_operator(",")) tokens_.unsupported("a subscript with commas");
  } else {
    add(*expr, nullptr);
  }
  if (tokens_.skip_operator(":")) {
    expr->kind = ExprKind::kSlice;
    const auto bound_ends = [this] { return tokens_.at_operator("]") || tokens_.at_operator(":"); };
    add(*expr, bound_ends() ? nullptr : parse_conditional());
    const bool has_step = tokens_.skip_operator(":") && !tokens_.at_operator("]");
    add(*expr, has_step ? parse_conditional() : nullptr);
  }
  tokens_.expect_operator("]");
  return expr;
}

void ExpressionParser::deepen(Expr& parent, const Expr& child) const {
  parent.depth = std::max(parent.depth, child.depth + 1);
  if (parent.depth > kMaxTreeDepth) {
    tokens_.unsupported(fmt::format("an expression deeper than {}", kMaxTreeDepth));
  }
}

ExprPtr ExpressionParser::parse_argument(Expr& call) {
  ExprPtr argument = parse_conditional();
  deepen(call, *argument);
  return argument;
}

void ExpressionParser::parse_call_args(Expr& call) {
  CallArgs& args = call.call;
  const auto ensure = [this](bool holds) {
    if (!holds) tokens_.error("the arguments of a call are in the wrong order");
  };
  tokens_.expect_operator("(");
  bool first = true;
  while (!tokens_.at_operator(")")) {
    if (!first) tokens_.expect_operator(",");
    if (!first && tokens_.at_operator(")")) break;
    first = false;
    if (tokens_.skip_operator("*")) {
      ensure(args.star == nullptr && args.double_star == nullptr);
      args.star = parse_argument(call);
    } else if (tokens_.skip_operator("**")) {
      ensure(args.double_star == nullptr);
      args.double_star = parse_argument(call);
    } else if (tokens_.at(TokenKind::kName) && tokens_.next().kind == TokenKind::kOperator &&
               tokens_.next().text == "=") {
      ensure(args.double_star == nullptr);
      std::string name = tokens_.expect_name();
      tokens_.expect_operator("=");
      for (const auto& [other, value] : args.keyword) {
        if (other == name) tokens_.error(fmt::format("argument '{}' is given twice", name));
      }
      args.keyword.emplace_back(std::move(name), parse_argument(call));
    } else {
      ensure(args.star == nullptr && args.double_star == nullptr && args.keyword.empty());
      args.positional.push_back(parse_argument(call));
    }
  }
  tokens_.expect_operator(")");
}

ExprPtr ExpressionParser::parse_call(ExprPtr callee) {
  ExprPtr call = make(ExprKind::kCall, tokens_.line());
  add(*call, std::move(callee));
  parse_call_args(*call);
  return call;
}

ExprPtr ExpressionParser::parse_filter(ExprPtr input) {
  ExprPtr filter = make(ExprKind::kFilter, tokens_.line());
  filter->name = tokens_.expect_name();
  while (tokens_.skip_operator(".")) filter->name += "." + tokens_.expect_name();
  add(*filter, std::move(input));
  if (tokens_.at_operator("(")) parse_call_args(*filter);
  return filter;
}

ExprPtr ExpressionParser::parse_test(ExprPtr input) {
  const int line = tokens_.line();
  const bool negated = tokens_.skip_name("not");
  ExprPtr test = make(ExprKind::kTest, line);
  test->name = tokens_.expect_name();
  while (tokens_.skip_operator(".")) test->name += "." + tokens_.expect_name();
  add(*test, std::move(input));
  const bool operand = tokens_.at(TokenKind::kString) || tokens_.at(TokenKind::kInteger) ||
                       tokens_.at(TokenKind::kFloat) || tokens_.at_operator("[") ||
                       tokens_.at_operator("{") || tokens_.at(TokenKind::kName);
  const bool keyword = tokens_.at_name("else") || tokens_.at_name("or") || tokens_.at_name("and");
  if (tokens_.at_operator("(")) {
    parse_call_args(*test);
  } else if (operand && !keyword) {
    if (tokens_.at_name("is")) tokens_.error("tests cannot be chained with 'is'");
    const Nesting nesting(*this);
    ExprPtr argument = parse_postfix(parse_primary());
    deepen(*test, *argument);
    test->call.positional.push_back(std::move(argument));
  }
  if (!negated) return test;
  ExprPtr inverse = make(ExprKind::kNot, line);
  add(*inverse, std::move(test));
  return inverse;
}

ExprPtr ExpressionParser::parse_block_filters(bool starts_inline) {
  ExprPtr expr;
  if (starts_inline) expr = parse_filter(nullptr);
  while (tokens_.skip_operator("|")) expr = parse_filter(std::move(expr));
  return expr;
}

}  // namespace dak::jinja
