// The input is a request's body, read as each of the API's requests; what a response_format or
// tools hold becomes a grammar, which the body itself is then followed through.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/json_automaton.h"
#include "server/openai_request.h"
#include "server/tools/tool_grammar.h"
#include "text/exact_json.h"

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
      for (const dak::ToolForm& form : dak::tool_forms()) {
        follow(dak::grammar_of_calls(form, dak::without_digits(request.input.tools),
                                     {.name = {}, .several = true}, {}),
               body);
      }
    }
    if (!request.format.schema.is_null()) {
      follow(dak::JsonGrammar::of_schema(request.format.schema, "response_format"), body);
    }
  });
  attempt([&] { dak::parse_completion_request(body, {}); });
  attempt([&] { dak::parse_tokenize_request(body, {}); });
  attempt([&] { dak::parse_detokenize_request(body); });
  attempt([&] { follow(dak::JsonGrammar::object(), body); });
  return 0;
}
