// ToolCallParser: arguments between tags, and what is left at the end.
#include <algorithm>
#include <utility>

#include "server/json_text.h"
#include "server/tools/tool_parser.h"

namespace dak {
namespace {

using Match = TagMatch::Kind;
using Event = ToolEvent::Kind;

constexpr size_t kLongestKey = 4096;

}  // namespace

bool ToolCallParser::read_parameter() {
  if (!skip_spaces()) return false;
  const TagMatch close = match_tag(form_.close, rest());
  const TagMatch parameter = match_tag(form_.parameter, rest());
  if (parameter.kind == Match::kYes) {
    if (!told_) {
      begin_call();
      give(Event::kArguments, "{");
    }
    take(parameter.length);
    return go(State::kParameterKey);
  }
  if (close.kind != Match::kYes) {
    if (close.kind == Match::kPartly || parameter.kind == Match::kPartly) return false;
    if (!told_) return refuse();
  } else if (!told_) {
    begin_call();
    give(Event::kArguments, "{");
  }
  give(Event::kArguments, "}");
  return end_call();
}

bool ToolCallParser::read_parameter_key() {
  const TagFound end = find_tag(form_.after_key, rest());
  const std::string_view written = rest().substr(0, end.at);
  if (written.size() > kLongestKey) {  // no key
    give(Event::kArguments, "}");
    return end_call();
  }
  if (end.match.kind != Match::kYes) return false;
  key_ = trimmed(written);
  bool string = false;
  bool json = false;
  if (const size_t flag = key_.find(form_.string_flag);
      !form_.string_flag.empty() && flag != std::string::npos) {
    string = key_.ends_with("true");
    json = !string;
    key_.resize(flag);
  }
  take(end.at + end.match.length);
  types_ = tools_.types(name_, key_);
  if (string) types_ = kValueString;
  if (json) types_ = kValueAny;
  give(Event::kArguments, parameters_++ == 0 ? "" : ", ");
  give(Event::kArguments, json_string(key_) + ": ");
  if (types_ == kValueString) give(Event::kArguments, "\"");
  value_.clear();
  value_begun_ = false;
  return go(State::kParameterText);
}

// The tag that ends a value is one that the next argument or the end of the call follows: text may
// hold such a tag as well.
TagFound ToolCallParser::parameter_end() const {
  for (size_t from = 0;;) {
    const TagFound found = find_tag(form_.parameter_end, rest(), from);
    if (found.match.kind != Match::kYes) return found;
    const std::string_view after = rest().substr(found.at + found.match.length);
    const size_t next = std::min(after.find_first_not_of(kToolSpaces), after.size());
    const Match parameter = match_tag(form_.parameter, after.substr(next)).kind;
    const Match close = match_tag(form_.close, after.substr(next)).kind;
    if (parameter == Match::kYes || close == Match::kYes) return found;
    if (parameter == Match::kPartly || close == Match::kPartly) {
      return {.match = {.kind = Match::kPartly}, .at = found.at};
    }
    from = found.at + 1;
  }
}

void ToolCallParser::give_value(std::string_view text) {
  if (types_ != kValueString) {
    value_ += text;
    return;
  }
  std::string quoted = json_string(text);
  give(Event::kArguments, std::string_view(quoted).substr(1, quoted.size() - 2));
}

bool ToolCallParser::read_parameter_text() {
  if (form_.own_lines && !value_begun_ && !rest().empty()) {
    if (rest().starts_with("\r\n")) take(1);
    if (rest() == "\r") return false;
    if (rest().starts_with('\n')) take(1);
    value_begun_ = true;
  }
  const TagFound end = parameter_end();
  const bool ends = end.match.kind == Match::kYes;
  std::string_view certain = rest().substr(0, end.at);
  // A line break before the tag, or before what may be one, is the tag's.
  if (form_.own_lines && certain.ends_with('\n')) certain.remove_suffix(1);
  if (form_.own_lines && certain.ends_with('\r')) certain.remove_suffix(1);
  give_value(certain);
  if (!ends) {
    at_ += certain.size();
    return false;
  }
  at_ += end.at + end.match.length;
  give(Event::kArguments, types_ == kValueString ? "\"" : typed_value(value_, types_));
  return go(State::kParameter);
}

std::vector<ToolEvent> ToolCallParser::finish(bool cut) {
  if (state_ == State::kText) {
    finish_text(cut);
  } else if (told_) {
    finish_call(cut);
  } else if (!cut && state_ != State::kBetween) {
    taken_ += rest();
    refuse();
  }
  held_.clear();
  return std::exchange(events_, {});
}

// Spaces after a call mean nothing; of what may have become a call's tag nothing is shown where the
// answer was cut there.
void ToolCallParser::finish_text(bool cut) {
  std::string_view text = rest();
  if (cut) {
    const TagFound tag = find_tag(form_.begin.empty() ? form_.open : form_.begin, text);
    const bool likely = !any_text_ || text.size() - std::min(tag.at, text.size()) > 1;
    if (tag.match.kind == Match::kPartly && likely) text = text.substr(0, tag.at);
    if (form_.bare() && !any_text_) text = {};
  }
  if (any_call_ && trimmed(text).empty()) return;
  give(Event::kText, text);
}

void ToolCallParser::finish_call(bool cut) {
  if (form_.style != ToolForm::Style::kParameters) return;
  const bool in_text = state_ == State::kParameterText;
  if (in_text) {
    // The last tag may be there without what should follow it.
    const TagFound end = find_tag(form_.parameter_end, rest());
    const bool ended = end.match.kind == Match::kYes;
    std::string_view text = rest().substr(0, end.at);
    if (ended && form_.own_lines && text.ends_with('\n')) text.remove_suffix(1);
    if (!ended && cut) return;
    give_value(text);
    give(Event::kArguments, types_ == kValueString ? "\"" : typed_value(value_, types_));
  }
  if (cut || (!in_text && state_ != State::kParameter)) return;
  give(Event::kArguments, "}");
  give(Event::kEnd, {});
  state_ = State::kBetween;
}

}  // namespace dak
