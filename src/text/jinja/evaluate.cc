// Expressions, calls and macros. Statements are in jinja_interpreter.cc.
#include <algorithm>

#include "text/jinja/args.h"
#include "text/jinja/depth.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/markup.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text.h"

namespace dak::jinja {

Value Interpreter::evaluate(const Expr& expr) {
  const Depth depth(depth_);
  budget_.step();
  switch (expr.kind) {
    case ExprKind::kConst:
      return expr.value;
    case ExprKind::kName:
      return evaluate_name(expr);
    case ExprKind::kList:
    case ExprKind::kTuple:
      return evaluate_items(expr);
    case ExprKind::kDict:
      return evaluate_dict(expr);
    case ExprKind::kAttribute:
      return evaluate_attribute(expr);
    case ExprKind::kItem: {
      const Value object = evaluate(*expr.items[0]);
      return item(object, evaluate(*expr.items[1]));
    }
    case ExprKind::kSlice:
      return evaluate_slice(expr);
    case ExprKind::kCall:
      return evaluate_call(expr, nullptr);
    case ExprKind::kFilter:
      return evaluate_filter(expr, nullptr);
    case ExprKind::kTest:
      return evaluate_test(expr);
    case ExprKind::kNot:
      return !truthy(evaluate(*expr.items[0]));
    case ExprKind::kNegate:
      return negate(evaluate(*expr.items[0]));
    case ExprKind::kPlus:
      return plus(evaluate(*expr.items[0]));
    case ExprKind::kBinary: {
      const Value left = evaluate(*expr.items[0]);
      const Value right = evaluate(*expr.items[1]);
      line_ = expr.line;
      return binary(*this, expr.op, left, right);
    }
    case ExprKind::kConcat:
      return evaluate_concat(expr);
    case ExprKind::kCompare:
      return evaluate_compare(expr);
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      Value left = evaluate(*expr.items[0]);
      if (truthy(left) == (expr.kind == ExprKind::kOr)) return left;
      return evaluate(*expr.items[1]);
    }
    case ExprKind::kConditional: {
      const size_t branch = truthy(evaluate(*expr.items[0])) ? 1 : 2;
      if (expr.items[branch] != nullptr) return evaluate(*expr.items[branch]);
      return undefined("an inline if without else was false");
    }
  }
  return {};
}

Value Interpreter::evaluate_name(const Expr& expr) {
  const Value* value = scope_->find(expr.name);
  if (value == nullptr) return undefined(fmt::format("'{}' is undefined", expr.name));
  if (const auto* loop = value->get<Loop*>()) (*loop)->escaped = true;
  return *value;
}

Value Interpreter::evaluate_items(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.items.size());
  for (const ExprPtr& expression : expr.items) items.push_back(evaluate(*expression));
  return expr.kind == ExprKind::kList ? list(std::move(items)) : tuple(std::move(items));
}

Value Interpreter::evaluate_dict(const Expr& expr) {
  std::vector<Dict::Entry> entries;
  for (size_t i = 0; i < expr.items.size(); i += 2) {
    const Value key = evaluate(*expr.items[i]);
    put_entry(*this, entries, key, evaluate(*expr.items[i + 1]));
  }
  return dict(std::move(entries));
}

Value Interpreter::evaluate_attribute(const Expr& expr) {
  // loop.index and the like, by far the most used, must not make the loop outlive its statement.
  if (expr.items[0]->kind == ExprKind::kName) {
    const Value* object = scope_->find(expr.items[0]->name);
    const auto* loop = object != nullptr ? object->get<Loop*>() : nullptr;
    if (loop != nullptr) return loop_attribute(*this, **loop, expr.name);
  }
  const Value object = evaluate(*expr.items[0]);
  line_ = expr.line;
  return attribute(object, expr.name);
}

