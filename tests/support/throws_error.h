// throws_error(code, words, call): that `call` throws dak::Error with that code, and that the line
// a user reads holds all of the words. A test of an error names both: one that only expects some
// error passes when another fault is met first.
//
//   EXPECT_TRUE(throws_error(ErrorCode::kNotFound, {"tier", "third"}, [&] { revoke("third"); }));
#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace dak::test {

// What a message must hold: one text or several, each as it stands. Made from either on the way.
class ErrorWords {
 public:
  ErrorWords(const char* words) : words_{words} {}
  ErrorWords(std::string_view words) : words_{std::string(words)} {}
  ErrorWords(const std::string& words) : words_{words} {}
  ErrorWords(std::vector<std::string> words) : words_(std::move(words)) {}
  ErrorWords(std::initializer_list<std::string_view> words) : words_(words.begin(), words.end()) {}

  const std::vector<std::string>& list() const { return words_; }

 private:
  std::vector<std::string> words_;
};

inline std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "kInvalidArgument";
    case ErrorCode::kNotFound:
      return "kNotFound";
    case ErrorCode::kCorrupt:
      return "kCorrupt";
    case ErrorCode::kUnsupported:
      return "kUnsupported";
    case ErrorCode::kResourceExhausted:
      return "kResourceExhausted";
    case ErrorCode::kIo:
      return "kIo";
    case ErrorCode::kUnavailable:
      return "kUnavailable";
    case ErrorCode::kDeadlineExceeded:
      return "kDeadlineExceeded";
    case ErrorCode::kInternal:
      return "kInternal";
  }
  return "an unknown code";
}

// That `message` is one line and holds all words. Words that are missing or empty would hold
// nothing, so they fail.
inline testing::AssertionResult has_words(std::string_view message, const ErrorWords& words) {
  if (words.list().empty()) return testing::AssertionFailure() << "the test names no words";
  for (const std::string& word : words.list()) {
    if (word.empty()) return testing::AssertionFailure() << "the test names an empty word";
    if (message.find(word) == std::string_view::npos) {
      return testing::AssertionFailure() << "\"" << word << "\" is not in: " << message;
    }
  }
  if (message.find('\n') != std::string_view::npos) {
    return testing::AssertionFailure() << "more than one line: " << message;
  }
  return testing::AssertionSuccess();
}

// The error of `call`, where a test reads more of it than fixed words; none: it threw none.
template <typename Call>
std::optional<Error> error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

template <typename Call>
testing::AssertionResult throws_error(ErrorCode code, const ErrorWords& words, Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.code() != code) {
      return testing::AssertionFailure()
             << "not " << name_of(code) << " but " << name_of(error.code()) << ": " << error.what();
    }
    return has_words(error.what(), words);
  } catch (const std::exception& error) {
    return testing::AssertionFailure() << "not a dak::Error: " << error.what();
  }
  return testing::AssertionFailure() << "nothing was thrown; expected " << name_of(code);
}

}  // namespace dak::test
