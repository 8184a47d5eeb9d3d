// Tokens that a folder names beside its tokenizer.json, as transformers 5 adds them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/throws_error.h"
#include "text/tokenizer_json_added.h"

namespace dak {
namespace {

using test::throws_error;

// The vocabulary "a" 0, "b" 1, "<s>" 2; tokenizer.json adds "<x>" 3.
NamedTokens add(const Json& config, const Json& map = nullptr, const Json& legacy = nullptr) {
  const Vocabulary vocabulary({{"a", 0}, {"b", 1}, {"<s>", 2}});
  return add_side_tokens({{.id = 3, .content = "<x>"}}, vocabulary,
                         {.config = {config, "tokenizer_config.json"},
                          .special_tokens_map = {map, "special_tokens_map.json"},
                          .added_tokens = {legacy, "added_tokens.json"}});
}

const AddedToken* find(const NamedTokens& tokens, std::string_view content) {
  for (const AddedToken& token : tokens.added) {
    if (token.content == content) return &token;
  }
  return nullptr;
}

Json token(const char* content, bool special = true) {
  return {{"content", content}, {"lstrip", true},       {"normalized", false},
          {"rstrip", false},    {"single_word", false}, {"special", special}};
}

TEST(TokenizerSides, AddedTokensDecoderAddsAndReplaces) {
  const NamedTokens tokens = add({{"added_tokens_decoder",
                                   {{"10", token("later")},
                                    {"3", token("<x>")},
                                    {"2", token("<s>")},
                                    {"4", token("<think>", false)},
                                    {"5", token("</think>")},
                                    {"6", token("six")},
                                    {"7", token("seven")},
                                    {"8", token("eight")},
                                    {"9", token("nine")}}}});
  EXPECT_EQ(tokens.added.size(), 9u);
  EXPECT_TRUE(find(tokens, "<x>")->special);
  EXPECT_TRUE(find(tokens, "<x>")->lstrip);
  EXPECT_EQ(find(tokens, "<s>")->id, 2);  // of the vocabulary
  EXPECT_EQ(find(tokens, "<think>")->id, 4);
  EXPECT_FALSE(find(tokens, "<think>")->special);
  EXPECT_EQ(find(tokens, "later")->id, 10);  // by number, not by text
}

TEST(TokenizerSides, AnIdThatTheTokenizerHasNotIsRefused) {
  for (const auto& [id, content] : {std::pair("9", "<think>"), std::pair("4", "<x>"),
                                    std::pair("3", "<s>"), std::pair("3", "<think>")}) {
    EXPECT_TRUE(throws_error(ErrorCode::kCorrupt,
                             {"tokenizer_config.json", fmt::format("added_tokens_decoder.{}", id),
                              content, fmt::format("not {}", id)},
                             [key = id, text = content] {
                               add({{"added_tokens_decoder", {{key, token(text)}}}});
                             }));
  }
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"added_tokens.json", "<think>", "not 7"}, [] {
    add(Json::object(), nullptr, {{"<think>", 7}});
  }));
  EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, "added_tokens_decoder.x", [] {
    add({{"added_tokens_decoder", {{"x", token("y")}}}});
  }));
}

TEST(TokenizerSides, SpecialTokensByName) {
  const NamedTokens tokens = add({{"bos_token", "<s>"},
                                  {"pad_token", token("<pad>")},
                                  {"image_token", "<image>"},
                                  {"extra_special_tokens", {{"video_token", "<video>"}}}});
  EXPECT_EQ(tokens.named.at("bos_token"), 2);
  EXPECT_TRUE(find(tokens, "<s>")->special);
  EXPECT_EQ(find(tokens, "<pad>")->id, 4);
  EXPECT_EQ(find(tokens, "<video>")->id, 5);
  EXPECT_EQ(find(tokens, "<image>")->id, 6);
  EXPECT_EQ(find(add({{"additional_special_tokens", {"<y>", "<x>"}}}), "<y>")->id, 4);
  // The newer name goes before the older one.
  EXPECT_EQ(
      find(add({{"additional_special_tokens", {"<y>"}}, {"extra_special_tokens", {"<z>"}}}), "<y>"),
      nullptr);
}

TEST(TokenizerSides, OlderFilesCountWithoutAddedTokensDecoder) {
  const Json map{{"bos_token", "<s>"}, {"additional_special_tokens", {"<tool>"}}};
  const Json legacy{{"<tool>", 5}, {"<think>", 4}};
  const NamedTokens tokens = add({{"bos_token", "a"}}, map, legacy);
  EXPECT_EQ(tokens.named.at("bos_token"), 2);  // the map goes before the configuration
  EXPECT_EQ(find(tokens, "<think>")->id, 4);
  EXPECT_FALSE(find(tokens, "<think>")->special);
  EXPECT_TRUE(find(tokens, "<think>")->normalized);
  EXPECT_TRUE(find(tokens, "<tool>")->special);
  const NamedTokens newer = add({{"added_tokens_decoder", Json::object()}}, map, legacy);
  EXPECT_EQ(find(newer, "<think>"), nullptr);
  EXPECT_TRUE(newer.named.empty());
}

TEST(TokenizerSides, WhatTokenizersComputeOtherwiseIsRefused) {
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, "split_special_tokens", [] {
    add({{"split_special_tokens", true}});
  }));
  EXPECT_NO_THROW(add({{"split_special_tokens", false}, {"model_max_length", 1e30}}));
}

}  // namespace
}  // namespace dak
