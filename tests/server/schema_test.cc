// Rules of schemas, alone and beside each other: what answers they allow.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "server/json_verdict.h"
#include "server/tools/tool_grammar.h"

namespace dak {
namespace {

// What the schema is refused with; empty: it is not.
std::string refusal(const std::string& schema) {
  try {
    grammar_of(schema);
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status(), 400);
    EXPECT_EQ(error.param(), "response_format");
    return error.what();
  }
  return {};
}

void expect_refused(const std::string& schema, std::string_view words) {
  EXPECT_NE(refusal(schema).find(words), std::string::npos) << schema << "\n" << refusal(schema);
}

TEST(SchemaTest, TypeBesideValues) {
  expect(R"({"type":"integer","enum":["a",1]})", {"1"}, {R"("a")"});
  expect(R"({"type":["string","null"],"enum":[5,null,"x"]})", {"null", R"("x")"}, {"5"});
  expect(R"({"enum":[1,2,3],"const":2})", {"2"}, {"1", "3"});
  expect(R"({"enum":[1,5,9,"x"],"minimum":2,"anyOf":[{"maximum":8},{"type":"string"}]})",
         {"5", R"("x")"}, {"1", "9"});
  expect(R"({"enum":[1,1.0,12]})", {"1", "12"}, {"1.0", "2"});
  expect(R"({"enum":[{"b":1,"a":[2]},{"a":3}],"required":["b"]})", {R"({"b":1,"a":[2]})"},
         {R"({"a":3})"});
  expect(R"({"type":"number","const":2.50})", {"2.5"}, {"2"});
  expect(R"({"enum":["aa","ab","b"],"pattern":"^a","maxLength":2,"minLength":2})",
         {R"("aa")", R"("ab")"}, {R"("b")"});
}

TEST(SchemaTest, MoreThanTheAutomatonHasStacksFor) {
  OrderedJson values = OrderedJson::array(), properties = OrderedJson::object();
  for (int i = 0; i < 1000; ++i) {
    values.push_back(fmt::format("v{}", i));
    properties[fmt::format("p{}", i)] = OrderedJson{{"type", "integer"}};
  }
  expect(OrderedJson{{"enum", values}}.dump(), {R"("v0")", R"("v999")", R"("v10")"},
         {R"("v1000")"});
  expect(OrderedJson{{"properties", properties}}.dump(),
         {R"({"p0":1,"p10":2,"p999":3})", R"({"p500":1})"},
         {R"({"p2":1,"p1":1})", R"({"p1000":1})"});
}

TEST(SchemaTest, AllPartsHold) {
  expect(R"({"allOf":[{"type":"integer"},{"minimum":3},{"maximum":4}],"title":"t"})", {"3", "4"},
         {"2", "5", "3.5"});
  expect(R"({"$defs":{"e":{"enum":["a","b"]}},"$ref":"#/$defs/e","const":"b"})", {R"("b")"},
         {R"("a")"});
  expect(R"({"allOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},
             {"properties":{"b":{"type":"string"},"a":{"minimum":1}}}],"type":"object"})",
         {R"({"a":1})", R"({"a":1,"b":"x"})"}, {"{}", R"({"a":0})", R"({"b":"x"})"});
  expect(R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},
             "anyOf":[{"required":["a"]},{"required":["b"]}]})",
         {R"({"a":1})", R"({"b":1})", R"({"a":1,"b":2})"}, {"{}"});
  expect(R"({"type":"array","items":{"type":"integer"},"anyOf":[{"minItems":2},{"maxItems":0}]})",
         {"[]", "[1,2]"}, {"[1]"});
  expect(R"({"items":{"anyOf":[{"type":"integer"},{"type":"string"}],"minimum":5,"maxLength":1}})",
         {R"([5,"a"])"}, {"[4]", R"(["ab"])"});
  expect(R"({"type":["string","integer"],"anyOf":[{"type":"integer"},{"type":"boolean"}]})", {"1"},
         {"true", R"("")"});
  expect(R"({"allOf":[{"properties":{"a":{}},"additionalProperties":false},{"properties":{"b":{}}}],
             "type":"object"})",
         {R"({"a":1})", "{}"}, {R"({"a":1,"b":1})"});
  expect(R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a","z"],
             "additionalProperties":{"type":"boolean"}})",
         {R"({"a":1,"z":true})"}, {R"({"a":1})", R"({"a":1,"z":2})"});
}

