// Grammars made of schemas: what they accept, that all they produce is valid, and that a mask of
// tokens is what following each token's bytes gives.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/json_constraint.h"
#include "server/json_verdict.h"
#include "support/throws_error.h"

namespace dak {
namespace {

TEST(JsonGrammarTest, Values) {
  expect(R"({"type":"integer"})", {"0", "-1", "42"},
         {"", "-", "01", "1.5", "1e3", "+1", "\"1\"", " 1"});
  expect(R"({"type":"number"})", {"0", "-0.5", "1e10", "2.25E-3"},
         {"1.", ".5", "1e", "00", "NaN", "--1"});
  expect(R"({"type":"string"})", {R"("")", R"("a\n\u00e9\"")", "\"\xc3\xa9\""},
         {"\"", "\"\n\"", R"("\x")", R"("\u12g4")", "'a'"});
  expect(R"({"type":"boolean"})", {"true", "false"}, {"tru", "True", "truefalse"});
  expect(R"({"type":["integer","null"]})", {"1", "null"}, {"\"\"", "nul"});
  expect(R"({"enum":["red","rose",3]})", {R"("red")", R"("rose")", "3"}, {R"("ro")", "red", "33"});
  expect(R"({"const":{"a":1}})", {R"({"a":1})"}, {R"({"a":2})"});
}

TEST(JsonGrammarTest, Objects) {
  expect(R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"},"ab":{}},
            "required":["b"],"additionalProperties":false})",
         {R"({"b":""})", R"({"a":1,"b":"x","ab":[1]})", "{\n  \"a\": 1,\n  \"b\": \"x\"\n}"},
         {"{}", R"({"a":1})", R"({"b":"","a":1})", R"({"b":"","c":1})", R"({"a":1,})",
          R"({"b":""}})", R"({"a":1 "b":""})", R"({,"b":""})", R"({"b":"","b":""})"});
  expect(R"({"type":"object"})", {"{}", R"({"x":{"y":[null,{}]},"z":-1.5})"},
         {"[]", "{\"x\"}", "{x:1}"});
  expect(R"({"type":"object","additionalProperties":{"type":"integer"}})", {R"({"x":1})"},
         {R"({"x":"1"})"});
}

TEST(JsonGrammarTest, ArraysAndReferences) {
  expect(R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":2})",
         {"[1]", "[1, 2]"}, {"[]", "[1,2,3]", "[1,]", "[,1]"});
  expect(R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"left":{"anyOf":[
            {"$ref":"#/$defs/tree"},{"type":"null"}]}},"required":["left"]}}})",
         {R"({"left":null})", R"({"left":{"left":{"left":null}}})"}, {R"({"left":{}})"});
}

TEST(JsonGrammarTest, WhiteSpaceComesToAnEnd) {
  expect("{}", {"[ 1 ]", "{\n    \"a\": 1\n}"},
         {"[  1]", "[\n\n1]", "[\n" + std::string(100, ' ') + "1]"});
}

TEST(JsonGrammarTest, WhatIsNestedTooDeeplyIsRefused) {
  std::string deep;
  for (int i = 0; i < 400; ++i) deep += R"({"type":"array","items":)";
  try {
    grammar_of(deep + "{}" + std::string(400, '}'));
    FAIL();
  } catch (const ApiError& error) {
    EXPECT_NE(std::string(error.what()).find("nested too deeply"), std::string::npos);
  }
}