Value Interpreter::evaluate_slice(const Expr& expr) {
  const Value object = evaluate(*expr.items[0]);
  std::optional<int64_t> bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.items[i + 1] == nullptr) continue;
    const Value bound = evaluate(*expr.items[i + 1]);
    if (bound.is<None>()) continue;
    int64_t number = 0;
    if (!as_int(bound, &number)) fail(fmt::format("a slice bound is a {}", type_name(bound)));
    bounds[i] = number;
  }
  return slice(*this, object, bounds[0], bounds[1], bounds[2].value_or(1));
}

Value Interpreter::evaluate_concat(const Expr& expr) {
  std::string joined;
  for (const ExprPtr& expression : expr.items) {
    joined += str(evaluate(*expression));
    budget_.check_text(joined.size());
  }
  return text(std::move(joined));
}

Value Interpreter::evaluate_compare(const Expr& expr) {
  Value left = evaluate(*expr.items[0]);
  bool holds = true;
  for (size_t i = 0; holds && i < expr.compare_ops.size(); ++i) {
    Value right = evaluate(*expr.items[i + 1]);
    line_ = expr.line;
    holds = compare_values(*this, expr.compare_ops[i], left, right);
    left = std::move(right);
  }
  return holds;
}

Args Interpreter::evaluate_args(const CallArgs& call) {
  Args args;
  for (const ExprPtr& expr : call.positional) args.positional.push_back(evaluate(*expr));
  for (const auto& [name, expr] : call.keyword) args.keyword.emplace_back(name, evaluate(*expr));
  if (call.star != nullptr) {
    for (Value& value : iterate(evaluate(*call.star))) args.positional.push_back(std::move(value));
  }
  if (call.double_star != nullptr) {
    const Value value = evaluate(*call.double_star);
    const auto* mapping = value.get<DictRef>();
    if (mapping == nullptr) fail(fmt::format("** needs a mapping, not a {}", type_name(value)));
    for (const auto& [key, entry] : (*mapping)->entries) {
      const std::string* name = as_string(key);
      if (name == nullptr) fail("an argument's name is not a string");
      for (const auto& [other, unused] : args.keyword) {
        if (other == *name) fail(fmt::format("argument '{}' is given twice", *name));
      }
      budget_.step(1 + args.keyword.size() / 16);
      args.keyword.emplace_back(*name, entry);
    }
  }
  return args;
}

Value Interpreter::evaluate_call(const Expr& expr, const Value* caller) {
  const Value callee = evaluate(*expr.items[0]);
  Args args = evaluate_args(expr.call);
  if (caller != nullptr) args.keyword.emplace_back("caller", *caller);
  line_ = expr.line;
  return call(callee, args);
}

Value Interpreter::evaluate_filter(const Expr& expr, const Value* block_text) {
  const Depth depth(depth_);
  // The innermost filter of a block's chain has no input of its own.
  Value input;
  if (expr.items[0] == nullptr) {
    if (block_text != nullptr) input = *block_text;
  } else if (block_text != nullptr && expr.items[0]->kind == ExprKind::kFilter) {
    input = evaluate_filter(*expr.items[0], block_text);
  } else {
    input = evaluate(*expr.items[0]);
  }
  Args args = evaluate_args(expr.call);
  line_ = expr.line;
  return filter(expr.name, input, args);
}

Value Interpreter::evaluate_test(const Expr& expr) {
  const Value input = evaluate(*expr.items[0]);
  Args args = evaluate_args(expr.call);
  line_ = expr.line;
  return test(expr.name, input, args);
}

Value Interpreter::filter(const std::string& name, const Value& input, Args& args) {
  const FilterFunction function = find_filter(name);
  if (function == nullptr) fail_unsupported(fmt::format("the filter '{}'", printable(name)));
  return function(*this, input, args);
}

bool Interpreter::test(const std::string& name, const Value& input, Args& args) {
  const TestFunction function = find_test(name);
  if (function == nullptr) fail_unsupported(fmt::format("the test '{}'", printable(name)));
  return function(*this, input, args);
}

