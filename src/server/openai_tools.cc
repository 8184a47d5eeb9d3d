#include "server/openai_tools.h"

#include <algorithm>

namespace dak {
namespace {

constexpr size_t kMostTools = 128;  // OpenAI's
// OpenAI's 64, and what names of MCP servers add.
constexpr size_t kLongestName = 256;
constexpr std::string_view kSigns = "_-.:/";

void check_function_name(const JsonField& field) {
  const std::string name = field.string();
  const bool known = std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) != 0 || kSigns.find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (name.empty() || name.size() > kLongestName || !known) {
    field.corrupt(
        fmt::format("must be 1 to {} letters, digits or any of {}", kLongestName, kSigns));
  }
}

void check_tool(const JsonField& tool) {
  tool.expect_only({"type", "function", "cache_control"});
  const JsonField type = tool.at("type");
  if (type.string() != "function") type.unsupported("only functions are tools here");
  const JsonField function = tool.at("function");
  function.expect_only({"name", "description", "parameters", "strict", "cache_control"});
  check_function_name(function.at("name"));
  if (const auto text = function.find("description")) text->string();
  const auto parameters = function.find("parameters");
  if (parameters && !parameters->value().is_object()) parameters->corrupt("must be an object");
}

}  // namespace

void read_tools(const JsonField& body, ExactBody& exact, ChatRequest& request) {
  const auto tools = body.find("tools");
  if (tools && !tools->items().empty()) {
    const auto items = tools->items();
    if (items.size() > kMostTools) tools->corrupt(fmt::format("has more than {}", kMostTools));
    for (const JsonField& tool : items) check_tool(tool);
    request.input.tools = exact.get().at("tools");
    // Marks of caches elsewhere, which templates would print.
    for (OrderedJson& tool : request.input.tools) {
      tool.erase("cache_control");
      tool.at("function").erase("cache_control");
    }
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
