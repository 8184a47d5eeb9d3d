// Random texts that grammars of schemas take, for a validator to judge: one JSON object a line on
// standard input, {"schema", "walks", "texts"}; one a line on standard output: {"walks": [text...],
// "stuck": [text...], "takes": [bool for each of `texts`]} or {"error": message}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>

#include "server/json_automaton.h"

namespace {

using dak::JsonAutomaton;

JsonAutomaton::State follow(JsonAutomaton& automaton, JsonAutomaton::State state,
                            std::string_view text) {
  for (const char byte : text) {
    if (!state.empty()) state = automaton.after(state, static_cast<uint8_t>(byte));
  }
  return state;
}

std::vector<std::string> units() {
  std::vector<std::string> all;
  for (int byte = 1; byte < 127; ++byte) all.emplace_back(1, static_cast<char>(byte));
  for (const char* one :
       {"\xc3\xa9", "\xe5\xad\x97", "\xf0\x9f\x98\x80", "\\u00e9", "\\n", "\\\""}) {
    all.emplace_back(one);
  }
  return all;
}

// One random text; false where the automaton led to a place that nothing leads out of.
bool walk(const dak::JsonGrammar& grammar, std::mt19937_64& random, std::string& text) {
  static const std::vector<std::string> kUnits = units();
  constexpr size_t kLong = 60;  // from here on what closes comes first
  constexpr size_t kMost = 4000;
  JsonAutomaton automaton(grammar);
  JsonAutomaton::State state = automaton.start();
  while (text.size() < kMost) {
    if (automaton.may_end(state) && (random() % 4 == 0 || text.size() > kLong)) return true;
    std::vector<const std::string*> choices;
    for (const std::string& unit : kUnits) {
      const auto mark = automaton.mark();
      const bool may = !follow(automaton, state, unit).empty();
      automaton.forget(mark);
      if (!may) continue;
      const bool closes = unit == "\"" || unit == "}" || unit == "]";
      if (closes && text.size() > kLong) choices.clear();
      choices.insert(choices.end(), closes ? 20 : 1, &unit);
      if (closes && text.size() > kLong) break;
    }
    if (choices.empty()) return automaton.may_end(state);
    const std::string& unit = *choices[random() % choices.size()];
    state = follow(automaton, state, unit);
    automaton.compact(state);
    text += unit;
  }
  text.clear();
  return true;  // it had no chance to end
}

nlohmann::json judge(const dak::OrderedJson& request, std::mt19937_64& random) {
  const auto grammar = dak::JsonGrammar::of_schema(request.at("schema"), "response_format");
  nlohmann::json answer{{"walks", nlohmann::json::array()},
                        {"stuck", nlohmann::json::array()},
                        {"takes", nlohmann::json::array()}};
  for (int i = 0; i < request.at("walks").get<int>(); ++i) {
    std::string text;
    const bool ended = walk(grammar, random, text);
    if (!text.empty()) answer[ended ? "walks" : "stuck"].push_back(text);
  }
  for (const auto& text : request.at("texts")) {
    JsonAutomaton automaton(grammar);
    const auto state = follow(automaton, automaton.start(), text.get<std::string>());
    answer["takes"].push_back(automaton.may_end(state));
  }
  return answer;
}

}  // namespace

int main() {
  std::mt19937_64 random(11);
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << judge(dak::OrderedJson::parse(line), random).dump() << "\n";
    } catch (const std::exception& error) {
      std::cout << nlohmann::json{{"error", error.what()}}.dump() << "\n";
    }
  }
  return 0;
}
