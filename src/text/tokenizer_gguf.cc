#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "text/gguf_pre_tokenizers.h"
#include "text/tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace dak {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kWordBoundary = "\xe2\x96\x81";  // U+2581, SentencePiece's space

class GgufTokenizerReader {
 public:
  explicit GgufTokenizerReader(const GgufMetadata& metadata)
      : metadata_(metadata), impl_(std::make_unique<Tokenizer::Impl>()) {}

  Tokenizer run() {
    const std::string* model = metadata_.string("tokenizer.ggml.model");
    if (model == nullptr) corrupt("tokenizer.ggml.model", {}, "is missing");
    if (*model != "gpt2" && *model != "llama") {
      throw_unsupported(metadata_.file(), "tokenizer.ggml.model", *model,
                        "dak does not know this kind of tokenizer", "known: gpt2 llama");
    }
    read_vocabulary();
    read_types();
    impl_->bos = token_at("tokenizer.ggml.bos_token_id");
    impl_->eos = token_at("tokenizer.ggml.eos_token_id");
    const bool add_bos = *model == "gpt2" ? read_byte_level() : read_sentencepiece();
    add_surrounding("tokenizer.ggml.add_bos_token", add_bos, impl_->bos, impl_->before);
    add_surrounding("tokenizer.ggml.add_eos_token", false, impl_->eos, impl_->after);
    return Tokenizer(std::move(impl_));
  }

 private:
  [[noreturn]] void corrupt(std::string_view field, std::string_view value,
                            std::string_view problem) const {
    throw_corrupt(metadata_.file(), field, value, problem);
  }

  void read_vocabulary() {
    const std::vector<std::string>* texts = metadata_.strings(kTokens);
    if (texts == nullptr || texts->empty()) corrupt(kTokens, {}, "is missing or empty");
    if (texts->size() > static_cast<size_t>(kMaxTokenId)) {
      corrupt(kTokens, fmt::format("{} items", texts->size()),
              fmt::format("more than {} tokens", kMaxTokenId));
    }
    std::vector<std::pair<std::string, TokenId>> tokens;
    for (size_t i = 0; i < texts->size(); ++i) {
      if (!is_valid_utf8((*texts)[i])) {
        corrupt(fmt::format("{}[{}]", kTokens, i), (*texts)[i], "is not valid UTF-8");
      }
      tokens.emplace_back((*texts)[i], static_cast<TokenId>(i));
    }
    impl_->vocabulary = std::make_unique<const Vocabulary>(std::move(tokens));
  }

  size_t vocabulary_size() const { return static_cast<size_t>(impl_->vocabulary->size()); }

  void read_types() {
    types_.assign(vocabulary_size(), PieceType::kNormal);
    const std::vector<int64_t>* types = metadata_.integers(kTypes);
    if (types == nullptr) return;
    if (types->size() != types_.size()) {
      corrupt(kTypes, fmt::format("{} items", types->size()),
              fmt::format("there are {} tokens", types_.size()));
    }
    for (size_t i = 0; i < types->size(); ++i) {
      const int64_t type = (*types)[i];
      if (type < 1 || type > 6) {
        corrupt(fmt::format("{}[{}]", kTypes, i), fmt::format("{}", type),
                "must be a token type, 1 to 6");
      }
      types_[i] = static_cast<PieceType>(type);
    }
  }

  std::optional<TokenId> token_at(std::string_view key) const {
    const auto id = metadata_.integer(key);
    if (!id) return std::nullopt;
    if (*id < 0 || static_cast<size_t>(*id) >= vocabulary_size()) {
      corrupt(key, fmt::format("{}", *id), fmt::format("there are {} tokens", vocabulary_size()));
    }
    return static_cast<TokenId>(*id);
  }

  void add_surrounding(std::string_view key, bool otherwise, std::optional<TokenId> token,
                       std::vector<TokenId>& tokens) const {
    const auto wanted = metadata_.boolean(key);
    if (!wanted.value_or(otherwise)) return;
    if (!token && wanted) corrupt(key, "true", "the token's own id is missing");
    if (token) tokens.push_back(*token);
  }

