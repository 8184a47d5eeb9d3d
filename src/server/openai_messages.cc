#include "server/openai_messages.h"

#include <algorithm>
#include <array>

#include "text/exact_json.h"

namespace dak {
namespace {

// Members that other servers and clients add to messages and that no template reads.
constexpr std::string_view kMarks[] = {"annotations",
                                       "cache_control",
                                       "extra_content",
                                       "id",
                                       "index",
                                       "provider_specific_fields",
                                       "reasoning_details",
                                       "status",
                                       "thinking_blocks"};
constexpr std::string_view kMembers[] = {
    "audio",   "content", "function_call", "name",      "reasoning", "reasoning_content",
    "refusal", "role",    "tool_call_id",  "tool_calls"};

struct Content {
  std::string text;
  std::string reasoning;
};

// Texts of parts are lines.
Content content_of(const JsonField& content) {
  Content out;
  if (content.value().is_string()) {
    out.text = content.string();
    return out;
  }
  if (!content.value().is_array()) content.corrupt("must be a string or an array of parts");
  const auto add = [](std::string& text, const std::string& more) {
    if (!text.empty()) text += '\n';
    text += more;
  };
  for (const JsonField& part : content.items()) {
    const JsonField type = part.at("type");
    const std::string kind = type.string();
    if (kind == "text" || kind == "refusal") {
      add(out.text, part.at(kind).string());
    } else if (kind == "thinking" || kind == "reasoning") {
      const auto text = part.find("text");
      add(out.reasoning, (text ? *text : part.at(kind)).string());
    } else {
      type.unsupported("dak reads text alone");
    }
  }
  return out;
}

// Templates print objects; what is no object is printed as it came.
OrderedJson arguments_of(const std::optional<JsonField>& field, const OrderedJson& exact) {
  if (!field) return OrderedJson::object();
  if (field->value().is_object()) return exact;
  const std::string text = field->string();
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) return OrderedJson::object();
  if (!OrderedJson::accept(text)) return text;
  parse_json(text, "");  // its depth
  OrderedJson parsed = parse_exact_json(text, kMostMembers);
  if (parsed.is_null()) return OrderedJson::object();
  if (parsed.is_object()) return parsed;
  return text;
}

OrderedJson function_of(const JsonField& function, const OrderedJson& exact) {
  const auto arguments = function.find("arguments");
  return {{"name", function.at("name").string()},
          {"arguments", arguments_of(arguments, arguments && arguments->value().is_object()
                                                    ? exact.at("arguments")
                                                    : OrderedJson())}};
}

OrderedJson tool_calls_of(const JsonField& calls, const OrderedJson& exact) {
  OrderedJson out = OrderedJson::array();
  for (const JsonField& call : calls.items()) {
    if (const auto type = call.find("type"); type && type->string() != "function") {
      type->unsupported("only functions are tools here");
    }
    OrderedJson one{
        {"type", "function"},
        {"function", function_of(call.at("function"), exact.at(out.size()).at("function"))}};
    if (const auto id = call.find("id")) one["id"] = id->string();
    out.push_back(std::move(one));
  }
  return out;
}

void expect_members(const JsonField& message) {
  for (const auto& [key, value] : message.value().items()) {
    const auto is_key = [&key = key](std::string_view known) { return known == key; };
    if (value.is_null() || std::ranges::any_of(kMembers, is_key) ||
        std::ranges::any_of(kMarks, is_key)) {
      continue;
    }
    message.at(key).unsupported("is not a field of a message");
  }
  if (const auto audio = message.find("audio")) audio->unsupported("dak reads text alone");
}

std::string role_of(const JsonField& message) {
  const JsonField field = message.at("role");
  std::string role = field.string();
  if (role == "developer") return "system";
  if (role == "function") return "tool";  // its old name
  constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};
  if (std::ranges::find(kRoles, role) == kRoles.end()) {
    field.corrupt("is none of system, developer, user, assistant and tool");
  }
  return role;
}

void add_calls(const JsonField& message, const OrderedJson& exact, OrderedJson& out) {
  const auto calls = message.find("tool_calls");
  const auto call = message.find("function_call");  // its old name
  const auto& given = calls ? calls : call;
  if (!given) return;
  if (out.at("role") != "assistant") given->corrupt("is for the assistant's messages");
  OrderedJson list = OrderedJson::array();
  if (calls) {
    list = tool_calls_of(*calls, exact.at("tool_calls"));
  } else {
    list.push_back(
        {{"type", "function"}, {"function", function_of(*call, exact.at("function_call"))}});
  }
  if (!list.empty()) out["tool_calls"] = std::move(list);
}

OrderedJson message_of(const JsonField& message, ExactBody& exact, size_t index) {
  expect_members(message);
  OrderedJson out{{"role", role_of(message)}};
  const bool assistant = out.at("role") == "assistant";
  const auto content = message.find("content");
  if (!content && !assistant && out.at("role") != "tool") {
    message.at("content").corrupt("must not be null");
  }
  Content parts = content ? content_of(*content) : Content();
  const auto refusal = message.find("refusal");
  if (parts.text.empty() && refusal && assistant) parts.text = refusal->string();
  // Templates add texts up: null would be an error in most.
  out["content"] = parts.text;
  if (message.find("tool_calls") || message.find("function_call")) {
    add_calls(message, exact.get().at("messages").at(index), out);
  }
  for (const std::string_view key : {"name", "tool_call_id"}) {
    if (const auto field = message.find(key)) out[std::string(key)] = field->string();
  }
  for (const std::string_view key : {"reasoning_content", "reasoning"}) {
    const auto field = message.find(key);
    if (field && parts.reasoning.empty()) parts.reasoning = field->string();
  }
  if (!parts.reasoning.empty()) out["reasoning_content"] = parts.reasoning;
  return out;
}

}  // namespace

OrderedJson messages_of(const JsonField& messages, ExactBody& exact, int64_t most) {
  const auto items = messages.items();
  if (items.empty()) messages.corrupt("is empty");
  if (std::ssize(items) > most) messages.corrupt(fmt::format("has more than {} messages", most));
  OrderedJson out = OrderedJson::array();
  for (size_t i = 0; i < items.size(); ++i) out.push_back(message_of(items[i], exact, i));
  return out;
}

}  // namespace dak
