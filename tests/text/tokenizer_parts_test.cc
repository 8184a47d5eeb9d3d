// The parts of tokenizers one by one: UTF-8, regular expressions, splitting, merging long words.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "support/throws_error.h"
#include "text/regex.h"
#include "text/split.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"
#include "text/word_cache.h"

namespace dak {
namespace {

const std::filesystem::path kData = std::filesystem::path(DAK_TEST_DATA) / "text";

// What Python 3.11's bytes.decode("utf-8", "replace") gives.
TEST(Utf8, MaximalSubpartsAreReplaced) {
  const std::string r(kReplacementCharacter);
  const std::vector<std::pair<std::string, std::string>> table = {
      {"abc", "abc"},
      {"\x80", r},
      {"\xc0\x80", r + r},
      {"\xe2\x82", r},
      {"\xe2\x82x", r + "x"},
      {"\xed\xa0\x80", r + r + r},
      {"\xf0\x9f\x8e", r},
      {"\xf0\x9f\x8e\x89", "🎉"},
      {"\xf4\x90\x80\x80", r + r + r + r},
      {"\xe4\xbd\xe4\xbd\xa0", r + "你"},
      {"\xe0\x80\xaf", r + r + r},
      {"a\xff\xfeg", "a" + r + r + "g"},
      {"12345678\xc3\xa9\xc3", "12345678é" + r},
  };
  for (const auto& [bytes, text] : table) {
    EXPECT_EQ(replace_malformed_utf8(bytes), text);
    EXPECT_EQ(is_valid_utf8(bytes), bytes == text);
  }
}

TEST(Unicode, Normalization) {
  EXPECT_EQ(normalize_unicode("e\u0301\u1100\u1161\u11a8", NormalizationForm::kNfc), "é각");
  EXPECT_EQ(normalize_unicode("é각", NormalizationForm::kNfd), "e\u0301\u1100\u1161\u11a8");
  EXPECT_EQ(normalize_unicode("ﬁ①", NormalizationForm::kNfkc), "fi1");
  EXPECT_EQ(normalize_unicode("ﬁé", NormalizationForm::kNfkd), "fie\u0301");
  EXPECT_EQ(lowercase_unicode("ÀİΣẞ"), "ài\u0307σß");
}

TEST(Regex, OnigurumaMeanings) {
  RegexScratch scratch;
  const auto matches = [&](const char* pattern, std::string_view text) {
    const auto match = Regex(pattern, "t", "p").find(scratch, text, 0);
    return match && match->begin == 0 && match->end == text.size();
  };
  EXPECT_TRUE(matches(R"(\s)", "\u00a0"));
  EXPECT_TRUE(matches(R"(\s)", "\u2028"));
  EXPECT_FALSE(matches(R"(\s)", "\u180e"));  // PCRE2's own \s takes it
  EXPECT_FALSE(matches(R"(\s)", "\u200b"));
  EXPECT_TRUE(matches(R"(\w)", "\u0301"));
  EXPECT_TRUE(matches(R"(\w)", "\u203f"));
  EXPECT_TRUE(matches(R"([\w-]+)", "a-b"));
  EXPECT_TRUE(matches(R"(\S\W)", "a-"));
  EXPECT_TRUE(matches(R"(\v)", "\x0b"));
  EXPECT_FALSE(matches(R"(\v)", "\n"));
  EXPECT_TRUE(matches(R"((?i:'s|'t))", "'ſ"));
  EXPECT_TRUE(matches(R"(\u00e9\x{1F389}\x41)", "é🎉A"));
  EXPECT_TRUE(matches(R"([^\r\n\p{L}\p{N}]?+\p{L}++)", "!ab"));
}

TEST(Regex, WhatMayMeanSomethingElseIsRefused) {
  for (const char* pattern :
       {R"(\h)",       R"(\K)", R"(\R)",  R"(\G)",   R"(\b)",  R"(\1)",  "[a&&b]",
        "[[:alpha:]]", "[]a]",  "(?m:a)", "(?<n>a)", "(*UTF)", "a{2}+",  "a{,3}",
        "a{",          R"(\p)", R"(\xg)", R"(\)",    "[a",     R"([\W])"}) {
    EXPECT_TRUE(test::throws_error(ErrorCode::kUnsupported, "file: field '", [&] {
      Regex(pattern, "file", "field");
    })) << pattern;
  }
}

TEST(Regex, RunawayMatchIsAnErrorAndNotAHang) {
  RegexScratch scratch;
  const Regex regex("(?:a+)+(?:a+)+(?:a+)+$", "file", "field");
  EXPECT_TRUE(test::throws_error(
      ErrorCode::kResourceExhausted,
      {"file: field", "regular expression failed on this text", "shorten the text"},
      [&] { regex.find(scratch, std::string(200, 'a') + "b", 0); }));
}

std::string split_text(std::string_view text, SplitBehavior behavior) {
  std::vector<Stretch> stretches;
  size_t covered = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '-') continue;
    if (i > covered) stretches.push_back({covered, i, false});
    stretches.push_back({i, i + 1, true});
    covered = i + 1;
  }
  if (covered < text.size()) stretches.push_back({covered, text.size(), false});
  apply_split_behavior(stretches, behavior);
  std::string out;
  for (const Stretch& s : stretches) {
    out += std::string(text.substr(s.begin, s.end - s.begin)) + "|";
  }
  return out;
}

// The table in the documentation of `tokenizers` (SplitDelimiterBehavior).
TEST(Split, Behaviors) {
  const std::string text = "the-final--countdown";
  EXPECT_EQ(split_text(text, SplitBehavior::kRemoved), "the|final|countdown|");
  EXPECT_EQ(split_text(text, SplitBehavior::kIsolated), "the|-|final|-|-|countdown|");
  EXPECT_EQ(split_text(text, SplitBehavior::kMergedWithPrevious), "the-|final-|-|countdown|");
  EXPECT_EQ(split_text(text, SplitBehavior::kMergedWithNext), "the|-final|-|-countdown|");
  EXPECT_EQ(split_text(text, SplitBehavior::kContiguous), "the|-|final|--|countdown|");
}

TEST(WordCache, ForgetsWhenFullAndStaysRight) {
  WordCache cache;
  for (int round = 0; round < 2; ++round) {
    for (int i = 1; i <= 100'000; ++i) {
      const std::string word = "w" + std::to_string(i);
      const std::vector<TokenId> tokens = {i, -i};
      cache.store(word, tokens);
      const auto found = cache.find(word);
      ASSERT_EQ(std::vector<TokenId>(found.begin(), found.end()), tokens);
    }
  }
  EXPECT_TRUE(cache.find("absent").empty());
  const std::string long_word(WordCache::kMaxWordBytes + 1, 'x');
  cache.store(long_word, std::vector<TokenId>{1});
  EXPECT_TRUE(cache.find(long_word).empty());
}

// Merging is O(n log n): this takes a fraction of a second, and a quadratic merge
// would take minutes.
TEST(LongWords, AreNotQuadratic) {
  for (const char* name : {"gpt2", "llama3", "llama2", "every_step"}) {
    const Tokenizer tokenizer = load_tokenizer_json(kData / name);
    for (const std::string unit : {"a", " ", "ab", "1", "\n", "é", "🎉"}) {
      std::string text;
      while (text.size() < 200'000) text += unit;
      const auto start = std::chrono::steady_clock::now();
      const std::vector<TokenId> ids = tokenizer.encode(text);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 20.0) << name << " on a run of '" << unit << "'";
      EXPECT_FALSE(ids.empty());
    }
  }
}

}  // namespace
}  // namespace dak