TEST(SchemaTest, Integers) {
  expect(R"({"type":"integer","minimum":5,"maximum":120})", {"5", "9", "10", "99", "100", "120"},
         {"4", "121", "-5", "0", "05", "5.0", "1e1", "1000"});
  expect(R"({"type":"integer","exclusiveMinimum":-3,"exclusiveMaximum":3})", {"-2", "0", "2"},
         {"-3", "3", "-0"});
  expect(R"({"type":"integer","minimum":0.5,"maximum":2.5})", {"1", "2"}, {"0", "3"});
  expect(R"({"type":"integer","minimum":0,"exclusiveMinimum":true})", {"1"}, {"0"});
  expect(R"({"type":"integer","multipleOf":6,"minimum":0})", {"0", "6", "12", "120"},
         {"3", "-6", "13"});
  expect(R"({"type":"integer","allOf":[{"multipleOf":4},{"multipleOf":6}],"maximum":40})",
         {"-12", "24", "36"}, {"4", "6", "48"});
  expect(R"({"type":"integer"})", {"9223372036854775807", "-9223372036854775808"},
         {"9223372036854775808", "-9223372036854775809"});
  expect(R"({"type":"integer","minimum":1e15})", {"1000000000000000"}, {"999999999999999"});
  const JsonGrammar range = grammar_of(R"({"type":"integer","minimum":-37,"maximum":1205})");
  const JsonGrammar fives = grammar_of(R"({"type":"integer","multipleOf":5,"minimum":-37})");
  for (int i = -1500; i < 1500; ++i) {
    const std::string text = std::to_string(i);
    EXPECT_EQ(verdict(range, text) == Verdict::kComplete, i >= -37 && i <= 1205) << i;
    EXPECT_EQ(verdict(fives, text) == Verdict::kComplete, i >= -37 && i % 5 == 0) << i;
  }
}

TEST(SchemaTest, Numbers) {
  expect(R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.5", "1.0", "0.001", "1.000"},
         {"1.1", "-0.5", "2", "1.0001", "1e0"});
  expect(R"({"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1})",
         {"0.5", "0.99999", "0.01"}, {"0", "1", "0.0", "1.0", "-0.5"});
  expect(R"({"type":"number","minimum":-1.5,"maximum":-0.25})", {"-1.5", "-1", "-0.25", "-0.3"},
         {"-1.6", "-0.2", "0", "-1.51", "1"});
  expect(R"({"type":"number","minimum":0.1})", {"0.1", "0.10", "123.4", "99"}, {"0.09", "0", "-1"});
  expect(R"({"type":"number","multipleOf":2})", {"2", "-4"}, {"1", "2.5"});
  expect(R"({"minimum":2,"maximum":2})", {"2", "2.0"}, {"1", "3", R"("x")"});
  expect(R"({"type":["integer","string"],"minimum":3})", {"3", R"("")"}, {"2", "3.5"});
  expect(R"({"type":"number"})", {"1e10", "-1.5E-3"}, {"1e100"});
}

