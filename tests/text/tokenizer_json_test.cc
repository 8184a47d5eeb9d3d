// What parse_tokenizer_json refuses, and what it makes of less usual files.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/throws_error.h"
#include "text/tokenizer.h"

namespace dak {
namespace {

using nlohmann::json;

json minimal() {
  return json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 6, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null,
              "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, " ": 5, "<s>": 6},
              "merges": ["a b", ["ab", "c"]]}})");
}

Tokenizer parse(const json& file, std::string_view config = {}) {
  return parse_tokenizer_json(file.dump(), config, "tokenizer.json");
}

// The error of a file in which `pointer` is replaced by `value` (or removed: "remove").
std::string error_of(std::string_view pointer, std::string_view value, ErrorCode* code = nullptr) {
  json file = minimal();
  const json::json_pointer at{std::string(pointer)};
  if (value == "remove") {
    file[at.parent_pointer()].erase(at.back());
  } else {
    file[at] = json::parse(value);
  }
  try {
    parse(file);
  } catch (const Error& error) {
    if (code != nullptr) *code = error.code();
    return error.what();
  }
  return "no error";
}

TEST(TokenizerJson, MinimalFileWorks) {
  const Tokenizer tokenizer = parse(minimal());
  EXPECT_EQ(tokenizer.encode("abcab<s>x"), (std::vector<TokenId>{4, 3, 6}));
  EXPECT_EQ(tokenizer.encode(""), std::vector<TokenId>{});
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{4, 6, 99, -5, 3}), "abcab");
  EXPECT_EQ(tokenizer.vocabulary_size(), 7);
  EXPECT_TRUE(tokenizer.is_special(6));
  EXPECT_FALSE(tokenizer.is_special(4));
  EXPECT_EQ(tokenizer.bos_token(), std::nullopt);
}

struct BadFile {
  const char* pointer;
  const char* value;
  ErrorCode code;
  const char* named;  // the path the error must name
};

class BadTokenizerJson : public testing::TestWithParam<BadFile> {};

TEST_P(BadTokenizerJson, IsRefusedByName) {
  const BadFile& bad = GetParam();
  ErrorCode code = ErrorCode::kInternal;
  const std::string message = error_of(bad.pointer, bad.value, &code);
  EXPECT_NE(message.find(bad.named), std::string::npos) << message;
  EXPECT_NE(message.find("tokenizer.json"), std::string::npos) << message;
  EXPECT_EQ(code, bad.code) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
}

constexpr ErrorCode kCorrupt = ErrorCode::kCorrupt;
constexpr ErrorCode kUnsupported = ErrorCode::kUnsupported;

