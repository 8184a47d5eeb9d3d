// What a grammar says of a text.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/json_automaton.h"

namespace dak {

inline JsonGrammar grammar_of(const std::string& schema) {
  return JsonGrammar::of_schema(OrderedJson::parse(schema), "response_format");
}

enum class Verdict { kRefused, kBegun, kComplete };

inline Verdict verdict(const JsonGrammar& grammar, const std::string& text) {
  JsonAutomaton automaton(grammar);
  JsonAutomaton::State state = automaton.start();
  for (const char byte : text) {
    state = automaton.after(state, static_cast<uint8_t>(byte));
    if (state.empty()) return Verdict::kRefused;
    automaton.compact(state);
  }
  return automaton.may_end(state) ? Verdict::kComplete : Verdict::kBegun;
}

// That the grammar takes every one of `good`, and each of its beginnings, and none of `bad`.
inline void expect(const std::string& schema, const std::vector<std::string>& good,
                   const std::vector<std::string>& bad) {
  const JsonGrammar grammar = grammar_of(schema);
  for (const std::string& text : good) {
    EXPECT_EQ(verdict(grammar, text), Verdict::kComplete) << schema << " " << text;
    for (size_t length = 0; length < text.size(); ++length) {
      EXPECT_NE(verdict(grammar, text.substr(0, length)), Verdict::kRefused) << text;
    }
  }
  for (const std::string& text : bad) {
    EXPECT_NE(verdict(grammar, text), Verdict::kComplete) << schema << " " << text;
  }
}

}  // namespace dak