TEST(SchemaTest, LengthsCountCharacters) {
  expect(R"({"type":"string","minLength":2,"maxLength":3})",
         {R"("ab")", R"("\u00e9\n")", "\"\xc3\xa9\xf0\x9f\x98\x80\"", R"("\ud83d\ude00ab")",
          R"("a\\b")"},
         {R"("a")", R"("abcd")", R"("")", R"("\ud83d\ude00")", R"("\ud83d")", R"("a\ude00")"});
  expect(R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"});
  expect(R"({"type":"string","minLength":1})", {R"("a")"}, {R"("")"});
  expect(R"({"type":"string","pattern":"^(ab)*$","minLength":3,"maxLength":5})", {R"("abab")"},
         {R"("ab")", R"("ababab")"});
  // Half a surrogate pair is no text to most readers, with a rule or without.
  expect(R"({"type":"string"})", {R"("\ud83d\ude00")", R"("\ufffd")"},
         {R"("\ud83d")", R"("\ude00")", R"("\ud83dx")", R"("\ud83d\u0041")"});
}

TEST(SchemaTest, Patterns) {
  const auto matches = [](const std::string& pattern, const std::vector<std::string>& good,
                          const std::vector<std::string>& bad) {
    const JsonGrammar grammar =
        grammar_of(OrderedJson{{"type", "string"}, {"pattern", pattern}}.dump());
    for (const std::string& text : good) {
      EXPECT_EQ(verdict(grammar, OrderedJson(text).dump()), Verdict::kComplete) << pattern << text;
    }
    for (const std::string& text : bad) {
      EXPECT_NE(verdict(grammar, OrderedJson(text).dump()), Verdict::kComplete) << pattern << text;
    }
  };
  matches("^[a-z]+$", {"a", "abc"}, {"", "A", "a1", "\xc3\xa9"});
  matches("b", {"b", "abc", "b\n"}, {"", "a"});
  matches("^a|b$", {"ax", "xb", "ab"}, {"xa", "bx"});
  matches("^\\d{3}-\\d{2,4}$", {"123-45", "123-4567"}, {"12-45", "123-4", "123-45678"});
  matches("^(foo|ba[rz])?$", {"", "foo", "bar", "baz"}, {"fo", "bab"});
  matches("^[^a-c]$", {"d", "\xc3\xa9"}, {"a", "", "dd"});
  matches("^\\w+@\\w+\\.com$", {"a@b.com"}, {"a@bcom", "a@b.com "});
  matches("^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$", {"1", "-0.5", "12.", "+3"}, {"", "-", ".", "1e5"});
  matches("^(?=.*x)[a-z]{2}$", {"ax", "xa"}, {"ab", "x"});
  matches("^[\\w.-]{1,3}$", {"a.-", "_"}, {"a b", "abcd"});
  matches("^\\u0041\\x42[\\]\\\\]\\/$", {"AB]/", "AB\\/"}, {"AB/"});
  matches("^(?<year>[12]\\d{3})$", {"1999"}, {"3000"});
  matches("^.{2}$", {"ab", "\xf0\x9f\x98\x80z"}, {"a", "a\nb", "abc"});
  matches("^a{2,}?$", {"aa", "aaaa"}, {"a"});
  matches("^$", {""}, {"a"});
  matches("", {"", "x"}, {});
}

TEST(SchemaTest, PatternsThatAreRefused) {
  const auto pattern = [](std::string_view text) {
    return OrderedJson{{"type", "string"}, {"pattern", text}}.dump();
  };
  expect_refused(pattern("a\\b"), "word boundary");
  expect_refused(pattern("(a)\\1"), "reference to a group");
  expect_refused(pattern("(?<=a)b"), "look behind");
  expect_refused(pattern("a(?!b)c"), "looks ahead");
  expect_refused(pattern("\\p{L}"), "property of Unicode");
  expect_refused(pattern("(?i)a"), "group with flags");
  expect_refused(pattern("(a"), "without a ')'");
  expect_refused(pattern("a)"), "without a '('");
  expect_refused(pattern("[a"), "without a ']'");
  expect_refused(pattern("*a"), "count after nothing");
  expect_refused(pattern("a{2,1}"), "ends before it begins");
  expect_refused(pattern("a{5000}"), "counts above");
  expect_refused(pattern("\\q"), "unknown escape");
  expect_refused(pattern("(a|b)*a(a|b){40}"), "too large");
  expect_refused(R"({"type":"string","pattern":"^(a{100}){50}$","maxLength":100000})", "too large");
}

TEST(SchemaTest, Formats) {
  const auto of = [](std::string_view format) {
    return OrderedJson{{"type", "string"}, {"format", format}}.dump();
  };
  expect(of("date"), {R"("2026-11-30")", R"("2024-02-29")"},
         {R"("2026-02-29")", R"("2026-13-01")", R"("today")", R"("2026-04-31")"});
  expect(of("date-time"), {R"("2026-11-30T10:00:00Z")", R"("2026-11-30T23:59:59.123+05:30")"},
         {R"("2026-11-30 10:00:00")", R"("2026-11-30T25:00:00Z")", R"("2026-11-30T10:00:00")"});
  expect(of("time"), {R"("10:00:00Z")"}, {R"("10:00")", R"("24:00:00Z")"});
  expect(of("uuid"), {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"});
  expect(of("uuid4"), {R"("123e4567-e89b-42d3-a456-426614174000")"},
         {R"("123e4567-e89b-12d3-a456-426614174000")"});
  expect(of("email"), {R"("a.b+c@d-e.org")"}, {R"("a@b")", R"("a..b@c.de")", R"("@c.de")"});
  expect(of("ipv4"), {R"("255.0.10.1")"}, {R"("256.0.0.1")", R"("1.2.3")"});
  expect(of("duration"), {R"("P3DT4H5M")", R"("PT1S")", R"("P2W")"}, {R"("P")", R"("PT")"});
  expect(of("uri"), {R"("https://a.b/c?d=e#f")", R"("s3://bucket/key%20x")"}, {R"("a.b")"});
  expect(of("colour"), {R"("anything")"}, {});  // an annotation
}

TEST(SchemaTest, Arrays) {
  expect(R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"minItems":2,
             "maxItems":2})",
         {R"([1,"a"])"}, {"[1]", R"(["a",1])", R"([1,"a",2])"});
  expect(R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"boolean"}})",
         {"[]", "[1,true,false]"}, {"[true]", "[1,2]"});
  expect(R"({"prefixItems":[{"type":"integer"}],"items":false})", {"[]", "[1]"}, {"[1,1]"});
  expect(R"({"items":[{"type":"integer"}],"additionalItems":{"type":"null"}})", {"[1,null]"},
         {"[null]", "[1,1]"});
  expect(R"({"allOf":[{"prefixItems":[{"minimum":3}]},{"items":{"type":"integer"}}]})",
         {"[3,1]", "[]"}, {"[2]", R"([3,"x"])"});
}