const BadFile kBadFiles[] = {
    {"/model", "remove", kCorrupt, "model"},
    {"/model", "[]", kCorrupt, "model"},
    {"/model/type", R"("WordPiece")", kUnsupported, "model.type 'WordPiece'"},
    {"/model/type", "7", kCorrupt, "model.type"},
    {"/model/dropout", "0.1", kUnsupported, "model.dropout '0.1'"},
    {"/model/dropout", R"("x")", kCorrupt, "model.dropout"},
    {"/model/continuing_subword_prefix", R"("##")", kUnsupported, "continuing_subword_prefix '##'"},
    {"/model/end_of_word_suffix", R"("</w>")", kUnsupported, "end_of_word_suffix '</w>'"},
    {"/model/unk_token", R"("<unk>")", kCorrupt, "model.unk_token '<unk>'"},
    {"/model/byte_fallback", "1", kCorrupt, "model.byte_fallback '1'"},
    {"/model/vocab", "remove", kCorrupt, "model.vocab"},
    {"/model/vocab", "[]", kCorrupt, "model.vocab"},
    {"/model/vocab/a", "-1", kCorrupt, "model.vocab[\"a\"] '-1'"},
    {"/model/vocab/a", "1", kCorrupt, "is the id of another token too"},
    {"/model/vocab/a", "99999999999", kCorrupt, "model.vocab[\"a\"]"},
    {"/model/vocab/a", "18446744073709551615", kCorrupt, "model.vocab[\"a\"]"},
    {"/model/vocab/a", "0.5", kCorrupt, "model.vocab[\"a\"]"},
    {"/model/merges", "remove", kCorrupt, "model.merges"},
    {"/model/merges/0", R"("ab")", kCorrupt, "model.merges[0]"},
    {"/model/merges/0", R"("a b c")", kCorrupt, "model.merges[0]"},
    {"/model/merges/0", R"(["a"])", kCorrupt, "model.merges[0]"},
    {"/model/merges/0", R"("a z")", kCorrupt, "model.merges[0]"},
    {"/model/merges/0", R"("b c")", kCorrupt, "'bc' is not in model.vocab"},
    {"/model/merges/0", "3", kCorrupt, "model.merges[0]"},
    {"/model/surprise", "1", kUnsupported, "model.surprise"},
    {"/surprise", "[1]", kUnsupported, "surprise"},
    {"/added_tokens", "{}", kCorrupt, "added_tokens"},
    {"/added_tokens/0/id", "5", kCorrupt, "added_tokens[0].id '5'"},
    {"/added_tokens/0/id", "-2", kCorrupt, "added_tokens[0].id '-2'"},
    {"/added_tokens/0/lstrip", "remove", kCorrupt, "added_tokens[0].lstrip"},
    {"/normalizer", R"({"type": "Nmt"})", kUnsupported, "normalizer.type 'Nmt'"},
    {"/normalizer", R"({"type": "NFC", "x": 1})", kUnsupported, "normalizer.x"},
    {"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "Precompiled"}]})",
     kUnsupported, "normalizer.normalizers[0].type 'Precompiled'"},
    {"/normalizer", R"({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})", kCorrupt,
     "normalizer.pattern.Regex '('"},
    {"/normalizer", R"({"type": "Replace", "pattern": {}, "content": ""})", kCorrupt,
     "normalizer.pattern"},
    {"/pre_tokenizer", R"({"type": "UnicodeScripts"})", kUnsupported, "pre_tokenizer.type"},
    {"/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": "[a[b]]"}, "behavior": "Isolated", "invert": false})",
     kUnsupported, "pre_tokenizer.pattern.Regex '[a[b]]'"},
    {"/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": "\\K"}, "behavior": "Isolated", "invert": false})",
     kUnsupported, "the escape"},
    {"/pre_tokenizer",
     R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "Odd", "invert": false})",
     kUnsupported, "pre_tokenizer.behavior 'Odd'"},
    {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})", kCorrupt,
     "pre_tokenizer.replacement 'ab'"},
    {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})",
     kUnsupported, "pre_tokenizer.prepend_scheme 'last'"},
    {"/decoder", R"({"type": "WordPiece"})", kUnsupported, "decoder.type 'WordPiece'"},
    {"/decoder", R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteLevel"}]})",
     kUnsupported, "decoder.decoders[1].type 'ByteLevel'"},
    {"/decoder", R"({"type": "Strip", "content": " ", "start": -1, "stop": 0})", kCorrupt,
     "decoder.start '-1'"},
    {"/post_processor", R"({"type": "Odd"})", kUnsupported, "post_processor.type 'Odd'"},
    {"/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
         "pair": [], "special_tokens": {}})",
     kCorrupt, "post_processor.special_tokens.<s>"},
    {"/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}],
         "pair": [], "special_tokens": {}})",
     kUnsupported, "post_processor.single[0].Sequence.id 'B'"},
    {"/post_processor", R"({"type": "BertProcessing", "sep": ["<s>", 77], "cls": ["<s>", 6]})",
     kCorrupt, "adds token 77"},
};

INSTANTIATE_TEST_SUITE_P(Table, BadTokenizerJson, testing::ValuesIn(kBadFiles));

