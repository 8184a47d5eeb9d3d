// Any answer, in every form: cut into pieces it gives what it gives whole, and nothing of it is
// lost or told twice.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "server/tools/tool_parser.h"
#include "text/reasoning_text.h"

namespace {

const dak::OrderedJson& tools() {
  static const dak::OrderedJson kTools = dak::OrderedJson::parse(R"([
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties":
      {"city": {"type": "string"}, "n": {"type": "integer"}, "any": {}}}}},
    {"type": "function", "function": {"name": "g"}}])");
  return kTools;
}

// Events with their kinds, those of one kind joined.
std::string told(const dak::ToolForm& form, std::string_view answer, size_t piece, bool cut) {
  static const dak::ToolSignatures kSignatures(tools());
  dak::ToolCallParser parser(form, kSignatures);
  std::string out;
  char last = 0;
  bool open = false;
  const auto add = [&](const std::vector<dak::ToolEvent>& events) {
    for (const dak::ToolEvent& event : events) {
      const char kind = "tcae"[static_cast<size_t>(event.kind)];
      if (kind == 'a' && !open) std::abort();  // arguments of no call
      if (kind == 'c') open = true;
      if (kind == 'e') open = false;
      if (kind != last || kind == 'c' || kind == 'e') out += std::string("\n") + kind + ":";
      out += event.text;
      last = kind;
    }
  };
  for (size_t at = 0; at < answer.size(); at += piece) add(parser.push(answer.substr(at, piece)));
  add(parser.finish(cut));
  return out;
}

std::string divided(std::string_view answer, size_t piece, bool opened) {
  dak::ReasoningText reasoning({.open = "<think>", .close = "</think>", .opened = opened});
  dak::ReasoningText::Step all;
  const auto add = [&all](const dak::ReasoningText::Step& step) {
    all.reasoning += step.reasoning;
    all.text += step.text;
  };
  for (size_t at = 0; at < answer.size(); at += piece) {
    add(reasoning.push(answer.substr(at, piece)));
  }
  add(reasoning.finish());
  return all.reasoning + "\n|\n" + all.text;
}

}  // namespace

// The first two bytes choose the form and the pieces.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const dak::ToolForm& form = dak::tool_forms()[data[0] % dak::tool_forms().size()];
  const size_t piece = 1 + data[1] % 16;
  const bool cut = data[1] >= 128;
  const std::string_view answer(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (answer.empty()) return 0;
  if (told(form, answer, piece, cut) != told(form, answer, answer.size(), cut)) std::abort();
  if (divided(answer, piece, cut) != divided(answer, answer.size(), cut)) std::abort();
  return 0;
}
