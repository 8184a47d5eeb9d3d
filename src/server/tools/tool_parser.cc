#include "server/tools/tool_parser.h"

#include <utility>

#include "server/json_text.h"

namespace dak {
namespace {

using Match = TagMatch::Kind;
using Event = ToolEvent::Kind;

constexpr size_t kLongestWritten = 512;  // with an id and spaces

// The arguments as their JSON says, from what stands where they are expected.
std::string arguments_of(const std::string& value) {
  std::string text = value;
  if (value.starts_with('"')) {  // JSON in a string
    const OrderedJson decoded = OrderedJson::parse(value, nullptr, false);
    if (decoded.is_string()) text = trimmed(decoded.get_ref<const std::string&>());
  }
  return text.empty() || text == "null" ? "{}" : text;
}

}  // namespace

void ToolCallParser::give(Event kind, std::string_view text) {
  if (text.empty() && kind != Event::kEnd) return;
  if (kind == Event::kEnd) ended_ = true;
  if (kind == Event::kText) any_text_ = any_text_ || !trimmed(text).empty();
  const bool joins = kind == Event::kText || kind == Event::kArguments;
  if (joins && !events_.empty() && events_.back().kind == kind) {
    events_.back().text += text;
  } else {
    events_.push_back({.kind = kind, .text = std::string(text)});
  }
}

void ToolCallParser::take(size_t bytes) {
  if (!told_) taken_ += rest().substr(0, bytes);
  at_ += bytes;
}

bool ToolCallParser::go(State state) {
  state_ = state;
  return true;
}

bool ToolCallParser::skip_spaces() {
  const size_t first = rest().find_first_not_of(kToolSpaces);
  take(first == std::string_view::npos ? rest().size() : first);
  return at_ < held_.size();
}

void ToolCallParser::reset_call() {
  taken_.clear();
  told_ = false;
  ended_ = false;
  name_.clear();
  arguments_.clear();
  parameters_ = 0;
  value_begun_ = false;
}

bool ToolCallParser::refuse() {
  give(Event::kText, taken_);
  reset_call();
  return go(State::kText);
}

bool ToolCallParser::begin_call() {
  give(Event::kCall, name_);
  taken_.clear();
  told_ = true;
  any_call_ = true;
  return true;
}

bool ToolCallParser::end_call() {
  give(Event::kEnd, {});
  return go(State::kClose);
}

std::vector<ToolEvent> ToolCallParser::push(std::string_view piece) {
  held_ += piece;
  run();
  return std::exchange(events_, {});
}

void ToolCallParser::run() {
  while (step()) {
  }
  held_.erase(0, at_);
  at_ = 0;
}

bool ToolCallParser::step() {
  switch (state_) {
    case State::kText:
      return read_text();
    case State::kOpen:
      return read_open();
    case State::kObject:
      return read_object();
    case State::kKey:
      return read_key();
    case State::kValue:
      return read_value();
    case State::kInValue:
      return read_in_value();
    case State::kName:
      return read_name();
    case State::kArguments:
      return read_arguments();
    case State::kInArguments:
      return read_in_arguments();
    case State::kParameter:
      return read_parameter();
    case State::kParameterKey:
      return read_parameter_key();
    case State::kParameterText:
      return read_parameter_text();
    case State::kClose:
      return read_close();
    case State::kBetween:
      return read_between();
  }
  return false;
}

// The spaces before a call are nobody's.
bool ToolCallParser::read_text() {
  if (form_.bare()) return read_bare_start();
  const TagFound found = find_tag(form_.begin.empty() ? form_.open : form_.begin, rest());
  const std::string_view before = rest().substr(0, found.at);
  const size_t last = before.find_last_not_of(kToolSpaces);
  const size_t certain = last == std::string_view::npos ? 0 : last + 1;
  give(Event::kText, before.substr(0, certain));
  at_ += certain;
  if (found.match.kind != Match::kYes) return false;
  reset_call();
  take(found.at - certain + found.match.length);
  return form_.begin.empty() ? opened() : go(State::kOpen);
}

bool ToolCallParser::read_bare_start() {
  if (!any_text_ && !any_call_) {
    const size_t first = rest().find_first_not_of(kToolSpaces);
    if (first == std::string_view::npos) return false;
    if (rest()[first] == '{') return go(State::kObject);
  }
  give(Event::kText, rest());
  at_ = held_.size();
  any_text_ = true;
  return false;
}

bool ToolCallParser::opened() {
  return go(form_.style == ToolForm::Style::kObject ? State::kObject : State::kName);
}

bool ToolCallParser::read_open() {
  if (!skip_spaces()) return false;
  if (form_.open.empty()) return opened();
  const TagMatch match = match_tag(form_.open, rest());
  if (match.kind == Match::kPartly) return false;
  if (match.kind == Match::kNo) return refuse();
  take(match.length);
  return opened();
}

bool ToolCallParser::read_object() {
  if (!skip_spaces()) return false;
  if (rest().front() != '{') return refuse();
  take(1);
  return go(State::kKey);
}

bool ToolCallParser::read_key() {
  if (!skip_spaces()) return false;
  const char c = rest().front();
  if (c == ',') {
    take(1);
    return true;
  }
  if (c == '"') {
    extent_ = {};
    use_ = Use::kSkip;
    value_.clear();
    key_.clear();
    return go(State::kValue);
  }
  if (told_) {  // the arguments were whole: whatever follows
    if (c == '}') take(1);
    return go(State::kClose);
  }
  if (c != '}' || name_.empty()) return refuse();
  take(1);
  begin_call();
  give(Event::kArguments, arguments_.empty() ? "{}" : arguments_);
  return end_call();
}

// The key, the colon and what the value begins with.
bool ToolCallParser::read_value() {
  if (!extent_.done()) {
    take(extent_.read(rest(), key_));
    if (!extent_.done()) return false;
  }
  if (!skip_spaces()) return false;
  if (value_.empty()) {
    if (rest().front() != ':') return told_ ? go(State::kClose) : refuse();
    value_ = ":";
    take(1);
    if (!skip_spaces()) return false;
  }
  const OrderedJson decoded = OrderedJson::parse(key_, nullptr, false);
  const std::string key = decoded.is_string() ? decoded.get<std::string>() : std::string();
  const bool is_name = !form_.name_key.empty() && key == form_.name_key;
  const bool is_arguments =
      form_.name_key.empty() ? name_.empty() : key == "arguments" || key == "parameters";
  use_ = Use::kSkip;
  if (is_name && name_.empty()) use_ = Use::kName;
  if (is_arguments && !told_ && arguments_.empty()) {
    if (form_.name_key.empty() && !set_name(key)) return refuse();
    const bool passes = !name_.empty() && rest().front() == '{';
    if (passes) begin_call();
    use_ = passes ? Use::kPass : Use::kHold;
  }
  extent_ = {};
  value_.clear();
  return go(State::kInValue);
}

bool ToolCallParser::read_in_value() {
  std::string read;
  take(extent_.read(rest(), read));
  if (use_ == Use::kPass) give(Event::kArguments, read);
  if (use_ == Use::kName || use_ == Use::kHold) value_ += read;
  return extent_.done() && end_value();
}

bool ToolCallParser::end_value() {
  state_ = State::kKey;
  if (use_ == Use::kPass) give(Event::kEnd, {});
  if (use_ == Use::kHold) {
    arguments_ = arguments_of(value_);
    if (!arguments_.starts_with('{')) return refuse();
  }
  if (use_ == Use::kName) {
    const OrderedJson name = OrderedJson::parse(value_, nullptr, false);
    if (!name.is_string() || !set_name(name.get_ref<const std::string&>())) return refuse();
  }
  if (use_ == Use::kSkip || name_.empty() || arguments_.empty() || told_) return true;
  begin_call();
  give(Event::kArguments, arguments_);
  give(Event::kEnd, {});
  return true;
}

bool ToolCallParser::set_name(std::string_view written) {
  if (!form_.id_before.empty()) {
    const size_t id = written.rfind(form_.id_before);
    if (id == std::string_view::npos) return false;
    written.remove_prefix(id + form_.id_before.size());
  }
  if (!form_.id_after.empty()) written = written.substr(0, written.rfind(form_.id_after));
  written = trimmed(written);
  if (written.starts_with(form_.name_prefix)) written.remove_prefix(form_.name_prefix.size());
  if (!tools_.has(written)) return false;
  name_ = written;
  return true;
}

bool ToolCallParser::read_name() {
  TagFound end;
  const bool tagged = !form_.after_name.empty();
  for (const std::string_view tag : {form_.after_name, form_.parameter, form_.close}) {
    if (tagged && tag != form_.after_name) continue;
    const TagFound found = find_tag(tag, rest());
    if (found.at < end.at) end = found;
  }
  const std::string_view written = rest().substr(0, end.at);
  if (written.size() > kLongestWritten) {
    take(kLongestWritten);
    return refuse();
  }
  if (end.match.kind != Match::kYes) return false;
  const bool known = set_name(written);
  take(end.at + (tagged ? end.match.length : 0));
  if (!known) return refuse();
  return go(form_.style == ToolForm::Style::kNamed ? State::kArguments : State::kParameter);
}

bool ToolCallParser::read_arguments() {
  if (!skip_spaces()) return false;
  extent_ = {};
  if (rest().front() == '{') {
    begin_call();
    return go(State::kInArguments);
  }
  for (const std::string_view nothing : {form_.close, std::string_view("null")}) {
    const TagMatch match = match_tag(nothing, rest());
    if (match.kind == Match::kPartly) return false;
    if (match.kind == Match::kNo) continue;
    if (nothing != form_.close) take(match.length);
    begin_call();
    give(Event::kArguments, "{}");
    return end_call();
  }
  return refuse();
}

bool ToolCallParser::read_in_arguments() {
  std::string read;
  take(extent_.read(rest(), read));
  give(Event::kArguments, read);
  return extent_.done() && end_call();
}

bool ToolCallParser::read_close() {
  if (form_.close.empty()) return go(State::kBetween);
  if (!skip_spaces()) return false;
  const TagMatch match = match_tag(form_.close, rest());
  if (match.kind == Match::kPartly) return false;
  if (match.kind == Match::kYes) take(match.length);
  return go(State::kBetween);
}

// One call is over: another, the end of all, or text.
bool ToolCallParser::read_between() {
  reset_call();
  if (form_.begin.empty() && !form_.bare()) return go(State::kText);
  const size_t first = rest().find_first_not_of(kToolSpaces);
  if (first == std::string_view::npos) return false;
  const std::string_view after = rest().substr(first);
  const auto passes = [&](std::string_view tag, State next, bool& waits) {
    const TagMatch match = match_tag(tag, after);
    waits = waits || match.kind == Match::kPartly;
    if (match.kind != Match::kYes) return false;
    take(first + match.length);
    return go(next);
  };
  bool waits = false;
  if (passes(form_.between, State::kOpen, waits)) return true;
  if (passes(form_.end, State::kText, waits)) {
    taken_.clear();
    return true;
  }
  if (form_.between.empty() || form_.bare()) {
    if (form_.open.empty() && after.front() == '{') return go(State::kObject);
    if (!form_.open.empty() && passes(form_.open, State::kOpen, waits)) return opened();
  }
  return !waits && go(State::kText);
}

}  // namespace dak