  // Control and unknown tokens are special, as are those named begin and end of text whatever
  // their type. User-defined ones are for byte-level models only: SentencePiece finds them itself.
  void read_added_tokens(bool with_user_defined) {
    std::vector<AddedToken> added;
    for (size_t i = 0; i < types_.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      const bool special = types_[i] == PieceType::kControl || types_[i] == PieceType::kUnknown ||
                           id == impl_->bos || id == impl_->eos;
      const bool user_defined = types_[i] == PieceType::kUserDefined && with_user_defined;
      const std::string* text = impl_->vocabulary->text(id);
      if ((special || user_defined) && !text->empty()) {
        added.push_back({.id = id, .content = *text, .special = special});
      }
    }
    impl_->added = std::make_unique<const AddedTokens>(std::move(added), impl_->normalizer.get());
  }

  std::vector<Merge> read_merges() const {
    const std::vector<std::string>* lines = metadata_.strings(kMerges);
    if (lines == nullptr) corrupt(kMerges, {}, "is missing");
    std::vector<Merge> merges;
    for (size_t i = 0; i < lines->size(); ++i) {
      const std::string& line = (*lines)[i];
      // A token may begin with a space of its own, so the separator is looked for behind it.
      const size_t space = line.find(' ', 1);
      if (space == std::string::npos) {
        corrupt(fmt::format("{}[{}]", kMerges, i), line, "must be two tokens and a space between");
      }
      const std::string left = line.substr(0, space);
      const std::string right = line.substr(space + 1);
      const auto token_of = [&](const std::string& text) {
        const auto token = impl_->vocabulary->find(text);
        if (!token) {
          corrupt(fmt::format("{}[{}]", kMerges, i), line,
                  fmt::format("'{}' is not in {}", printable(text), kTokens));
        }
        return *token;
      };
      merges.push_back({token_of(left), token_of(right), token_of(left + right)});
    }
    return merges;
  }

  // Returns whether BOS is added where the file does not say.
  bool read_byte_level() {
    const std::string* pre = metadata_.string("tokenizer.ggml.pre");
    GgufPreTokenizer known = make_gguf_pre_tokenizer(
        pre != nullptr ? *pre : "default",
        metadata_.boolean("tokenizer.ggml.add_space_prefix").value_or(false), metadata_.file());
    impl_->normalizer = std::move(known.normalizer);
    impl_->pre_tokenizer = std::move(known.pre_tokenizer);
    impl_->model = make_bpe(*impl_->vocabulary, read_merges(),
                            {.unknown = std::nullopt, .ignore_merges = known.ignore_merges});
    impl_->decoder.push_back(make_byte_level_decoder());
    read_added_tokens(/*with_user_defined=*/true);
    return known.add_bos;
  }

  TokenId find_unknown() const {
    if (const auto id = token_at("tokenizer.ggml.unknown_token_id")) return *id;
    const auto found = std::find(types_.begin(), types_.end(), PieceType::kUnknown);
    return found == types_.end() ? 0 : static_cast<TokenId>(found - types_.begin());
  }

  bool read_sentencepiece() {
    const std::vector<double>* scores = metadata_.numbers(kScores);
    if (scores == nullptr) corrupt(kScores, {}, "is missing");
    if (scores->size() != vocabulary_size()) {
      corrupt(kScores, fmt::format("{} items", scores->size()),
              fmt::format("there are {} tokens", vocabulary_size()));
    }
    for (const std::string_view key :
         {"tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.add_space_suffix"}) {
      if (metadata_.boolean(key).value_or(false)) {
        throw_unsupported(metadata_.file(), key, "true", "dak does not know this normalisation");
      }
    }
    const bool prefix = metadata_.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
    std::vector<NormalizerPtr> steps;
    if (prefix) steps.push_back(make_prepend_normalizer(std::string(kWordBoundary)));
    steps.push_back(make_replace_normalizer(" ", std::string(kWordBoundary)));
    impl_->normalizer = make_sequence_normalizer(std::move(steps));
    impl_->decoder.push_back(make_replace_decoder(std::string(kWordBoundary), " "));
    impl_->decoder.push_back(make_byte_fallback_decoder());
    impl_->decoder.push_back(make_fuse_decoder());
    if (prefix) impl_->decoder.push_back(make_strip_decoder(" ", 1, 0));
    read_added_tokens(/*with_user_defined=*/false);
    impl_->model = make_sentencepiece_bpe(*impl_->vocabulary,
                                          std::vector<float>(scores->begin(), scores->end()),
                                          std::move(types_), find_unknown());
    return true;
  }

  const GgufMetadata& metadata_;
  std::unique_ptr<Tokenizer::Impl> impl_;
  std::vector<PieceType> types_;
};

}  // namespace

Tokenizer load_gguf_tokenizer(const GgufMetadata& metadata) {
  return GgufTokenizerReader(metadata).run();
}

}  // namespace dak
