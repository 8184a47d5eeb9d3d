// Tokenizers from GGUF metadata that is made here.
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/throws_error.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace dak {
namespace {

using Values = std::map<std::string, GgufValue, std::less<>>;

// A byte-level vocabulary: the 256 bytes in order, then "he", "hel", "<|end|>" and "<tool>".
Values byte_level_values(const std::string& pre) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    append_utf8(tokens.emplace_back(), byte_level_char(static_cast<uint8_t>(byte)));
  }
  std::vector<int64_t> types(256, 1);
  for (const auto& [text, type] : std::vector<std::pair<std::string, int>>{
           {"he", 1}, {"hel", 1}, {"<|end|>", 3}, {"<tool>", 4}}) {
    tokens.push_back(text);
    types.push_back(type);
  }
  return {{"tokenizer.ggml.model", std::string("gpt2")},
          {"tokenizer.ggml.pre", pre},
          {"tokenizer.ggml.tokens", tokens},
          {"tokenizer.ggml.token_type", types},
          {"tokenizer.ggml.merges", std::vector<std::string>{"h e", "he l"}},
          {"tokenizer.ggml.bos_token_id", int64_t{258}},
          {"tokenizer.ggml.eos_token_id", int64_t{258}}};
}

// SentencePiece: <unk> <s> </s>, "▁", letters, merges by score; without bytes.
Values sentencepiece_values() {
  return {{"tokenizer.ggml.model", std::string("llama")},
          {"tokenizer.ggml.tokens", std::vector<std::string>{"<unk>", "<s>", "</s>", "▁", "a", "b",
                                                             "ab", "▁a", "abab", "<t>"}},
          {"tokenizer.ggml.scores", std::vector<double>{0, 0, 0, -9, -8, -7, -1, -2, -3, 0}},
          {"tokenizer.ggml.token_type", std::vector<int64_t>{2, 3, 3, 1, 1, 1, 1, 1, 1, 4}},
          {"tokenizer.ggml.bos_token_id", int64_t{1}},
          {"tokenizer.ggml.eos_token_id", int64_t{2}}};
}

Tokenizer load(const Values& values) { return load_gguf_tokenizer(GgufMetadata("m.gguf", values)); }

using Ids = std::vector<TokenId>;

TEST(GgufTokenizer, ByteLevel) {
  const Tokenizer tokenizer = load(byte_level_values("gpt-2"));
  EXPECT_EQ(tokenizer.encode("hello"), (Ids{257, 'l', 'o'}));
  EXPECT_EQ(tokenizer.encode("h<|end|><tool>"), (Ids{'h', 258, 259}));
  EXPECT_EQ(tokenizer.encode("<|end|><tool>", {.parse_special_tokens = false}),
            (Ids{'<', '|', 'e', 'n', 'd', '|', '>', 259}));
  EXPECT_EQ(tokenizer.bos_token(), 258);
  EXPECT_EQ(tokenizer.decode(Ids{257, 'l', 'o', 258}), "hello");
  EXPECT_EQ(tokenizer.decode(Ids{257, 258}, /*skip_special_tokens=*/false), "hel<|end|>");
}

TEST(GgufTokenizer, EveryKnownPreTokenizerKeepsTheText) {
  const std::string text = "Don't  stop\n\n123456 été 你好！ \t🎉 don'T _x_ ٣٤٥\r\n";
  for (const char* pre :
       {"default", "gpt-2", "phi-2", "smollm", "starcoder", "llama-bpe", "llama3", "llama-v3",
        "qwen2", "deepseek-r1-qwen", "deepseek-coder", "deepseek-v3", "tekken"}) {
    const Tokenizer tokenizer = load(byte_level_values(pre));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << pre;
  }
}

TEST(GgufTokenizer, Llama3AddsBosUnlessToldNotTo) {
  Values values = byte_level_values("llama-bpe");
  EXPECT_EQ(load(values).encode("a"), (Ids{258, 'a'}));
  values["tokenizer.ggml.add_bos_token"] = false;
  values["tokenizer.ggml.add_eos_token"] = true;
  EXPECT_EQ(load(values).encode("a"), (Ids{'a', 258}));
}

TEST(GgufTokenizer, Qwen2NormalizesToNfc) {
  const Tokenizer tokenizer = load(byte_level_values("qwen2"));
  EXPECT_EQ(tokenizer.encode("e\u0301"), (Ids{0xc3, 0xa9}));
}