TEST(SchemaTest, ItemsWithoutRepetition) {
  const std::string numbers = R"({"type":"array","items":{"type":"integer"},"uniqueItems":true})";
  expect(numbers, {"[1,2,12,-1]", "[]", "[10, 1, 0]"}, {"[1,1]", "[1,2,1]", "[12,1,12]"});
  expect(R"({"type":"array","items":{"type":"string"},"uniqueItems":true})",
         {R"(["a","ab",""])", R"(["b"])"}, {R"(["a","a"])", R"(["","x",""])"});
  expect(R"({"items":{"enum":["a","b",3]},"uniqueItems":true,"minItems":3})", {R"(["b","a",3])"},
         {R"(["a","b"])", R"(["a","a",3])"});
  // The last item has one text left: what leads elsewhere cannot begin.
  const JsonGrammar few = grammar_of(
      R"({"items":{"type":"integer","minimum":9,"maximum":11},"uniqueItems":true,"minItems":3})");
  EXPECT_EQ(verdict(few, "[10,9,11]"), Verdict::kComplete);
  EXPECT_EQ(verdict(few, "[10,11,1"), Verdict::kRefused);
  EXPECT_EQ(verdict(few, "[10,9,11,"), Verdict::kRefused);
  expect_refused(R"({"items":{"enum":[1,2]},"uniqueItems":true,"minItems":3})", "allows no value");
  expect_refused(R"({"type":"array","items":{"type":"object"},"uniqueItems":true})", "uniqueItems");
  expect_refused(R"({"type":"array","items":{"type":"number"},"uniqueItems":true})", "uniqueItems");
  expect(R"({"type":"array","items":{"type":"object"},"uniqueItems":true,"maxItems":1})", {"[{}]"},
         {"[{},{}]"});
}