// Random walks through grammars: each that ends is JSON.
TEST(JsonGrammarTest, WhatItProducesIsJson) {
  std::mt19937_64 random(7);
  for (const char* schema :
       {"{}", R"({"type":"object","properties":{"a":{"type":"number"},"b":{"type":"array"}}})",
        R"({"anyOf":[{"type":"array","items":{"type":"object"}},{"type":"string"}]})"}) {
    const JsonGrammar grammar = grammar_of(schema);
    int complete = 0;
    for (int walk = 0; walk < 300; ++walk) {
      JsonAutomaton automaton(grammar);
      JsonAutomaton::State state = automaton.start();
      std::string text;
      while (text.size() < 60 && !(automaton.may_end(state) && random() % 2 == 0)) {
        std::vector<uint8_t> choices;
        for (int byte = 0; byte < 128; ++byte) {
          if (!automaton.after(state, static_cast<uint8_t>(byte)).empty()) {
            // Ends are rare among letters.
            const bool closes = byte == '"' || byte == '}' || byte == ']';
            choices.insert(choices.end(), closes ? 40 : 1, static_cast<uint8_t>(byte));
          }
        }
        if (choices.empty()) break;
        const uint8_t byte = choices[random() % choices.size()];
        state = automaton.after(state, byte);
        text += static_cast<char>(byte);
        automaton.compact(state);
      }
      if (!automaton.may_end(state)) continue;
      ++complete;
      EXPECT_TRUE(nlohmann::json::accept(text)) << text;
    }
    EXPECT_GT(complete, 100) << schema;
  }
}

TEST(JsonConstraintTest, TheMaskIsWhatEachTokensBytesGive) {
  std::mt19937_64 random(3);
  constexpr std::string_view kLetters = "{}[]\",:0a1\\ntrue -.\n \xc3\xa9";
  std::vector<std::string> texts{""};
  for (int i = 0; i < 900; ++i) {
    std::string text;
    for (size_t length = 1 + random() % 5; text.size() < length;)
      text += kLetters[random() % kLetters.size()];
    texts.push_back(text);
  }
  std::vector<bool> special(texts.size());
  special[5] = true;
  constexpr TokenId kEnd = 0;
  const TokenTexts tokens(texts, special, {kEnd});
  const auto grammar = std::make_shared<JsonGrammar>(grammar_of(
      R"({"type":"object","properties":{"a":{},"at":{"type":"string"},"e":{"enum":["1","true"]},
          "r":{"type":"string","maxLength":6},"t":{"type":"string","pattern":"^[a0]+[^n]*$"},
          "ru":{"type":"array","items":{"type":"string"},"uniqueItems":true}}})"));
  int tokens_drawn = 0;
  for (int walk = 0; walk < 30; ++walk) {
    JsonConstraint constraint(grammar, tokens);
    std::string text;
    for (int step = 0; step < 40; ++step) {
      std::vector<uint64_t> bits((texts.size() + 63) / 64);
      constraint.allow(bits);
      std::vector<TokenId> allowed;
      for (size_t id = 0; id < texts.size(); ++id) {
        const bool set = (bits[id / 64] >> (id % 64) & 1) != 0;
        const Verdict wanted = verdict(*grammar, text + texts[id]);
        const bool may =
            id == kEnd ? wanted == Verdict::kComplete : !special[id] && wanted != Verdict::kRefused;
        ASSERT_EQ(set, may) << text << " + " << texts[id];
        if (set) allowed.push_back(static_cast<TokenId>(id));
      }
      if (allowed.empty()) break;
      const TokenId token = allowed[random() % allowed.size()];
      if (token == kEnd) break;
      constraint.accept(token);
      text += texts[static_cast<size_t>(token)];
      ++tokens_drawn;
    }
  }
  EXPECT_GT(tokens_drawn, 200);
}

TEST(JsonConstraintTest, ATokenThatWasNotAllowedIsAFault) {
  const std::vector<std::string> texts{"", "{", "}", "["};
  const TokenTexts tokens(texts, {false, false, false, false}, {0});
  JsonConstraint constraint(std::make_shared<JsonGrammar>(JsonGrammar::object()), tokens);
  std::vector<uint64_t> bits(1);
  constraint.allow(bits);
  EXPECT_EQ(bits[0], 1U << 1);
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInternal, "a token was drawn", [&] { constraint.accept(3); }));
}

}  // namespace
}  // namespace dak
