#include "text/jinja/globals.h"

#include <array>
#include <atomic>

#include "text/jinja/args.h"
#include "text/jinja/operators.h"

namespace dak::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2's sandbox has this limit
constexpr int64_t kMaxRangeBound = int64_t{1} << 60;

std::atomic<Clock> g_clock{nullptr};

std::tm real_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

Value make_range(Interpreter& in, const Value&, Args& args) {
  const Bound bound("range", args, {"", "", ""}, 1);
  Range range{.start = 0, .stop = bound.integer(0), .step = 1};
  if (bound.has(1)) {
    range.start = bound.integer(0);
    range.stop = bound.integer(1);
  }
  if (bound.has(2)) range.step = bound.integer(2);
  if (range.step == 0) fail("range() needs a step other than zero");
  for (const int64_t number : {range.start, range.stop, range.step}) {
    if (number > kMaxRangeBound || number < -kMaxRangeBound) fail("range() is too big");
  }
  if (range.size() > kMaxRange) {
    fail(fmt::format("range() is too big: at most {} items", kMaxRange));
  }
  in.budget().step();
  return std::make_shared<const Range>(range);
}

// dict(mapping or pairs, **names) as entries.
std::vector<Dict::Entry> dict_entries(Interpreter& in, const Args& args) {
  if (args.positional.size() > 1) fail("dict() takes at most 1 positional argument");
  std::vector<Dict::Entry> entries;
  if (!args.positional.empty()) {
    const Value& source = args.positional[0];
    if (const auto* dict = source.get<DictRef>()) {
      entries = (*dict)->entries;
    } else {
      for (const Value& pair : in.iterate(source)) {
        const std::vector<Value> key_and_value = in.iterate(pair);
        if (key_and_value.size() != 2) fail("dict() needs pairs");
        put_entry(in, entries, key_and_value[0], key_and_value[1]);
      }
    }
  }
  for (const auto& [name, value] : args.keyword) put_entry(in, entries, in.text(name), value);
  return entries;
}

Value make_dict(Interpreter& in, const Value&, Args& args) {
  return in.dict(dict_entries(in, args));
}

Value make_namespace(Interpreter& in, const Value&, Args& args) {
  std::vector<std::pair<std::string, Value>> attributes;
  for (auto& [key, value] : dict_entries(in, args)) {
    const std::string* name = as_string(key);
    if (name == nullptr) fail("a namespace's names are strings");
    attributes.emplace_back(*name, std::move(value));
  }
  return in.make_namespace(std::move(attributes));
}

Value raise_exception(Interpreter& in, const Value&, Args& args) {
  const Bound bound("raise_exception", args, {"message"}, 1);
  fail(in.str(bound[0]));
}

Value strftime_now(Interpreter& in, const Value&, Args& args) {
  const Bound bound("strftime_now", args, {"format"}, 1);
  const std::string& format = bound.string(0);
  if (format.size() > 1000 || format.find('\0') != std::string::npos) {
    fail("strftime_now() needs a format of at most 1000 characters");
  }
  const Clock clock = g_clock.load();
  const std::tm now = clock != nullptr ? clock() : real_time();
  std::array<char, 8192> buffer{};
  // A leading character tells an empty result from one that did not fit.
  const size_t size = std::strftime(buffer.data(), buffer.size(), (" " + format).c_str(), &now);
  if (size == 0) fail("strftime_now() makes too long a text");
  return in.text(std::string(buffer.data() + 1, size - 1));
}

// A namespace holds what cycler and joiner remember.
Value& attribute_of(const Value& state, std::string_view name) {
  return *(*state.get<Namespace*>())->find(name);
}

Value bound_function(std::string_view name, NativeFunction function, const Value& state) {
  return std::make_shared<const Native>(Native{name, function, state});
}

void show_current(Interpreter& in, const Value& state) {
  const std::vector<Value> items = in.iterate(attribute_of(state, "items"));
  const int64_t at = *attribute_of(state, "pos").get<int64_t>();
  attribute_of(state, "current") = items[static_cast<size_t>(at)];
}

Value cycler_next(Interpreter& in, const Value& state, Args& args) {
  const Bound bound("next", args, {});
  Value item = attribute_of(state, "current");
  const auto count = static_cast<int64_t>(in.iterate(attribute_of(state, "items")).size());
  Value& at = attribute_of(state, "pos");
  at = (*at.get<int64_t>() + 1) % count;
  show_current(in, state);
  return item;
}

Value cycler_reset(Interpreter& in, const Value& state, Args& args) {
  const Bound bound("reset", args, {});
  attribute_of(state, "pos") = int64_t{0};
  show_current(in, state);
  return None{};
}

Value make_cycler(Interpreter& in, const Value&, Args& args) {
  if (args.positional.empty() || !args.keyword.empty()) fail("cycler() needs items");
  Value state = in.make_namespace({{"items", in.list(args.positional)},
                                   {"pos", int64_t{0}},
                                   {"current", args.positional[0]},
                                   {"next", None{}},
                                   {"reset", None{}}});
  attribute_of(state, "next") = bound_function("next", cycler_next, state);
  attribute_of(state, "reset") = bound_function("reset", cycler_reset, state);
  return state;
}

Value joiner_next(Interpreter& in, const Value& state, Args& args) {
  const Bound bound("joiner", args, {});
  Value& used = attribute_of(state, "used");
  if (truthy(used)) return attribute_of(state, "sep");
  used = true;
  return in.text("");
}

Value make_joiner(Interpreter& in, const Value&, Args& args) {
  const Bound bound("joiner", args, {"sep"});
  const Value state =
      in.make_namespace({{"sep", bound.has(0) ? bound[0] : in.text(", ")}, {"used", false}});
  return bound_function("joiner", joiner_next, state);
}

Value not_supported(Interpreter&, const Value& self, Args&) {
  const std::string* name = as_string(self);
  fail_unsupported(fmt::format("the function '{}'", name != nullptr ? *name : ""));
}

void add(Scope& scope, std::string_view name, NativeFunction function, Value self = None{}) {
  scope.set(name, std::make_shared<const Native>(Native{name, function, std::move(self)}));
}

}  // namespace

void set_clock(Clock clock) { g_clock = clock; }

void add_globals(Scope& scope) {
  add(scope, "range", make_range);
  add(scope, "dict", make_dict);
  add(scope, "namespace", make_namespace);
  add(scope, "raise_exception", raise_exception);
  add(scope, "strftime_now", strftime_now);
  add(scope, "cycler", make_cycler);
  add(scope, "joiner", make_joiner);
  add(scope, "lipsum", not_supported, Value(std::make_shared<const Text>("lipsum", nullptr)));
}

}  // namespace dak::jinja
