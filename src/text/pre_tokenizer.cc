#include "text/pre_tokenizer.h"

#include <utility>

#include "text/byte_level.h"
#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace dak {

namespace {

// Cuts every word at the stretches that find(word, stretches) names. Empty pieces vanish.
template <typename Find>
void split_words(Words& words, SplitBehavior behavior, Find find) {
  std::vector<Words::Word> pieces;
  pieces.reserve(words.words.size());
  std::vector<Stretch> stretches;
  for (const Words::Word& word : words.words) {
    stretches.clear();
    find(word.text, stretches);
    apply_split_behavior(stretches, behavior);
    for (const Stretch& s : stretches) {
      if (s.begin == s.end) continue;
      pieces.push_back({word.text.substr(s.begin, s.end - s.begin), word.at_start && s.begin == 0});
    }
  }
  words.words = std::move(pieces);
}

void find_regex(const Regex& pattern, RegexScratch& scratch, std::string_view text, bool invert,
                std::vector<Stretch>& stretches) {
  const std::string older = with_older_characters(text);
  if (!older.empty()) text = older;
  size_t covered = 0;
  size_t from = 0;
  while (from <= text.size() && covered < text.size()) {
    const auto match = pattern.find(scratch, text, from);
    if (!match) break;
    if (match->begin > covered) stretches.push_back({covered, match->begin, invert});
    stretches.push_back({match->begin, match->end, !invert});
    covered = match->end;
    from = match->end;
    if (match->begin == match->end) {
      if (from == text.size()) break;
      from += utf8_char_at(text, from).length_bytes;
    }
  }
  if (covered < text.size()) stretches.push_back({covered, text.size(), invert});
}

// Every character for which is_match(code) is a match of its own.
template <typename IsMatch>
void find_chars(std::string_view text, IsMatch is_match, std::vector<Stretch>& stretches) {
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_char_at(text, i);
    if (is_match(c.code)) {
      if (i > covered) stretches.push_back({covered, i, false});
      covered = i + c.length_bytes;
      stretches.push_back({i, covered, true});
    }
    i += c.length_bytes;
  }
  if (covered < text.size()) stretches.push_back({covered, text.size(), false});
}

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(std::vector<PreTokenizerPtr> steps) : steps_(std::move(steps)) {}
  void apply(Words& words, RegexScratch& scratch) const override {
    const size_t from_bytes = size_bytes(words);
    for (const PreTokenizerPtr& step : steps_) {
      if (words.spell_bytes) {
        spell(words);
        check_growth(from_bytes, size_bytes(words));
      }
      step->apply(words, scratch);
    }
  }

 private:
  static size_t size_bytes(const Words& words) {
    size_t bytes = 0;
    for (const Words::Word& word : words.words) bytes += word.text.size();
    return bytes;
  }

  static void spell(Words& words) {
    for (Words::Word& word : words.words) {
      append_byte_level(words.owned.emplace_back(), word.text);
      word.text = words.owned.back();
    }
    words.spell_bytes = false;
  }

  std::vector<PreTokenizerPtr> steps_;
};

