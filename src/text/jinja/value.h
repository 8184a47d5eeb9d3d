// The values a template computes with: Python's, as far as a chat template can see them.
// Strings, lists and dicts are immutable and shared (the sandbox forbids changing them), so they
// cannot form cycles; what can (namespaces, macros, loops) belongs to the Interpreter and is held
// by plain pointer.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

namespace dak::jinja {

constexpr int kMaxDepth = 200;  // of nested values and of macro calls
constexpr size_t kMaxSteps = 10'000'000;
constexpr size_t kMaxOutputBytes = size_t{64} << 20;
constexpr size_t kMaxLiveBytes = size_t{256} << 20;  // all values of one rendering together

// What went wrong while a template ran; ChatTemplate adds the template's name and the line.
class Fault : public std::runtime_error {
 public:
  Fault(ErrorCode code, const std::string& what) : std::runtime_error(what), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};
[[noreturn]] void fail(const std::string& what);              // the template or its input is wrong
[[noreturn]] void fail_unsupported(const std::string& what);  // Jinja can do it and dak cannot
[[noreturn]] void fail_exhausted(const std::string& what);    // a bound was hit

// Work and memory of one rendering; a hostile template meets a bound, not the machine's limits.
class Budget {
 public:
  void step(size_t count = 1) {
    if ((steps_ += count) > kMaxSteps) exhausted_steps();
  }
  // Bytes that an operation reads or writes are work as well: 256 of them are one step.
  void work(size_t bytes) { step(1 + bytes / 256); }
  void charge(size_t bytes) {
    if ((live_bytes_ += bytes) > kMaxLiveBytes) exhausted_memory(bytes);
  }
  void release(size_t bytes) { live_bytes_ -= bytes; }
  void check_text(size_t bytes);  // before a string of that length is made

 private:
  [[noreturn]] static void exhausted_steps();
  [[noreturn]] void exhausted_memory(size_t bytes);
  size_t steps_ = 0;
  size_t live_bytes_ = 0;
};

// Gives back what it charged when it goes. Null budget: a constant of the template, not counted.
class Charge {
 public:
  Charge(Budget* budget, size_t bytes) : budget_(budget), bytes_(bytes) {
    if (budget_ != nullptr) budget_->charge(bytes_);
  }
  ~Charge() {
    if (budget_ != nullptr) budget_->release(bytes_);
  }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

 private:
  Budget* budget_;
  size_t bytes_;
};

struct Text;
struct List;
struct Dict;
struct View;
struct Range;
struct Generator;
struct Native;
struct Namespace;
struct Macro;
struct Loop;

struct Undefined {
  std::shared_ptr<const std::string> why;  // the message if it is used; may be null
};
struct None {};
// A number of JSON that neither 64 bits nor a double hold: printed as it was written.
struct Digits {
  std::shared_ptr<const std::string> text;
  bool whole = false;  // an int, else a float
};

using TextRef = std::shared_ptr<const Text>;
using ListRef = std::shared_ptr<const List>;
using DictRef = std::shared_ptr<const Dict>;
using ViewRef = std::shared_ptr<const View>;
using RangeRef = std::shared_ptr<const Range>;
using GeneratorRef = std::shared_ptr<Generator>;
using NativeRef = std::shared_ptr<const Native>;

class Value {
 public:
  using Variant =
      std::variant<Undefined, None, bool, int64_t, double, TextRef, ListRef, DictRef, ViewRef,
                   RangeRef, GeneratorRef, NativeRef, Namespace*, Macro*, Loop*, Digits>;

  Value() = default;  // undefined
  template <class T>
  requires(!std::is_same_v<T, Value>) Value(T value)
      : data_(std::move(value)) {}  // implicit: a Value is any of these

  template <class T>
  const T* get() const {
    return std::get_if<T>(&data_);
  }
  template <class T>
  bool is() const {
    return std::holds_alternative<T>(data_);
  }
  const Variant& data() const { return data_; }

 private:
  Variant data_;
};

struct Text {
  Text(std::string text, Budget* budget, bool is_markup = false);
  std::string bytes;
  // What the filters `safe` and `escape` return: text that is joined to it is escaped for HTML.
  bool markup;
  bool ascii;  // then an index is a byte offset
  Charge charge;
};

struct List {
  List(std::vector<Value> values, bool is_tuple, Budget* budget);
  std::vector<Value> items;
  bool tuple;
  int depth;  // of nesting, at most kMaxDepth
  Charge charge;
};

struct Dict {
  using Entry = std::pair<Value, Value>;
  Dict(std::vector<Entry> values, Budget* budget);  // keys must differ
  const Value* find(const Value& key, Budget& budget) const;
  const Value* find(std::string_view key) const;
  std::vector<Entry> entries;  // in order of insertion
  int depth;
  Charge charge;
};

struct View {  // dict.keys(), .values(), .items()
  enum class Part { kKeys, kValues, kItems };
  DictRef dict;
  Part part;
};

struct Range {
  int64_t start;
  int64_t stop;
  int64_t step;
  int64_t size() const;
};

// What filters such as map and select return in Python: iterable once, without a length.
struct Generator {
  Generator(std::vector<Value> values, Budget* budget);
  std::vector<Value> items;
  size_t next = 0;
  int depth;
  Charge charge;
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

class Interpreter;
using NativeFunction = Value (*)(Interpreter&, const Value& self, Args& args);

struct Native {  // a global function, or a method bound to `self`
  std::string_view name;
  NativeFunction function;
  Value self;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  Value* find(std::string_view name);
};

int depth_of(const Value& value);
// As Python names the type in messages: 'str', 'list', 'NoneType'.
std::string_view type_name(const Value& value);
bool truthy(const Value& value);
[[noreturn]] void fail_undefined(const Value& value);
Value undefined(std::string why);
const std::string* as_string(const Value& value);  // null unless a string
// The number as an int (a bool is one), or null.
bool as_int(const Value& value, int64_t* out);
bool as_number(const Value& value, double* out);  // int, bool or float

// `depth` guards the recursion; a fault beyond kMaxDepth.
bool equal(const Value& a, const Value& b, Budget& budget, int depth = 0);
// < 0, 0, > 0; throws for types that Python does not order. `unordered` is set for a NaN.
int compare(const Value& a, const Value& b, Budget& budget, bool* unordered, int depth = 0);
bool hashable(const Value& value);

}  // namespace dak::jinja
