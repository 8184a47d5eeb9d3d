// Statements. Expressions are in jinja_evaluate.cc.
#include "text/jinja/interpreter.h"

#include "text/jinja/depth.h"
#include "text/jinja/globals.h"
#include "text/jinja/print.h"

namespace dak::jinja {

Value* Scope::find(std::string_view name) {
  for (Scope* scope = this; scope != nullptr; scope = scope->parent) {
    for (auto& [key, value] : scope->names) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  for (auto& [key, old] : names) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  names.emplace_back(name, std::move(value));
}

std::string_view macro_name(const Macro& macro) { return macro.definition->name; }

std::optional<Value> Loop::pull() {
  while (next_item < items.size()) {
    Value item = items[next_item++];
    if (!accepts || accepts(item)) return item;
  }
  return std::nullopt;
}

const Value* Loop::peek() {
  if (!after) after = pull();
  return after ? &*after : nullptr;
}

bool Loop::advance() {
  std::optional<Value> next = after ? std::move(after) : pull();
  after.reset();
  if (!next) return false;
  ++index0;
  previous = std::exchange(current, std::move(*next));
  return true;
}

int64_t Loop::length() {
  if (accepts) {  // asking for the length runs the filter over all that is left
    std::vector<Value> rest;
    while (std::optional<Value> item = pull()) rest.push_back(std::move(*item));
    items = std::move(rest);
    next_item = 0;
    accepts = nullptr;
  }
  return index0 + 1 + (after ? 1 : 0) + static_cast<int64_t>(items.size() - next_item);
}

Interpreter::Interpreter() { add_globals(globals_); }

void Interpreter::set_global(std::string_view name, Value value) {
  globals_.set(name, std::move(value));
}

std::string Interpreter::run(const Block& block) {
  std::string out;
  out_ = &out;
  execute(block);
  return out;
}

Value Interpreter::text(std::string bytes, bool markup) {
  return std::make_shared<const Text>(std::move(bytes), &budget_, markup);
}

Value Interpreter::list(std::vector<Value> items) {
  return std::make_shared<const List>(std::move(items), false, &budget_);
}

Value Interpreter::tuple(std::vector<Value> items) {
  return std::make_shared<const List>(std::move(items), true, &budget_);
}

Value Interpreter::dict(std::vector<Dict::Entry> entries) {
  return std::make_shared<const Dict>(std::move(entries), &budget_);
}

Value Interpreter::generator(std::vector<Value> items) {
  return std::make_shared<Generator>(std::move(items), &budget_);
}

Value Interpreter::make_namespace(std::vector<std::pair<std::string, Value>> attributes) {
  for (const auto& [name, value] : attributes) {
    if (name.starts_with('_')) fail(fmt::format("a namespace cannot hold '{}'", name));
  }
  budget_.charge(sizeof(Namespace) + attributes.size() * sizeof(attributes[0]));
  namespaces_.push_back(std::make_unique<Namespace>());
  namespaces_.back()->attributes = std::move(attributes);
  return namespaces_.back().get();
}

std::string Interpreter::str(const Value& value) { return to_str(value, budget_); }

void Interpreter::print(std::string_view text) {
  open_bytes_ += text.size();
  budget_.work(text.size());
  if (open_bytes_ > kMaxOutputBytes) {
    fail_exhausted(fmt::format("the output is longer than {} MiB", kMaxOutputBytes >> 20));
  }
  out_->append(text);
}

void Interpreter::print(const Value& value) {
  if (const std::string* text = as_string(value)) {
    print(std::string_view(*text));
  } else {
    print(std::string_view(str(value)));
  }
}

void Interpreter::leave(std::unique_ptr<Scope> scope) {
  if (!scope->captured) return;
  budget_.charge(sizeof(Scope) + scope->names.size() * sizeof(scope->names[0]));
  kept_scopes_.push_back(std::move(scope));
}

Flow Interpreter::execute(const Block& block) {
  for (const auto& stmt : block) {
    const Flow flow = execute(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Flow Interpreter::execute(const Stmt& stmt) {
  const Depth depth(depth_);
  budget_.step();
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kText:
      print(stmt.text);
      break;
    case StmtKind::kPrint:
      for (const ExprPtr& expr : stmt.exprs) print(evaluate(*expr));
      break;
    case StmtKind::kIf:
      return execute_if(stmt);
    case StmtKind::kFor:
      return execute_for(stmt);
    case StmtKind::kSet:
      assign(stmt.target, evaluate(*stmt.exprs[0]));
      break;
    case StmtKind::kSetBlock:
      return execute_set_block(stmt);
    case StmtKind::kMacro:
      scope_->set(stmt.macro->name, make_macro(*stmt.macro));
      break;
    case StmtKind::kCallBlock:
      execute_call_block(stmt);
      break;
    case StmtKind::kFilterBlock:
      return execute_filter_block(stmt);
    case StmtKind::kWith:
      return execute_with(stmt);
    case StmtKind::kScope:
      return execute_scoped(stmt.blocks[0], nullptr);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Flow Interpreter::execute_if(const Stmt& stmt) {
  for (size_t i = 0; i < stmt.blocks.size(); ++i) {
    if (i >= stmt.exprs.size() || truthy(evaluate(*stmt.exprs[i]))) return execute(stmt.blocks[i]);
  }
  return Flow::kNext;
}

std::unique_ptr<Loop> Interpreter::make_loop(const Stmt& stmt, const Value& items) {
  auto loop = std::make_unique<Loop>();
  loop->items = iterate(items);
  budget_.step(1 + loop->items.size() / 4);
  if (const Expr* condition = stmt.exprs[1].get()) {
    Scope* outer = scope_;
    loop->accepts = [this, &stmt, condition, outer](const Value& item) {
      auto scope = std::make_unique<Scope>(outer);
      Scope* inner = std::exchange(scope_, scope.get());
      assign(stmt.target, item);
      const bool accepted = truthy(evaluate(*condition));
      scope_ = inner;
      leave(std::move(scope));
      return accepted;
    };
  }
  return loop;
}

Flow Interpreter::execute_for(const Stmt& stmt) {
  return run_for(stmt, evaluate(*stmt.exprs[0]), 0);
}

Flow Interpreter::run_for(const Stmt& stmt, const Value& items, int64_t depth0) {
  std::unique_ptr<Loop> loop = make_loop(stmt, items);
  loop->depth0 = depth0;
  if (stmt.recursive) {
    loop->recursive = &stmt;
    loop->outer = scope_;
  }
  const Charge charge(&budget_, sizeof(Loop) + loop->items.size() * sizeof(Value));
  bool ran = false;
  run_loop(stmt, *loop, &ran);
  loop->accepts = nullptr;  // it refers to this statement
  loop->recursive = nullptr;
  if (loop->escaped) {
    budget_.charge(sizeof(Loop) + loop->items.size() * sizeof(Value));
    kept_loops_.push_back(std::move(loop));
  }
  if (ran || stmt.blocks.size() < 2) return Flow::kNext;
  return execute_scoped(stmt.blocks[1], nullptr);
}

Flow Interpreter::run_loop(const Stmt& stmt, Loop& loop, bool* ran) {
  Scope* outer = scope_;
  while (loop.advance()) {
    budget_.step(4);  // a turn of an empty body is work as well
    auto scope = std::make_unique<Scope>(outer);
    scope_ = scope.get();
    scope->set("loop", &loop);
    assign(stmt.target, loop.current);
    const Flow flow = execute(stmt.blocks[0]);
    scope_ = outer;
    loop.escaped |= scope->captured;
    leave(std::move(scope));
    // As in jinja2, whose marker is at the end of the body: a turn cut short by `break` or
    // `continue` does not count, and the else block may still run.
    *ran |= flow == Flow::kNext;
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

// Runs a block in a scope of its own; its output goes to `captured` unless that is null.
Flow Interpreter::execute_scoped(const Block& block, std::string* captured) {
  auto scope = std::make_unique<Scope>(scope_);
  Scope* outer = std::exchange(scope_, scope.get());
  std::string* out = captured == nullptr ? out_ : std::exchange(out_, captured);
  const Flow flow = execute(block);
  if (captured != nullptr) open_bytes_ -= captured->size();
  out_ = out;
  scope_ = outer;
  leave(std::move(scope));
  return flow;
}

Flow Interpreter::execute_set_block(const Stmt& stmt) {
  std::string captured;
  const Flow flow = execute_scoped(stmt.blocks[0], &captured);
  if (flow != Flow::kNext) return flow;
  Value value = text(std::move(captured));
  if (stmt.exprs[0] != nullptr) value = evaluate_filter(*stmt.exprs[0], &value);
  assign(stmt.target, value);
  return flow;
}

Flow Interpreter::execute_filter_block(const Stmt& stmt) {
  std::string captured;
  const Flow flow = execute_scoped(stmt.blocks[0], &captured);
  if (flow != Flow::kNext) return flow;
  const Value value = text(std::move(captured));
  print(evaluate_filter(*stmt.exprs[0], &value));
  return flow;
}

Flow Interpreter::execute_with(const Stmt& stmt) {
  std::vector<Value> values;
  for (const ExprPtr& expr : stmt.exprs) values.push_back(evaluate(*expr));
  auto scope = std::make_unique<Scope>(scope_);
  Scope* outer = std::exchange(scope_, scope.get());
  for (size_t i = 0; i < values.size(); ++i) assign(stmt.targets[i], values[i]);
  const Flow flow = execute(stmt.blocks[0]);
  scope_ = outer;
  leave(std::move(scope));
  return flow;
}

void Interpreter::execute_call_block(const Stmt& stmt) {
  const Value caller = make_macro(*stmt.macro);
  print(evaluate_call(*stmt.exprs[0], &caller));
}

Value Interpreter::make_macro(const MacroDef& definition) {
  for (Scope* scope = scope_; scope != nullptr && !scope->captured; scope = scope->parent) {
    scope->captured = true;
  }
  budget_.charge(sizeof(Macro));
  macros_.push_back(std::make_unique<Macro>(Macro{&definition, scope_}));
  return macros_.back().get();
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.kind == Target::Kind::kName) {
    scope_->set(target.name, value);
    return;
  }
  if (target.kind == Target::Kind::kAttribute) {
    const Value* object = scope_->find(target.name);
    const auto* space = object != nullptr ? object->get<Namespace*>() : nullptr;
    if (space == nullptr) {
      fail(fmt::format("cannot assign to '{}.{}': not a namespace", target.name, target.attribute));
    }
    if (target.attribute.starts_with('_')) {
      fail(fmt::format("a namespace cannot hold '{}'", target.attribute));
    }
    if (Value* old = (*space)->find(target.attribute)) {
      *old = value;
    } else {
      budget_.charge(sizeof((*space)->attributes[0]));
      (*space)->attributes.emplace_back(target.attribute, value);
    }
    return;
  }
  const std::vector<Value> values = iterate(value);
  if (values.size() != target.items.size()) {
    fail(fmt::format("{} values for {} names", values.size(), target.items.size()));
  }
  for (size_t i = 0; i < values.size(); ++i) assign(target.items[i], values[i]);
}

}  // namespace dak::jinja
