// Exactness against ids that `tokenizers` and SentencePiece gave (reference/train_tokenizers.py).
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <span>

#include "base/file.h"
#include "format/gguf.h"
#include "text/utf8.h"

namespace dak {
namespace {

const std::filesystem::path kData = std::filesystem::path(DAK_TEST_DATA) / "text";

std::vector<TokenId> read_ids(const std::filesystem::path& path) {
  const std::string bytes = read_text_file(path);
  std::vector<TokenId> ids;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    uint16_t id = 0;
    std::memcpy(&id, bytes.data() + i, 2);
    ids.push_back(id);
  }
  return ids;
}

void expect_same_ids(std::span<const TokenId> ours, std::span<const TokenId> golden) {
  const size_t common = std::min(ours.size(), golden.size());
  for (size_t i = 0; i < common; ++i) {
    ASSERT_EQ(ours[i], golden[i]) << "first difference is at id " << i;
  }
  EXPECT_EQ(ours.size(), golden.size());
}

class GoldenTokenizer : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path folder_ = kData / GetParam();
  Tokenizer tokenizer_ = load_tokenizer_json(folder_);
  std::string torture_ = read_text_file(kData / "torture.bin");
};

TEST_P(GoldenTokenizer, EncodesAsTheReference) {
  expect_same_ids(tokenizer_.encode(torture_), read_ids(folder_ / "golden_ids.bin"));
}

TEST_P(GoldenTokenizer, EncodesSpecialTokensAsText) {
  expect_same_ids(tokenizer_.encode(torture_, {.parse_special_tokens = false}),
                  read_ids(folder_ / "golden_text_ids.bin"));
}

TEST_P(GoldenTokenizer, DecodesAsTheReference) {
  const std::vector<TokenId> ids = read_ids(folder_ / "golden_ids.bin");
  EXPECT_TRUE(tokenizer_.decode(ids, /*skip_special_tokens=*/false) ==
              read_text_file(folder_ / "golden_text.bin"));
}

TEST_P(GoldenTokenizer, StreamsWhatDecodeGives) {
  std::vector<TokenId> ids = read_ids(folder_ / "golden_ids.bin");
  for (const bool skip_special : {false, true}) {
    StreamDecoder stream(tokenizer_, skip_special);
    std::string text;
    for (const TokenId id : ids) {
      const std::string piece = stream.push(id);
      ASSERT_TRUE(is_valid_utf8(piece)) << "half a character at token " << id;
      text += piece;
    }
    text += stream.finish();
    EXPECT_TRUE(text == tokenizer_.decode(ids, skip_special));
  }
}

TEST_P(GoldenTokenizer, IdsAndTextsAgree) {
  for (TokenId id = 0; id < tokenizer_.vocabulary_size(); ++id) {
    const auto text = tokenizer_.token_text(id);
    if (text) {
      EXPECT_EQ(tokenizer_.token_id(*text), id);
    }
  }
  EXPECT_EQ(tokenizer_.token_text(-1), std::nullopt);
  EXPECT_EQ(tokenizer_.token_text(tokenizer_.vocabulary_size()), std::nullopt);
  EXPECT_EQ(tokenizer_.token_id("no such token, surely"), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTokenizer,
                         testing::Values("gpt2", "llama3", "qwen2", "smollm", "llama2", "mistral",
                                         "every_step"),
                         [](const auto& test) { return std::string(test.param); });

TEST(SentencePieceTokenizer, EncodesAsTheLibrary) {
  const std::filesystem::path folder = kData / "sentencepiece";
  const Tokenizer tokenizer = load_gguf_tokenizer(open_gguf(folder / "vocabulary.gguf").metadata);
  const std::string torture = read_text_file(kData / "torture.bin");
  expect_same_ids(tokenizer.encode(torture, {.parse_special_tokens = false}),
                  read_ids(folder / "golden_text_ids.bin"));
}

TEST(SentencePieceTokenizer, DecodesToTheText) {
  const Tokenizer tokenizer =
      load_gguf_tokenizer(open_gguf(kData / "sentencepiece" / "vocabulary.gguf").metadata);
  for (const std::string text : {"Hello world", "  two  spaces", "你好 🎉 é", "", "a\nb\tc"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_EQ(tokenizer.encode("<s>").size(), 2U);  // BOS and the token itself
  EXPECT_EQ(tokenizer.encode("<s>", {.parse_special_tokens = false}).size() > 2, true);
}

}  // namespace
}  // namespace dak
