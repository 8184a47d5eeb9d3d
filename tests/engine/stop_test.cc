#include "engine/stop.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "support/throws_error.h"

namespace dak {
namespace {

struct Result {
  std::string text;
  bool stopped = false;
  bool operator==(const Result&) const = default;
};

void PrintTo(const Result& result, std::ostream* out) {
  *out << '"' << result.text << '"' << (result.stopped ? " stopped" : "");
}

Result run(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Result result;
  for (const std::string& piece : pieces) {
    const StopMatcher::Step step = matcher.push(piece);
    result.text += step.text;
    result.stopped = step.stopped;
    if (step.stopped) break;
  }
  result.text += matcher.finish();
  return result;
}

// The definition: the first position where a stop string ends, and the longest that ends there.
Result search(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (std::string_view(text).substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(StopMatcher, SplitOverPieces) {
  EXPECT_EQ(run({"<end>"}, {"Hello", " wor", "ld<", "en", "d>more"}),
            (Result{"Hello world", true}));
  EXPECT_EQ(run({"<end>"}, {"a<en", "x<end", ">"}), (Result{"a<enx", true}));
  EXPECT_EQ(run({"<end>"}, {"a<en"}), (Result{"a<en", false}));
}

TEST(StopMatcher, HoldsBackNoMoreThanItMust) {
  StopMatcher matcher({"abc", "\n\n"});
  EXPECT_EQ(matcher.push("xab").text, "x");
  EXPECT_EQ(matcher.push("d").text, "abd");
  EXPECT_EQ(matcher.push("\n").text, "");
  EXPECT_EQ(matcher.push("y").text, "\ny");
  EXPECT_EQ(matcher.push("aba").text, "ab");
  EXPECT_EQ(matcher.finish(), "a");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, OverlappingStops) {
  EXPECT_EQ(run({"abcd", "bc"}, {"xabcd"}), (Result{"xa", true}));  // "bc" is complete first
  EXPECT_EQ(run({"bc", "abc"}, {"xabc"}), (Result{"x", true}));     // both at once: the longest
  EXPECT_EQ(run({"aab"}, {"aa", "a", "b"}), (Result{"a", true}));   // a prefix inside itself
  EXPECT_EQ(run({"abab", "bb"}, {"ab", "ac", "abb"}), (Result{"abaca", true}));
}

TEST(StopMatcher, AtTheFirstCharacter) {
  EXPECT_EQ(run({"S"}, {"S"}), (Result{"", true}));
  EXPECT_EQ(run({"Stop"}, {"S", "t", "o", "p"}), (Result{"", true}));
}

TEST(StopMatcher, NothingAfterAStop) {
  StopMatcher matcher({"."});
  EXPECT_TRUE(matcher.push("a.b").stopped);
  const StopMatcher::Step step = matcher.push("more");
  EXPECT_TRUE(step.stopped);
  EXPECT_EQ(step.text, "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, NoStopsAndEmptyPieces) {
  EXPECT_EQ(run({}, {"a", "", "b"}), (Result{"ab", false}));
  EXPECT_EQ(run({"x"}, {"", ""}), (Result{"", false}));
  EXPECT_TRUE(
      test::throws_error(ErrorCode::kInvalidArgument, "sampling: stop: is empty; omit it", [&] {
        StopMatcher({"a", ""});
      }));
}

// Pieces of whole characters give text of whole characters.
TEST(StopMatcher, Utf8) {
  const std::string text = "Grüße 日本語 🙂 конец";
  StopMatcher matcher({"日本人", "🙃", "конецx"});
  std::string emitted;
  for (size_t i = 0; i < text.size();) {
    size_t length = 1;
    while (i + length < text.size() &&
           (static_cast<unsigned char>(text[i + length]) & 0xc0) == 0x80) {
      ++length;
    }
    const StopMatcher::Step step = matcher.push(std::string_view(text).substr(i, length));
    EXPECT_FALSE(step.stopped);
    if (!step.text.empty()) {
      EXPECT_NE(static_cast<unsigned char>(step.text.front()) & 0xc0, 0x80);
    }
    emitted += step.text;
    i += length;
  }
  EXPECT_EQ(emitted + matcher.finish(), text);
  EXPECT_EQ(run({"語"}, {"日本", "語!"}), (Result{"日本", true}));
}

// Whatever the pieces, the same as one search of the whole text. Two letters make overlaps common.
TEST(StopMatcher, AgreesWithASearchOfTheWholeText) {
  std::mt19937 random(5);
  const auto word = [&](size_t longest) {
    std::string text(random() % (longest + 1), ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  int stopped = 0;
  constexpr int kRounds = 20000;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(word(7) + "a");
    std::vector<std::string> pieces;
    std::string text;
    for (size_t i = random() % 12; i > 0; --i) {
      pieces.push_back(word(5));
      text += pieces.back();
    }
    const Result wanted = search(stops, text);
    ASSERT_EQ(run(stops, pieces), wanted) << text;
    stopped += wanted.stopped ? 1 : 0;
  }
  EXPECT_GT(stopped, kRounds / 4);
  EXPECT_LT(stopped, kRounds * 3 / 4);
}

}  // namespace
}  // namespace dak
