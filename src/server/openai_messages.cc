#include "server/openai_messages.h"

#include <algorithm>

#include "server/request_body.h"

namespace dak {
namespace {

constexpr size_t kMostTools = 128;  // OpenAI's
constexpr size_t kLongestName = 64;

std::string text_of(const JsonField& content) {
  if (content.value().is_string()) return content.string();
  if (!content.value().is_array()) content.corrupt("must be a string or an array of parts");
  std::string text;
  for (const JsonField& part : content.items()) {
    const JsonField type = part.at("type");
    if (type.string() != "text") type.unsupported("dak reads text alone");
    if (!text.empty()) text += '\n';
    text += part.at("text").string();
  }
  return text;
}

void check_function_name(const JsonField& field) {
  const std::string name = field.string();
  const bool known = std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
  });
  if (name.empty() || name.size() > kLongestName || !known) {
    field.corrupt(fmt::format("must be 1 to {} letters, digits, '_', '-' or '.'", kLongestName));
  }
}

OrderedJson tool_calls_of(const JsonField& calls) {
  OrderedJson out = OrderedJson::array();
  for (const JsonField& call : calls.items()) {
    call.expect_only({"id", "type", "function", "index"});
    const JsonField function = call.at("function");
    const JsonField text = function.at("arguments");
    // Templates print objects; what is no object is printed as it came.
    OrderedJson arguments = text.string();
    if (OrderedJson::accept(text.string())) {
      parse_json(text.string(), "");  // its depth
      OrderedJson parsed = parse_ordered(text.string());
      if (parsed.is_object()) arguments = std::move(parsed);
    }
    OrderedJson one{
        {"type", "function"},
        {"function",
         {{"name", function.at("name").string()}, {"arguments", std::move(arguments)}}}};
    if (const auto id = call.find("id")) one["id"] = id->string();
    out.push_back(std::move(one));
  }
  return out;
}

OrderedJson message_of(const JsonField& message) {
  message.expect_only({"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio",
                       "annotations", "reasoning_content", "function_call"});
  const JsonField role_field = message.at("role");
  std::string role = role_field.string();
  if (role == "developer") role = "system";
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
    role_field.corrupt("is none of system, developer, user, assistant and tool");
  }
  if (const auto audio = message.find("audio")) audio->unsupported("dak reads text alone");
  if (const auto call = message.find("function_call")) call->unsupported("use tool_calls");
  OrderedJson out{{"role", role}};
  const auto content = message.find("content");
  const auto calls = message.find("tool_calls");
  if (!content && role != "assistant") message.at("content").corrupt("must not be null");
  // Templates add texts up: null would be an error in most.
  out["content"] = content ? text_of(*content) : "";
  if (calls) {
    if (role != "assistant") calls->corrupt("is for the assistant's messages");
    out["tool_calls"] = tool_calls_of(*calls);
  }
  for (const std::string_view key : {"name", "tool_call_id", "reasoning_content"}) {
    if (const auto field = message.find(key)) out[std::string(key)] = field->string();
  }
  return out;
}

void check_tool(const JsonField& tool) {
  tool.expect_only({"type", "function"});
  const JsonField type = tool.at("type");
  if (type.string() != "function") type.unsupported("only functions are tools here");
  const JsonField function = tool.at("function");
  function.expect_only({"name", "description", "parameters", "strict"});
  check_function_name(function.at("name"));
  if (const auto text = function.find("description")) text->string();
  const auto parameters = function.find("parameters");
  if (parameters && !parameters->value().is_object()) parameters->corrupt("must be an object");
}

}  // namespace

OrderedJson messages_of(const JsonField& messages, int64_t most) {
  const auto items = messages.items();
  if (items.empty()) messages.corrupt("is empty");
  if (std::ssize(items) > most) messages.corrupt(fmt::format("has more than {} messages", most));
  OrderedJson out = OrderedJson::array();
  for (const JsonField& item : items) out.push_back(message_of(item));
  return out;
}

void read_tools(const JsonField& body, const OrderedJson& ordered, ChatRequest& request) {
  const auto tools = body.find("tools");
  if (tools && !tools->items().empty()) {
    const auto items = tools->items();
    if (items.size() > kMostTools) tools->corrupt(fmt::format("has more than {}", kMostTools));
    for (const JsonField& tool : items) check_tool(tool);
    request.input.tools = ordered.at("tools");
  }
  const bool any = !request.input.tools.is_null();
  request.parallel_tools = body.boolean_or("parallel_tool_calls", true);
  const auto choice = body.find("tool_choice");
  if (!choice) return;
  if (choice->value().is_object()) {
    const JsonField name = choice->at("function").at("name");
    request.tool_choice = ToolChoice::kRequired;
    request.tool_name = name.string();
    const auto is_it = [&request](const OrderedJson& tool) {
      return tool.at("function").at("name") == request.tool_name;
    };
    if (!any || std::ranges::none_of(request.input.tools, is_it)) name.corrupt("is no tool's name");
    return;
  }
  const std::string word = choice->string();
  if (word == "none") {
    request.tool_choice = ToolChoice::kNone;
    request.input.tools = nullptr;
  } else if (word == "required") {
    if (!any) choice->corrupt("needs tools");
    request.tool_choice = ToolChoice::kRequired;
  } else if (word != "auto") {
    choice->corrupt("is none of none, auto, required and a function");
  }
}

}  // namespace dak
