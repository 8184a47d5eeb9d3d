#include "text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/marks.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include "text/word_cache.h"

namespace dak {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;  // symbols and offsets are 32 bits wide
// No characters: normalisers leave them as they are.
constexpr MarkBlock kNoncharacters[] = {{0xfdd0, 1}, {0xfdd1, 1}, {0xfdd2, 1}, {0xfdd3, 1}};

// One call of encode(): its working memory and its output.
class Encoding {
 public:
  Encoding(const Tokenizer::Impl& tokenizer, const EncodeOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  std::vector<TokenId> run(std::string_view text) {
    if (options_.add_special_tokens) append(tokenizer_.before);
    for (const auto& section :
         tokenizer_.added->split_raw(text, options_.parse_special_tokens, options_.letters)) {
      if (section.token >= 0) {
        out_.push_back(section.token);
      } else {
        normalize(section.text, section.text.data() == text.data(), letters_in(text, section.text));
      }
    }
    if (options_.add_special_tokens) append(tokenizer_.after);
    return std::move(out_);
  }

 private:
  void append(std::span<const TokenId> tokens) {
    out_.insert(out_.end(), tokens.begin(), tokens.end());
  }

  // Those of options_.letters that lie in `part`, as offsets into it.
  std::vector<TextSpan> letters_in(std::string_view text, std::string_view part) const {
    std::vector<TextSpan> inside;
    const auto offset = static_cast<size_t>(part.data() - text.data());
    const auto& all = options_.letters;
    const auto first = std::ranges::lower_bound(all, offset, {}, &TextSpan::begin);
    const auto last = std::ranges::lower_bound(all, offset + part.size(), {}, &TextSpan::begin);
    inside.reserve(static_cast<size_t>(last - first));
    for (auto letter = first; letter != last; ++letter) {
      inside.push_back({letter->begin - offset, std::min(letter->end - offset, part.size())});
    }
    return inside;
  }

  // Where `letters` of `raw` are in `normalized`, its normalised text. False: cannot be told.
  bool follow(std::vector<TextSpan>& letters, std::string_view raw,
              const NormalizedText& normalized, bool at_start) {
    const std::optional<MarkBlock> mark_of = absent_block(raw, kNoncharacters);
    if (!mark_of) return false;
    std::vector<Mark> marks;
    marks.reserve(letters.size());
    for (const TextSpan& letter : letters) marks.push_back({.place = letter.begin});
    NormalizedText marked{with_marks(raw, marks, *mark_of), at_start};
    tokenizer_.normalizer->apply(marked, regex_);
    const MarkedText found = without_marks(marked.text, *mark_of);
    letters.clear();
    letters.reserve(found.marks.size());
    for (const Mark& mark : found.marks) letters.push_back({mark.place, mark.place + 1});
    return found.text == normalized.text;
  }

  void normalize(std::string_view raw, bool at_start, std::vector<TextSpan> letters) {
    NormalizedText normalized{{}, at_start};
    std::string_view text = raw;
    bool parse_special = options_.parse_special_tokens;
    if (tokenizer_.normalizer) {
      normalized.text = raw;
      tokenizer_.normalizer->apply(normalized, regex_);
      text = normalized.text;
      if (!letters.empty() && tokenizer_.added->has_normalized_specials()) {
        parse_special = follow(letters, raw, normalized, at_start) && parse_special;
      }
    }
    for (const auto& section : tokenizer_.added->split_normalized(text, parse_special, letters)) {
      if (section.token >= 0) {
        out_.push_back(section.token);
      } else {
        pre_tokenize(section.text, normalized.at_start && section.text.data() == text.data());
      }
    }
  }

  void pre_tokenize(std::string_view text, bool at_start) {
    if (text.empty()) return;
    Words words;
    words.words.push_back({text, at_start});
    if (tokenizer_.pre_tokenizer) tokenizer_.pre_tokenizer->apply(words, regex_);
    for (const Words::Word& word : words.words) tokenize(word.text, words.spell_bytes);
  }

  void tokenize(std::string_view word, bool spell_bytes) {
    const std::span<const TokenId> known = cache_.find(word);
    if (!known.empty()) return append(known);
    const size_t before = out_.size();
    if (spell_bytes) {
      spelled_.clear();
      append_byte_level(spelled_, word);
      tokenizer_.model->tokenize(spelled_, words_, out_);
    } else {
      tokenizer_.model->tokenize(word, words_, out_);
    }
    cache_.store(word, std::span(out_).subspan(before));
  }

  const Tokenizer::Impl& tokenizer_;
  const EncodeOptions& options_;
  RegexScratch regex_;
  WordScratch words_;
  WordCache cache_;
  std::string spelled_;
  std::vector<TokenId> out_;
};

}  // namespace

const std::string* Tokenizer::Impl::decoded_text(TokenId token) const {
  if (const AddedToken* found = added->find(token)) return &found->content;
  return vocabulary->text(token);
}

bool Tokenizer::Impl::is_special(TokenId token) const {
  const AddedToken* found = added->find(token);
  return found != nullptr && found->special;
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    throw_invalid("text", "size", fmt::format("{} bytes", text.size()),
                  fmt::format("longer than {} bytes", kMaxTextBytes), "split it");
  }
  if (is_valid_utf8(text)) return Encoding(*impl_, options).run(text);
  std::string mended;
  std::vector<TextSpan> letters;
  size_t from = 0;
  for (const auto& [begin, end] : options.letters) {
    mended += replace_malformed_utf8(text.substr(from, begin - from));
    letters.push_back({mended.size(), mended.size() + end - begin});
    from = begin;
  }
  mended += replace_malformed_utf8(text.substr(from));
  EncodeOptions mended_options = options;
  mended_options.letters = letters;
  return Encoding(*impl_, mended_options).run(mended);
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool skip_special_tokens) const {
  StreamDecoder stream(*this, skip_special_tokens);
  std::string text;
  for (const TokenId token : tokens) text += stream.push(token);
  return text + stream.finish();
}

std::optional<std::string> Tokenizer::token_text(TokenId token) const {
  const std::string* text = impl_->decoded_text(token);
  if (text == nullptr) return std::nullopt;
  return *text;
}

std::optional<TokenId> Tokenizer::token_id(std::string_view token_text) const {
  if (const AddedToken* found = impl_->added->find(token_text)) return found->id;
  return impl_->vocabulary->find(token_text);
}

bool Tokenizer::is_special(TokenId token) const { return impl_->is_special(token); }

int Tokenizer::vocabulary_size() const {
  return std::max(impl_->vocabulary->size(), impl_->added->largest_id() + 1);
}

std::optional<TokenId> Tokenizer::bos_token() const { return impl_->bos; }
std::optional<TokenId> Tokenizer::eos_token() const { return impl_->eos; }

}  // namespace dak
