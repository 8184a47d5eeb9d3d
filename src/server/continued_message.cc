#include "server/continued_message.h"

#include "server/api_error.h"

namespace dak {
namespace {

constexpr std::string_view kParam = "messages";
// A noncharacter of Unicode (U+FDD1): text has none.
constexpr std::string_view kMark = "\xEF\xB7\x91";
constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

[[noreturn]] void refuse(const std::string& problem) {
  throw ApiError(400, "continue_final_message: " + problem, std::string(kParam));
}

// Where the message's text ends: nullptr, there is none.
std::string* last_text(OrderedJson& message) {
  const auto content = message.find("content");
  if (content == message.end()) return nullptr;
  if (content->is_string()) return content->get_ptr<std::string*>();
  if (!content->is_array()) return nullptr;
  for (auto part = content->rbegin(); part != content->rend(); ++part) {
    const auto text = part->find("text");
    if (text != part->end() && text->is_string()) return text->get_ptr<std::string*>();
  }
  return nullptr;
}

}  // namespace

void mark_last_message(ChatInput& input) {
  OrderedJson& message = input.messages.back();
  if (message.contains("tool_calls")) refuse("the last message calls tools: it has no open end");
  std::string* text = last_text(message);
  if (text == nullptr) refuse("the last message has no text to go on with");
  *text +=
      std::string(kMark) + ' ';  // the space tells whether the template keeps white space there
}

// The last one there: marks of the user's own stand before it.
std::string cut_at_mark(std::string rendered) {
  const size_t at = rendered.rfind(kMark);
  if (at == std::string::npos) refuse("the chat template does not show the last message's text");
  const bool kept = rendered.compare(at + kMark.size(), 1, " ") == 0;
  rendered.resize(at);
  if (!kept) rendered.resize(rendered.find_last_not_of(kWhiteSpace) + 1);
  return rendered;
}

}  // namespace dak