TEST(GgufTokenizer, SentencePieceMergesByScore) {
  const Tokenizer tokenizer = load(sentencepiece_values());
  // "▁ab": "ab" (-1) beats "▁a" (-2).
  EXPECT_EQ(tokenizer.encode("ab"), (Ids{1, 3, 6}));
  EXPECT_EQ(tokenizer.encode("abab"), (Ids{1, 3, 8}));
  EXPECT_EQ(tokenizer.encode("a"), (Ids{1, 7}));
  // Unknown characters in a row are one token; a user-defined piece takes part in no merge.
  EXPECT_EQ(tokenizer.encode("xyza"), (Ids{1, 3, 0, 4}));
  EXPECT_EQ(tokenizer.encode("a<t>b"), (Ids{1, 7, 9, 5}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 3, 6, 7}), "ab a");
}

TEST(GgufTokenizer, UnusedPiecesAreTakenApart) {
  Values values = sentencepiece_values();
  values["tokenizer.ggml.token_type"] = std::vector<int64_t>{2, 3, 3, 1, 1, 1, 5, 1, 1, 4};
  EXPECT_EQ(load(values).encode("ab"), (Ids{1, 3, 4, 5}));
  EXPECT_EQ(load(values).encode("abab"), (Ids{1, 3, 8}));
}

TEST(GgufTokenizer, WithoutSpacePrefix) {
  Values values = sentencepiece_values();
  values["tokenizer.ggml.add_space_prefix"] = false;
  EXPECT_EQ(load(values).encode("ab"), (Ids{1, 6}));
}

struct BadKey {
  bool sentencepiece;
  const char* key;
  GgufValue value;
  ErrorCode code;
  const char* named;
};

TEST(GgufTokenizer, BadMetadataIsRefusedByName) {
  const std::vector<BadKey> table = {
      {false, "tokenizer.ggml.model", std::string("bert"), ErrorCode::kUnsupported, "'bert'"},
      {false, "tokenizer.ggml.pre", std::string("odd"), ErrorCode::kUnsupported,
       "tokenizer.ggml.pre 'odd'"},
      {false, "tokenizer.ggml.pre", std::string("odd"), ErrorCode::kUnsupported, "known: default"},
      {false, "tokenizer.ggml.tokens", std::vector<std::string>{}, ErrorCode::kCorrupt,
       "tokenizer.ggml.tokens"},
      {false, "tokenizer.ggml.tokens", std::vector<std::string>{"a", "\xff"}, ErrorCode::kCorrupt,
       "tokenizer.ggml.tokens[1]"},
      {false, "tokenizer.ggml.tokens", int64_t{3}, ErrorCode::kCorrupt, "tokenizer.ggml.tokens"},
      {false, "tokenizer.ggml.token_type", std::vector<int64_t>{1}, ErrorCode::kCorrupt,
       "tokenizer.ggml.token_type"},
      {false, "tokenizer.ggml.token_type", std::vector<int64_t>(260, 9), ErrorCode::kCorrupt,
       "tokenizer.ggml.token_type[0] '9'"},
      {false, "tokenizer.ggml.merges", std::vector<std::string>{"he"}, ErrorCode::kCorrupt,
       "tokenizer.ggml.merges[0] 'he'"},
      {false, "tokenizer.ggml.merges", std::vector<std::string>{"h q"}, ErrorCode::kCorrupt,
       "tokenizer.ggml.merges[0] 'h q'"},
      {false, "tokenizer.ggml.merges", std::vector<std::string>{""}, ErrorCode::kCorrupt,
       "tokenizer.ggml.merges[0]"},
      {false, "tokenizer.ggml.bos_token_id", int64_t{5000}, ErrorCode::kCorrupt,
       "tokenizer.ggml.bos_token_id '5000'"},
      {false, "tokenizer.ggml.eos_token_id", int64_t{-1}, ErrorCode::kCorrupt,
       "tokenizer.ggml.eos_token_id '-1'"},
      {true, "tokenizer.ggml.scores", std::vector<double>{1}, ErrorCode::kCorrupt,
       "tokenizer.ggml.scores"},
      {true, "tokenizer.ggml.remove_extra_whitespaces", true, ErrorCode::kUnsupported,
       "remove_extra_whitespaces"},
  };
  for (const BadKey& bad : table) {
    Values values = bad.sentencepiece ? sentencepiece_values() : byte_level_values("gpt-2");
    values[bad.key] = bad.value;
    EXPECT_TRUE(test::throws_error(bad.code, {"m.gguf", bad.named}, [&] { load(values); }))
        << bad.key;
  }
}

TEST(GgufTokenizer, MissingKeysAreRefusedByName) {
  for (const char* key :
       {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    Values values = byte_level_values("gpt-2");
    values.erase(key);
    EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, {"m.gguf", key}, [&] { load(values); }));
  }
  Values values = sentencepiece_values();
  values.erase("tokenizer.ggml.scores");
  EXPECT_TRUE(test::throws_error(ErrorCode::kCorrupt, {"m.gguf", "tokenizer.ggml.scores"},
                                 [&] { load(values); }));
}

}  // namespace
}  // namespace dak
