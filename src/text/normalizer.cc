#include "text/normalizer.h"

#include <utility>

#include "base/error.h"
#include "text/utf8.h"

namespace dak {
namespace {

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<NormalizerPtr> steps) : steps_(std::move(steps)) {}
  void apply(NormalizedText& text, RegexScratch& scratch) const override {
    const size_t from_bytes = text.text.size();
    for (const NormalizerPtr& step : steps_) {
      step->apply(text, scratch);
      check_growth(from_bytes, text.text.size());
    }
  }

 private:
  std::vector<NormalizerPtr> steps_;
};

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(NormalizationForm form) : form_(form) {}
  void apply(NormalizedText& text, RegexScratch&) const override {
    text.text = normalize_unicode(text.text, form_);
  }

 private:
  NormalizationForm form_;
};

class LowercaseNormalizer : public Normalizer {
 public:
  void apply(NormalizedText& text, RegexScratch&) const override {
    text.text = lowercase_unicode(text.text);
  }
};

class StripAccentsNormalizer : public Normalizer {
 public:
  void apply(NormalizedText& text, RegexScratch&) const override {
    std::string kept;
    const std::string_view view = text.text;
    for (size_t i = 0; i < view.size();) {
      const Utf8Char c = utf8_char_at(view, i);
      if (!is_combining_mark(c.code)) {
        kept += view.substr(i, c.length_bytes);
      } else if (i == 0) {
        text.at_start = false;
      }
      i += c.length_bytes;
    }
    text.text = std::move(kept);
  }
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void apply(NormalizedText& text, RegexScratch&) const override {
    const std::string_view view = text.text;
    size_t begin = 0;
    size_t end = view.size();
    while (left_ && begin < end) {
      const Utf8Char c = utf8_char_at(view, begin);
      if (!is_white_space(c.code)) break;
      begin += c.length_bytes;
    }
    while (right_ && begin < end) {
      const Utf8Char c = utf8_char_before(view, end);
      if (!is_white_space(c.code)) break;
      end -= c.length_bytes;
    }
    if (begin > 0) text.at_start = false;
    text.text = std::string(view.substr(begin, end - begin));
  }

 private:
  bool left_;
  bool right_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(NormalizedText& text, RegexScratch&) const override {
    if (!text.text.empty()) text.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class ReplaceRegexNormalizer : public Normalizer {
 public:
  ReplaceRegexNormalizer(Regex pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(NormalizedText& text, RegexScratch& scratch) const override {
    if (content_.empty()) {
      const auto first = pattern_.find(scratch, text.text, 0);
      if (first && first->begin == 0 && first->end > 0) text.at_start = false;
    }
    text.text = replace_matches(pattern_, text.text, content_, scratch);
  }

 private:
  Regex pattern_;
  std::string content_;
};

class ReplaceLiteralNormalizer : public Normalizer {
 public:
  ReplaceLiteralNormalizer(std::string literal, std::string content)
      : literal_(std::move(literal)), content_(std::move(content)) {}
  void apply(NormalizedText& text, RegexScratch&) const override {
    if (content_.empty() && text.text.starts_with(literal_)) text.at_start = false;
    text.text = replace_literal(literal_, text.text, content_);
  }

 private:
  std::string literal_;
  std::string content_;
};

}  // namespace

void check_growth(size_t from_bytes, size_t to_bytes) {
  constexpr size_t kFactor = 64;
  constexpr size_t kExtraBytes = 64 * 1024;
  if (to_bytes <= from_bytes * kFactor + kExtraBytes) return;
  throw Error(
      ErrorCode::kResourceExhausted,
      {.where = "tokenizer",
       .field = {},
       .value = {},
       .problem = fmt::format("its steps turn {} bytes of text into {}", from_bytes, to_bytes),
       .fix = "use the model's own tokenizer.json"});
}

std::string replace_matches(const Regex& pattern, std::string_view text, std::string_view content,
                            RegexScratch& scratch) {
  std::string out;
  size_t copied = 0;
  size_t from = 0;
  while (from <= text.size()) {
    const auto match = pattern.find(scratch, text, from);
    if (!match) break;
    out += text.substr(copied, match->begin - copied);
    out += content;
    check_growth(text.size(), out.size());
    copied = match->end;
    from = match->end;
    if (match->begin == match->end) {
      if (from == text.size()) break;
      from += utf8_char_at(text, from).length_bytes;
    }
  }
  out += text.substr(copied);
  return out;
}

std::string replace_literal(std::string_view literal, std::string_view text,
                            std::string_view content) {
  if (literal.empty()) return std::string(text);
  std::string out;
  size_t copied = 0;
  for (size_t at = text.find(literal); at != std::string_view::npos;
       at = text.find(literal, copied)) {
    out += text.substr(copied, at - copied);
    out += content;
    check_growth(text.size(), out.size());
    copied = at + literal.size();
  }
  out += text.substr(copied);
  return out;
}

NormalizerPtr make_sequence_normalizer(std::vector<NormalizerPtr> steps) {
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}
NormalizerPtr make_unicode_normalizer(NormalizationForm form) {
  return std::make_unique<UnicodeNormalizer>(form);
}
NormalizerPtr make_lowercase_normalizer() { return std::make_unique<LowercaseNormalizer>(); }
NormalizerPtr make_strip_accents_normalizer() { return std::make_unique<StripAccentsNormalizer>(); }
NormalizerPtr make_strip_normalizer(bool left, bool right) {
  return std::make_unique<StripNormalizer>(left, right);
}
NormalizerPtr make_prepend_normalizer(std::string prefix) {
  return std::make_unique<PrependNormalizer>(std::move(prefix));
}
NormalizerPtr make_replace_normalizer(Regex pattern, std::string content) {
  return std::make_unique<ReplaceRegexNormalizer>(std::move(pattern), std::move(content));
}
NormalizerPtr make_replace_normalizer(std::string literal, std::string content) {
  return std::make_unique<ReplaceLiteralNormalizer>(std::move(literal), std::move(content));
}

}  // namespace dak