class SplitPreTokenizer : public PreTokenizer {
 public:
  SplitPreTokenizer(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(Words& words, RegexScratch& scratch) const override {
    split_words(words, behavior_, [&](std::string_view text, std::vector<Stretch>& stretches) {
      find_regex(pattern_, scratch, text, invert_, stretches);
    });
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class PrefixSpacePreTokenizer : public PreTokenizer {
 public:
  void apply(Words& words, RegexScratch&) const override {
    for (Words::Word& word : words.words) {
      if (word.text.starts_with(' ')) continue;
      word.text = words.owned.emplace_back(" " + std::string(word.text));
    }
  }
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space),
        use_regex_(use_regex),
        split_(Regex(kGpt2Pattern, "GPT-2", "pattern"), SplitBehavior::kIsolated, false) {}
  void apply(Words& words, RegexScratch& scratch) const override {
    if (add_prefix_space_) PrefixSpacePreTokenizer().apply(words, scratch);
    if (use_regex_) split_.apply(words, scratch);
    words.spell_bytes = true;
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
  SplitPreTokenizer split_;
};

class DigitsPreTokenizer : public PreTokenizer {
 public:
  explicit DigitsPreTokenizer(bool individual_digits)
      : behavior_(individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous) {}
  void apply(Words& words, RegexScratch&) const override {
    split_words(words, behavior_, [](std::string_view text, std::vector<Stretch>& stretches) {
      find_chars(text, is_numeric, stretches);
    });
  }

 private:
  SplitBehavior behavior_;
};

class PunctuationPreTokenizer : public PreTokenizer {
 public:
  explicit PunctuationPreTokenizer(SplitBehavior behavior) : behavior_(behavior) {}
  void apply(Words& words, RegexScratch&) const override {
    split_words(words, behavior_, [](std::string_view text, std::vector<Stretch>& stretches) {
      find_chars(text, is_punctuation, stretches);
    });
  }

 private:
  SplitBehavior behavior_;
};

class WhiteSpaceSplitPreTokenizer : public PreTokenizer {
 public:
  void apply(Words& words, RegexScratch&) const override {
    split_words(words, SplitBehavior::kRemoved,
                [](std::string_view text, std::vector<Stretch>& stretches) {
                  find_chars(text, is_white_space, stretches);
                });
  }
};

class WhiteSpacePreTokenizer : public PreTokenizer {
 public:
  void apply(Words& words, RegexScratch&) const override {
    split_words(words, SplitBehavior::kRemoved, find_runs);
  }

 private:
  enum class Kind { kSpace, kWord, kOther };
  static Kind kind_of(char32_t code) {
    if (is_white_space(code)) return Kind::kSpace;
    return is_word_character(code) ? Kind::kWord : Kind::kOther;
  }
  static void find_runs(std::string_view text, std::vector<Stretch>& stretches) {
    Kind run = Kind::kSpace;
    for (size_t i = 0; i < text.size();) {
      const Utf8Char c = utf8_char_at(text, i);
      const Kind kind = kind_of(c.code);
      if (stretches.empty() || kind != run) stretches.push_back({i, i, kind == Kind::kSpace});
      i += c.length_bytes;
      stretches.back().end = i;
      run = kind;
    }
  }
};

class MetaspacePreTokenizer : public PreTokenizer {
 public:
  MetaspacePreTokenizer(std::string replacement, PrependScheme prepend, bool split)
      : replacement_(std::move(replacement)), prepend_(prepend), split_(split) {}
  void apply(Words& words, RegexScratch&) const override {
    for (Words::Word& word : words.words) {
      std::string text = replace_literal(" ", word.text, replacement_);
      const bool prepend = prepend_ == PrependScheme::kAlways ||
                           (prepend_ == PrependScheme::kFirst && word.at_start);
      if (prepend && !text.starts_with(replacement_)) text.insert(0, replacement_);
      word.text = words.owned.emplace_back(std::move(text));
    }
    if (!split_) return;
    const char32_t replacement = utf8_char_at(replacement_, 0).code;
    split_words(words, SplitBehavior::kMergedWithNext,
                [&](std::string_view text, std::vector<Stretch>& stretches) {
                  find_chars(
                      text, [&](char32_t code) { return code == replacement; }, stretches);
                });
  }

 private:
  std::string replacement_;
  PrependScheme prepend_;
  bool split_;
};

}  // namespace

PreTokenizerPtr make_sequence_pre_tokenizer(std::vector<PreTokenizerPtr> steps) {
  return std::make_unique<SequencePreTokenizer>(std::move(steps));
}
PreTokenizerPtr make_prefix_space_pre_tokenizer() {
  return std::make_unique<PrefixSpacePreTokenizer>();
}
PreTokenizerPtr make_byte_level_pre_tokenizer(bool add_prefix_space, bool use_regex) {
  return std::make_unique<ByteLevelPreTokenizer>(add_prefix_space, use_regex);
}
PreTokenizerPtr make_split_pre_tokenizer(Regex pattern, SplitBehavior behavior, bool invert) {
  return std::make_unique<SplitPreTokenizer>(std::move(pattern), behavior, invert);
}
PreTokenizerPtr make_digits_pre_tokenizer(bool individual_digits) {
  return std::make_unique<DigitsPreTokenizer>(individual_digits);
}
PreTokenizerPtr make_punctuation_pre_tokenizer(SplitBehavior behavior) {
  return std::make_unique<PunctuationPreTokenizer>(behavior);
}
PreTokenizerPtr make_white_space_pre_tokenizer() {
  return std::make_unique<WhiteSpacePreTokenizer>();
}
PreTokenizerPtr make_white_space_split_pre_tokenizer() {
  return std::make_unique<WhiteSpaceSplitPreTokenizer>();
}
PreTokenizerPtr make_metaspace_pre_tokenizer(std::string replacement, PrependScheme prepend,
                                             bool split) {
  return std::make_unique<MetaspacePreTokenizer>(std::move(replacement), prepend, split);
}

}  // namespace dak