TEST(TokenizerJson, BrokenTextIsRefused) {
  for (const std::string text : {"", "{", "[1]", "null", "{\"model\": \"\xff\"}", "{\"a\": tru}"}) {
    EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, "t: ", [&] {
      parse_tokenizer_json(text, {}, "t");
    })) << text;
  }
  const std::string deep(100000, '[');
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, "t: byte 512: JSON nested deeper than 512",
                                 [&] { parse_tokenizer_json(deep, {}, "t"); }));
}

TEST(TokenizerJson, DeepSequencesAreRefusedOrParsed) {
  json inner = {{"type", "NFC"}};
  for (int i = 0; i < 200; ++i) {
    inner = {{"type", "Sequence"}, {"normalizers", json::array({inner})}};
  }
  json file = minimal();
  file["normalizer"] = inner;
  EXPECT_EQ(parse(file).encode("ab"), std::vector<TokenId>{3});
}

TEST(TokenizerConfig, NamesBosAndEos) {
  const Tokenizer text = parse(minimal(), R"({"bos_token": "<s>", "eos_token": null})");
  EXPECT_EQ(text.bos_token(), 6);
  EXPECT_EQ(text.eos_token(), std::nullopt);
  const Tokenizer object =
      parse(minimal(), R"({"bos_token": {"content": "abc"}, "add_bos_token": true})");
  EXPECT_EQ(object.encode("a"), (std::vector<TokenId>{4, 0}));
  EXPECT_EQ(object.encode("a", {.add_special_tokens = false}), std::vector<TokenId>{0});
}

TEST(TokenizerConfig, AddBosTokenFalseOverrulesTheTemplate) {
  json file = minimal();
  file["post_processor"] = {{"type", "BertProcessing"}, {"sep", {"c", 2}}, {"cls", {"<s>", 6}}};
  EXPECT_EQ(parse(file).encode("a"), (std::vector<TokenId>{6, 0, 2}));
  EXPECT_EQ(parse(file, R"({"bos_token": "<s>", "add_bos_token": false})").encode("a"),
            (std::vector<TokenId>{0, 2}));
}

TEST(TokenizerConfig, BadValuesAreRefused) {
  const auto refused = [](std::string_view config, std::string_view words) {
    EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt,
                                   {"tokenizer.json (tokenizer_config)", words},
                                   [&] { parse(minimal(), config); }))
        << config;
  };
  refused(R"({"bos_token": ""})", "bos_token");
  refused(R"({"bos_token": 5})", "bos_token");
  refused(R"({"bos_token": {}})", "bos_token");
  refused("[]", "must be an object");
  refused("{", "is not valid JSON");
  refused(R"({"add_bos_token": true})", "add_bos_token 'true': the token itself is not named");
  refused(R"({"bos_token": "<s>", "add_bos_token": "yes"})", "add_bos_token");
}

TEST(AddedTokens, LongestMatchAndFlags) {
  json file = minimal();
  const auto add = [&](const char* content, int id, bool lstrip, bool rstrip, bool single_word) {
    file["added_tokens"].push_back({{"id", id},
                                    {"content", content},
                                    {"single_word", single_word},
                                    {"lstrip", lstrip},
                                    {"rstrip", rstrip},
                                    {"normalized", false},
                                    {"special", false}});
  };
  add("<s>>", 10, false, false, false);
  add("<m>", 11, true, true, false);
  add("ab", 3, false, false, true);
  const Tokenizer tokenizer = parse(file);
  EXPECT_EQ(tokenizer.encode("<s>>a"), (std::vector<TokenId>{10, 0}));
  EXPECT_EQ(tokenizer.encode("a  <m> \n b"), (std::vector<TokenId>{0, 11, 1}));
  EXPECT_EQ(tokenizer.encode("ab abc"), (std::vector<TokenId>{3, 5, 4}));
  // As text, "<s>" loses its letters here (they have no token); "<s>>" is no special token.
  EXPECT_EQ(tokenizer.encode("<s>a<s>>", {.parse_special_tokens = false}),
            (std::vector<TokenId>{0, 10}));
}

}  // namespace
}  // namespace dak
