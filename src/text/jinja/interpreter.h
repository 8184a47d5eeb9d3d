// Runs a template's syntax tree. One Interpreter is one rendering: it owns the scopes, namespaces,
// macros and loops that the rendering makes, and its budget.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace dak::jinja {

// Names and their values. Blocks that are scopes in jinja2: the template, each turn of a loop,
// macro bodies, set, filter, with and generation blocks; `if` is not.
struct Scope {
  explicit Scope(Scope* outer) : parent(outer) {}
  Value* find(std::string_view name);  // here and outwards
  void set(std::string_view name, Value value);

  Scope* parent;
  std::vector<std::pair<std::string_view, Value>> names;  // views into the template or the input
  bool captured = false;  // a macro was made in here: it must outlive its block
};

struct Macro {
  const MacroDef* definition;
  Scope* scope;
};
std::string_view macro_name(const Macro& macro);

// The state of a for statement, and its `loop` variable. Items are filtered when they are reached,
// as jinja2 does it: the filter may read what earlier turns wrote.
struct Loop {
  bool advance();
  const Value* peek();  // the item of the next turn, or null
  int64_t length();

  std::vector<Value> items;
  size_t next_item = 0;
  std::function<bool(const Value&)> accepts;  // may be empty
  int64_t index0 = -1;
  Value previous;
  Value current;
  std::optional<Value> after;  // looked at already, next to come
  std::optional<std::vector<Value>> last_changed;
  bool escaped = false;  // held by more than its own statement
  // Of a recursive statement while it runs: what calling the loop runs, and where.
  const Stmt* recursive = nullptr;
  Scope* outer = nullptr;
  int64_t depth0 = 0;

 private:
  std::optional<Value> pull();
};

enum class Flow { kNext, kBreak, kContinue };

class Interpreter {
 public:
  Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Names a template finds without defining them, and before the functions of its environment.
  void set_global(std::string_view name, Value value);
  std::string run(const Block& block);
  int line() const { return line_; }  // of what runs now, for messages

  Budget& budget() { return budget_; }
  Value text(std::string bytes, bool markup = false);
  Value list(std::vector<Value> items);
  Value tuple(std::vector<Value> items);
  Value dict(std::vector<Dict::Entry> entries);  // keys must differ
  Value generator(std::vector<Value> items);
  Value make_namespace(std::vector<std::pair<std::string, Value>> attributes);
  std::string str(const Value& value);  // str(value)

  // What a for loop would get, all of it. A generator is used up.
  std::vector<Value> iterate(const Value& value);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value call(const Value& callee, Args& args);
  Value filter(const std::string& name, const Value& input, Args& args);
  bool test(const std::string& name, const Value& input, Args& args);

 private:
  class Depth;

  void print(std::string_view text);
  void print(const Value& value);

  // Statements.
  Flow execute(const Block& block);
  Flow execute(const Stmt& stmt);
  Flow execute_if(const Stmt& stmt);
  Flow execute_for(const Stmt& stmt);
  Flow run_for(const Stmt& stmt, const Value& items, int64_t depth0);
  Flow run_loop(const Stmt& stmt, Loop& loop, bool* ran);
  Value call_loop(const Loop& loop, const Args& args);
  Flow execute_set_block(const Stmt& stmt);
  Flow execute_filter_block(const Stmt& stmt);
  Flow execute_with(const Stmt& stmt);
  void execute_call_block(const Stmt& stmt);
  Flow execute_scoped(const Block& block, std::string* captured);
  void assign(const Target& target, const Value& value);
  Value make_macro(const MacroDef& definition);
  std::unique_ptr<Loop> make_loop(const Stmt& stmt, const Value& items);

  // Expressions.
  Value evaluate(const Expr& expr);
  Value evaluate_name(const Expr& expr);
  Value evaluate_items(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  Value evaluate_attribute(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_call(const Expr& expr, const Value* caller);
  Value evaluate_filter(const Expr& expr, const Value* block_text);
  Value evaluate_test(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_compare(const Expr& expr);
  Args evaluate_args(const CallArgs& call);
  Value call_macro(const Macro& macro, Args& args);
  void bind_parameters(const Macro& macro, Args& args, Scope& scope);

  // Ends a scope: it is kept if a macro captured it.
  void leave(std::unique_ptr<Scope> scope);

  Budget budget_;  // first: all values give back to it when they go
  Scope globals_{nullptr};
  Scope root_{&globals_};
  Scope* scope_ = &root_;
  std::string* out_ = nullptr;
  size_t open_bytes_ = 0;  // in all buffers of output that are being written
  int line_ = 1;
  int depth_ = 0;
  int macro_depth_ = 0;
  std::vector<std::unique_ptr<Scope>> kept_scopes_;
  std::vector<std::unique_ptr<Loop>> kept_loops_;
  std::vector<std::unique_ptr<Namespace>> namespaces_;
  std::vector<std::unique_ptr<Macro>> macros_;
};

// The time that strftime_now formats; null brings the real clock back. For tests.
using Clock = std::tm (*)();
void set_clock(Clock clock);

}  // namespace dak::jinja