TEST(SchemaTest, ExactlyOneOf) {
  expect(R"({"oneOf":[{"type":"string"},{"type":"integer"}]})", {"1", R"("a")"}, {"1.5"});
  expect(R"({"oneOf":[{"const":"a","title":"A"},{"const":"b"}]})", {R"("a")", R"("b")"},
         {R"("c")"});
  const std::string pets = R"({"$defs":{
      "cat":{"type":"object","properties":{"kind":{"const":"cat","type":"string"},"lives":{"type":"integer"}},
             "required":["kind","lives"]},
      "dog":{"type":"object","properties":{"kind":{"const":"dog","type":"string"},"name":{"type":"string"}},
             "required":["kind","name"]}},
      "discriminator":{"propertyName":"kind","mapping":{"cat":"#/$defs/cat","dog":"#/$defs/dog"}},
      "oneOf":[{"$ref":"#/$defs/cat"},{"$ref":"#/$defs/dog"}]})";
  expect(pets, {R"({"kind":"cat","lives":9})", R"({"kind":"dog","name":"Rex"})"},
         {R"({"kind":"cat","name":"Rex"})", R"({"kind":"dog"})"});
  expect(R"({"oneOf":[{"type":"integer","maximum":3},{"type":"integer","minimum":4}]})", {"3", "4"},
         {});
  expect(R"({"oneOf":[{"type":"object","properties":{"a":{}},"required":["a"]},
                      {"type":"object","properties":{"b":{}},"required":["b"]}]})",
         {R"({"a":1})", R"({"b":1})"}, {R"({"a":1,"b":1})", "{}"});
  expect(R"({"enum":[1,2,3],"oneOf":[{"maximum":2},{"minimum":2}]})", {"1", "3"}, {"2"});
  expect_refused(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "at most one");
  expect_refused(R"({"oneOf":[{},{"const":"a"}]})", "at most one");
  // Formats are annotations to many validators.
  expect_refused(
      R"({"oneOf":[{"type":"string","format":"date"},{"type":"string","format":"time"}]})",
      "at most one");
  expect_refused(
      R"({"oneOf":[{"properties":{"a":{"type":"string","format":"date"}},"required":["a"]},
                              {"properties":{"a":{"type":"string","format":"time"}},"required":["a"]}]})",
      "at most one");
  expect_refused(R"({"oneOf":[{},{"minLength":3,"maxLength":2}]})", "at most one");
  expect_refused(R"({"oneOf":[{"type":["string","null"]},{"const":null}],"type":"null"})",
                 "at most one");
  expect_refused(R"({"oneOf":[{"type":"string","minLength":1},{"type":"string","maxLength":3}]})",
                 "at most one");
}

TEST(SchemaTest, ObjectsByTheirKeys) {
  expect(R"({"type":"object","patternProperties":{"^a":{"type":"integer"}}})",
         {R"({"a":1,"ab":2})", "{}"}, {R"({"b":1})", R"({"a":"x"})"});
  expect(R"({"type":"object","propertyNames":{"pattern":"^[a-z]{1,2}$"},
             "additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})",
         {R"({"ab":1})", R"({"a":1,"b":2})"}, {"{}", R"({"abc":1})", R"({"a":1,"b":2,"c":3})"});
  expect(R"({"type":"object","propertyNames":{"enum":["x","y"]}})", {R"({"x":1})"}, {R"({"z":1})"});
  expect(
      R"({"properties":{"a":{},"b":{},"c":{}},"minProperties":2,"maxProperties":2,"required":["b"]})",
      {R"({"a":1,"b":1})", R"({"b":1,"c":1})"},
      {R"({"b":1})", R"({"a":1,"c":1})", R"({"a":1,"b":1,"c":1})"});
  expect(R"({"properties":{"ab":{},"b":{}},"patternProperties":{"^a":{"type":"integer"}}})",
         {R"({"ab":1,"b":"x"})"}, {R"({"ab":"x"})"});
  expect(R"({"properties":{"ab":{},"b":{}},"propertyNames":{"maxLength":1}})", {R"({"b":1})"},
         {R"({"ab":1})"});
  expect(R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a":1})"});
}

