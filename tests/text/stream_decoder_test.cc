// A stream's pieces are whole characters and add up to what decode() gives, whatever the tokens.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "format/gguf.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace dak {
namespace {

const std::filesystem::path kData = std::filesystem::path(DAK_TEST_DATA) / "text";

void expect_streams_like_decode(const Tokenizer& tokenizer, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<TokenId> any(-2, tokenizer.vocabulary_size() + 2);
  std::uniform_int_distribution<TokenId> low(0, 300);  // where byte tokens are
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> ids(random() % 40);
    for (TokenId& id : ids) id = random() % 2 == 0 ? any(random) : low(random);
    for (const bool skip_special : {true, false}) {
      StreamDecoder stream(tokenizer, skip_special);
      std::string text;
      for (const TokenId id : ids) {
        const std::string piece = stream.push(id);
        ASSERT_TRUE(is_valid_utf8(piece));
        text += piece;
      }
      text += stream.finish();
      ASSERT_EQ(text, tokenizer.decode(ids, skip_special));
    }
  }
}

TEST(StreamDecoder, RandomTokensOfEveryKind) {
  for (const char* name :
       {"gpt2", "llama3", "qwen2", "smollm", "llama2", "mistral", "every_step"}) {
    SCOPED_TRACE(name);
    expect_streams_like_decode(load_tokenizer_json(kData / name), 7);
  }
  expect_streams_like_decode(
      load_gguf_tokenizer(open_gguf(kData / "sentencepiece" / "vocabulary.gguf").metadata), 8);
}

// Feeds the bytes of "é🎉x" one token each.
TEST(StreamDecoder, ByteLevelHoldsBackHalfCharacters) {
  const Tokenizer tokenizer = load_tokenizer_json(kData / "smollm");
  StreamDecoder stream(tokenizer);
  std::vector<std::string> pieces;
  for (const char* byte : {"Ã", "©", "ð", "Ł", "İ", "ī", "x"}) {
    const auto id = tokenizer.token_id(byte);
    ASSERT_TRUE(id) << byte;
    pieces.push_back(stream.push(*id));
  }
  EXPECT_EQ(pieces, (std::vector<std::string>{"", "é", "", "", "", "🎉", "x"}));
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, ByteLevelReplacesWhatNeverBecomesACharacter) {
  const Tokenizer tokenizer = load_tokenizer_json(kData / "smollm");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(*tokenizer.token_id("ð")), "");
  EXPECT_EQ(stream.push(*tokenizer.token_id("Ł")), "");
  EXPECT_EQ(stream.push(*tokenizer.token_id("x")), "\ufffdx");
  EXPECT_EQ(stream.push(*tokenizer.token_id("Ã")), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
}

// One bad byte turns a whole run of byte tokens into U+FFFD, so the run is held back to its end.
TEST(StreamDecoder, ByteFallbackWaitsForTheEndOfTheRun) {
  const Tokenizer tokenizer = load_tokenizer_json(kData / "llama2");
  StreamDecoder good(tokenizer);
  EXPECT_EQ(good.push(*tokenizer.token_id("<0xC3>")), "");
  EXPECT_EQ(good.push(*tokenizer.token_id("<0xA9>")), "");
  EXPECT_EQ(good.push(*tokenizer.token_id("a")), "éa");
  StreamDecoder bad(tokenizer);
  EXPECT_EQ(bad.push(*tokenizer.token_id("<0xC3>")), "");
  EXPECT_EQ(bad.push(*tokenizer.token_id("<0xA9>")), "");
  EXPECT_EQ(bad.push(*tokenizer.token_id("<0xFF>")), "");
  EXPECT_EQ(bad.finish(), "\ufffd\ufffd\ufffd");
}

TEST(StreamDecoder, SpacePrefixIsTakenFromTheFirstTokenOnly) {
  const Tokenizer tokenizer = load_tokenizer_json(kData / "llama2");
  const TokenId space = *tokenizer.token_id("▁");
  const TokenId a = *tokenizer.token_id("a");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(*tokenizer.token_id("<s>")), "");
  EXPECT_EQ(stream.push(space), "");
  EXPECT_EQ(stream.push(a), "a");
  EXPECT_EQ(stream.push(space), " ");
}

}  // namespace
}  // namespace dak
