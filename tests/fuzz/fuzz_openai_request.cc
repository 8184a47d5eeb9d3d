// The input is a request's body, read as each of the API's requests; what a response_format or
// tools hold becomes a grammar, which the body itself is then followed through, and is searched for
// tool calls.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/json_automaton.h"
#include "server/openai_request.h"
#include "server/tool_calls.h"

namespace {

void follow(const dak::JsonGrammar& grammar, std::string_view text) {
  dak::JsonAutomaton automaton(grammar);
  dak::JsonAutomaton::State state = automaton.start();
  for (const char byte : text) {
    state = automaton.after(state, static_cast<uint8_t>(byte));
    if (state.empty()) return;
    automaton.compact(state);
  }
  automaton.may_end(state);
}

template <typename Read>
void attempt(const Read& read) {
  try {
    read();
  } catch (const dak::ApiError&) {  // refusing is right; only a crash or a hang is wrong
  } catch (const dak::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  attempt([&] {
    const dak::ChatRequest request = dak::parse_chat_request(body, {});
    if (!request.input.tools.is_null()) {
      follow(dak::JsonGrammar::of_calls(request.input.tools, "", {"arguments", "", ""}, "tools"),
             body);
    }
    if (!request.format.schema.is_null()) {
      follow(dak::JsonGrammar::of_schema(request.format.schema, "response_format"), body);
    }
  });
  attempt([&] { dak::parse_completion_request(body, {}); });
  attempt([&] { dak::parse_tokenize_request(body, {}); });
  attempt([&] { dak::parse_detokenize_request(body); });
  attempt([&] { follow(dak::JsonGrammar::object(), body); });
  for (const dak::ToolFormat format :
       {dak::ToolFormat::kHermes, dak::ToolFormat::kLlama, dak::ToolFormat::kMistral}) {
    dak::ToolCallParser parser(format, {"f"});
    parser.push(body.substr(0, size / 2));
    parser.push(body.substr(size / 2));
    parser.finish();
  }
  return 0;
}