TEST(SchemaTest, NotesSayNothing) {
  for (const char* note :
       {R"("title":"t")", R"("description":"d")", R"("default":1)", R"("examples":[1])",
        R"("example":1)", R"("deprecated":true)", R"("readOnly":true)", R"("$comment":"c")",
        R"("x-foo":{"minimum":3})", R"("contentEncoding":"base64")", R"("strict":true)",
        R"("contentMediaType":"text/plain")", R"("nullable":true)", R"("$id":"http://a/b")",
        R"("$schema":"http://json-schema.org/draft-07/schema#")", R"("format":"unknown")"}) {
    expect(fmt::format(R"({{"type":"integer",{}}})", note), {"1"}, {"null", "1.5"});
  }
  expect("{}", {"1", "null", "[1,{}]"}, {});
  expect("true", {"1"}, {});
  expect(R"({"properties":{"a":true,"b":false}})", {R"({"a":1})"}, {R"({"b":1})"});
  expect(R"({"minLength":3})", {R"("abc")"}, {R"("a")"});
}

TEST(SchemaTest, WhatHoldsForNothingIsRefused) {
  for (const char* schema :
       {"false", R"({"type":"string","enum":[1]})",
        R"({"allOf":[{"type":"string"},{"type":"null"}]})",
        R"({"type":"integer","minimum":3,"maximum":2})", R"({"const":1,"enum":[2]})",
        R"({"type":"string","minLength":3,"maxLength":2})",
        R"({"type":"string","pattern":"^a$","minLength":2})",
        R"({"type":"string","format":"date","maxLength":5})",
        R"({"type":"array","minItems":3,"maxItems":2})", R"({"items":false,"minItems":1})",
        R"({"type":"object","properties":{"a":{"type":"integer","enum":["x"]}},"required":["a"]})",
        R"({"properties":{"a":{"$ref":"#"}},"required":["a"]})",
        R"({"type":"array","items":{"$ref":"#"},"minItems":1})",
        R"({"properties":{"a":{}},"required":["z"],"additionalProperties":false})",
        R"({"type":"integer","multipleOf":7,"minimum":1,"maximum":6})",
        R"({"properties":{"a":{}},"minProperties":2})"}) {
    expect_refused(schema, "allows no value");
  }
  expect_refused(R"({"type":"object","properties":{"a":{"type":"integer","minimum":9,"maximum":1}},
                     "required":["a"]})",
                 "/properties/a");
  // A part that holds for nothing is left out where it need not be there.
  expect(R"({"anyOf":[{"type":"string","enum":[1]},{"type":"null"}]})", {"null"}, {"1"});
  expect(R"({"properties":{"a":{"$ref":"#"},"b":{"type":"integer"}},"required":["b"]})",
         {R"({"a":{"b":1},"b":2})"}, {R"({"a":{},"b":2})"});
}