Value Interpreter::call(const Value& callee, Args& args) {
  if (const auto* native = callee.get<NativeRef>()) {
    if (is_markup((*native)->self)) return call_markup_method(*this, **native, args);
    return (*native)->function(*this, (*native)->self, args);
  }
  if (const auto* macro = callee.get<Macro*>()) return call_macro(**macro, args);
  if (const auto* loop = callee.get<Loop*>()) return call_loop(**loop, args);
  if (callee.is<Undefined>()) fail_undefined(callee);
  fail(fmt::format("a {} is not callable", type_name(callee)));
}

// {{ loop(items) }} in a recursive loop: what the whole statement writes for these items.
Value Interpreter::call_loop(const Loop& loop, const Args& args) {
  if (loop.recursive == nullptr) fail("only the loop of a running recursive statement is callable");
  const Bound bound("loop", args, {"iterable"}, 1);
  const Depth depth(macro_depth_);
  if (macro_depth_ > kMaxDepth) {
    fail_exhausted(fmt::format("loops nest deeper than {}", kMaxDepth));
  }
  std::string out;
  Scope* outer_scope = std::exchange(scope_, loop.outer);
  std::string* outer_out = std::exchange(out_, &out);
  run_for(*loop.recursive, bound[0], loop.depth0 + 1);
  open_bytes_ -= out.size();
  scope_ = outer_scope;
  out_ = outer_out;
  return text(std::move(out));
}

Value Interpreter::call_macro(const Macro& macro, Args& args) {
  const Depth depth(macro_depth_);
  if (macro_depth_ > kMaxDepth)
    fail_exhausted(fmt::format("macros nest deeper than {}", kMaxDepth));
  auto scope = std::make_unique<Scope>(macro.scope);
  std::string out;
  Scope* outer_scope = std::exchange(scope_, scope.get());
  std::string* outer_out = std::exchange(out_, &out);
  bind_parameters(macro, args, *scope);
  execute(macro.definition->body);
  open_bytes_ -= out.size();
  scope_ = outer_scope;
  out_ = outer_out;
  leave(std::move(scope));
  return text(std::move(out));
}

void Interpreter::bind_parameters(const Macro& macro, Args& args, Scope& scope) {
  const MacroDef& definition = *macro.definition;
  const size_t count = definition.parameters.size();
  const auto take_keyword = [&args](std::string_view name) -> std::optional<Value> {
    for (auto it = args.keyword.begin(); it != args.keyword.end(); ++it) {
      if (it->first != name) continue;
      Value value = std::move(it->second);
      args.keyword.erase(it);
      return value;
    }
    return std::nullopt;
  };
  std::vector<const Parameter*> missing;
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = definition.parameters[i];
    if (i < args.positional.size()) {
      scope.set(parameter.name, args.positional[i]);
    } else if (std::optional<Value> value = take_keyword(parameter.name)) {
      scope.set(parameter.name, std::move(*value));
    } else {
      missing.push_back(&parameter);
      scope.set(parameter.name,
                undefined(fmt::format("parameter '{}' was not provided", parameter.name)));
    }
  }
  if (definition.uses_caller) {
    scope.set("caller", take_keyword("caller").value_or(undefined("no caller defined")));
  }
  if (definition.uses_kwargs) {
    std::vector<Dict::Entry> entries;
    for (auto& [name, value] : args.keyword) entries.emplace_back(text(name), std::move(value));
    scope.set("kwargs", dict(std::move(entries)));
  } else if (!args.keyword.empty()) {
    fail(fmt::format("macro '{}' takes no argument '{}'", definition.name,
                     printable(args.keyword.front().first)));
  }
  if (definition.uses_varargs) {
    const size_t used = std::min(count, args.positional.size());
    scope.set("varargs",
              tuple(std::vector<Value>(args.positional.begin() + static_cast<ptrdiff_t>(used),
                                       args.positional.end())));
  } else if (args.positional.size() > count) {
    fail(fmt::format("macro '{}' takes at most {} arguments", definition.name, count));
  }
  // Defaults may use the parameters before them.
  for (const Parameter* parameter : missing) {
    if (parameter->fallback != nullptr) scope.set(parameter->name, evaluate(*parameter->fallback));
  }
}

}  // namespace dak::jinja
