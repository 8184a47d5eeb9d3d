// The input is a chat template; it is parsed and rendered for a fixed conversation.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/chat_template.h"

namespace {

const dak::ChatInput& conversation() {
  static const dak::ChatInput kInput = [] {
    dak::ChatInput input;
    input.messages = dak::OrderedJson::parse(R"([
      {"role": "system", "content": "Be brief \u00e9\u6f22."},
      {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
      {"role": "assistant", "content": null,
       "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1, "y": [2.5]}}}]},
      {"role": "tool", "content": "{}"}])");
    input.tools = dak::OrderedJson::parse(
        R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])");
    input.bos_token = "<s>";
    input.eos_token = "</s>";
    return input;
  }();
  return kInput;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const dak::ChatTemplate chat({reinterpret_cast<const char*>(data), size}, "fuzz");
    chat.render(conversation());
  } catch (const dak::Error&) {  // refusing is right; only a crash or a hang is wrong
  }
  return 0;
}