TEST(SchemaTest, RulesThatAreRefusedByName) {
  for (const char* word :
       {"not", "if", "then", "else", "contains", "dependentRequired", "dependentSchemas",
        "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "dependencies"}) {
    expect_refused(fmt::format(R"({{"type":"object","{}":{{}}}})", word), fmt::format("/{}", word));
  }
  expect_refused(R"({"type":"string","minLenght":3})", "/minLenght is no keyword that dak knows");
  expect_refused(R"({"type":"colour"})", "/type is no type of JSON");
  expect_refused(R"({"type":[]})", "/type");
  expect_refused(R"({"type":"string","minLength":-1})", "/minLength is no count");
  expect_refused(R"({"type":"number","multipleOf":0.01})", "/multipleOf");
  expect_refused(R"({"type":"number","multipleOf":0})", "/multipleOf");
  expect_refused(R"({"properties":{"a":5}})", "/properties");
  expect_refused(R"({"items":{"properties":{"a/b":{"not":{}}}}})", "/items/properties/a~1b/not");
  expect_refused(R"({"type":"object","minProperties":2})", "minProperties");
  expect_refused(R"({"patternProperties":{"^a":{},"b$":{}}})", "more than one pattern");
}

TEST(SchemaTest, References) {
  expect(R"({"definitions":{"a/b":{"type":"integer"},"c d":{"type":"null"}},
             "prefixItems":[{"$ref":"#/definitions/a~1b"},{"$ref":"#/definitions/c%20d"}]})",
         {"[1,null]"}, {"[null]"});
  expect(R"({"$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[
             {"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/n"})",
         {R"({"v":1,"next":{"v":2,"next":null}})"}, {R"({"v":1,"next":{}})"});
  for (const char* schema :
       {R"({"$ref":"#"})", R"({"anyOf":[{"$ref":"#"}]})", R"({"allOf":[{"$ref":"#"}]})",
        R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})"}) {
    expect_refused(schema, "refers to itself without end");
  }
  expect_refused(R"({"$ref":"http://x"})", "points out of the schema");
  expect_refused(R"({"$ref":"#/nowhere"})", "points to nothing");
  expect_refused(R"({"properties":{"a":{"$id":"http://x","type":"null"}}})", "name of its own");
}

// A schema that is too large is refused soon, not followed for ever.
TEST(SchemaTest, LargeSchemasEndSoon) {
  OrderedJson parts = OrderedJson::array();
  for (int i = 0; i < 12; ++i) {
    OrderedJson ways = OrderedJson::array();
    for (int j = 0; j < 12; ++j) {
      ways.push_back(OrderedJson{{"properties", {{fmt::format("p{}{}", i, j), {{"minimum", j}}}}}});
    }
    parts.push_back(OrderedJson{{"anyOf", ways}});
  }
  const std::vector<std::string> schemas{
      OrderedJson{{"allOf", parts}}.dump(),
      R"({"type":"string","pattern":"^((a|b|c){1,30}d){1,30}$"})",
      R"({"type":"string","pattern":"(((a*)*)*)*b(a|b){200}$"})",
      R"({"type":"string","minLength":2000000000})",
      R"({"type":"array","minItems":2000000000})",
      R"({"type":"integer","multipleOf":997})"};
  for (const std::string& schema : schemas) {
    const auto begin = std::chrono::steady_clock::now();
    refusal(schema);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(took.count(), 20) << schema.substr(0, 80);  // a busy machine
    RecordProperty(schema.substr(0, 40), std::to_string(took.count()));
  }
}

TEST(SchemaTest, ArgumentsOfToolsAreObjects) {
  const OrderedJson tools = OrderedJson::parse(
      R"([{"function":{"name":"f","parameters":{}}},
          {"function":{"name":"g","parameters":{"anyOf":[{"required":["a"]},{"type":"string"}]}}}])");
  const auto form = std::ranges::find(tool_forms(), "hermes", &ToolForm::name);
  ASSERT_NE(form, tool_forms().end());
  const JsonGrammar calls = grammar_of_calls(*form, tools, {}, {});
  const auto call = [](const char* name, const char* arguments) {
    return fmt::format(R"(<tool_call>{{"name": "{}", "arguments": {}}}</tool_call>)", name,
                       arguments);
  };
  EXPECT_EQ(verdict(calls, call("f", R"({"x":1})")), Verdict::kComplete);
  EXPECT_EQ(verdict(calls, call("f", "5")), Verdict::kRefused);
  EXPECT_EQ(verdict(calls, call("g", R"({"a":1})")), Verdict::kComplete);
  EXPECT_EQ(verdict(calls, call("g", R"("x")")), Verdict::kRefused);
}

}  // namespace
}  // namespace dak
