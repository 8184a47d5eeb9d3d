// The regular expressions of tokenizer files: written for Oniguruma, run by PCRE2 with its JIT.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dak {

// Per-call working memory of matching; one per thread.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

struct RegexMatch {
  size_t begin = 0;
  size_t end = 0;
};

class Regex {
 public:
  // `where` and `field` name the pattern's source in errors. kUnsupported for a construct whose
  // meaning in PCRE2 would differ, kCorrupt for a pattern that is not one.
  Regex(std::string_view pattern, std::string_view where, std::string_view field);

  // Matches `text` literally.
  static Regex literal(std::string_view text, std::string_view where, std::string_view field);

  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // The leftmost match that begins at or after `from`. `subject` must be valid UTF-8. Throws
  // kResourceExhausted when the match limit or stack is reached.
  std::optional<RegexMatch> find(RegexScratch& scratch, std::string_view subject,
                                 size_t from) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

// An Oniguruma pattern as PCRE2 would have to be told it. Split out for its tests.
std::string translate_oniguruma(std::string_view pattern, std::string_view where,
                                std::string_view field);

}  // namespace dak
