#include <algorithm>
#include <bit>
#include <unordered_map>

#include "text/prefix_tree.h"
#include "text/utf8.h"
#include "text/word_model.h"

namespace dak {
namespace {

// Maps a higher score to a smaller number, keeping the order of all finite floats.
uint64_t order_of_score(float score) {
  const float positive_zero = score == 0.0F ? 0.0F : score;
  const auto bits = std::bit_cast<uint32_t>(positive_zero);
  const uint32_t ascending = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return ~ascending;
}

class SentencePieceBpe : public WordModel {
 public:
  SentencePieceBpe(const Vocabulary& vocabulary, std::vector<float> scores,
                   std::vector<PieceType> types, TokenId unknown)
      : vocabulary_(vocabulary),
        scores_(std::move(scores)),
        types_(std::move(types)),
        unknown_(unknown) {
    for (size_t id = 0; id < types_.size(); ++id) {
      const std::string* text = vocabulary_.text(static_cast<TokenId>(id));
      if (types_[id] == PieceType::kUserDefined && text != nullptr) {
        user_defined_.add(*text, static_cast<int>(id));
      }
      has_unused_ = has_unused_ || types_[id] == PieceType::kUnused;
    }
    for (int byte = 0; byte < 256; ++byte) {
      byte_fallback_ = byte_fallback_ && vocabulary_.byte_token(static_cast<uint8_t>(byte)) >= 0;
    }
  }

  void tokenize(std::string_view word, WordScratch& scratch,
                std::vector<TokenId>& out) const override {
    MergeList& list = scratch.list;
    list.clear();
    fill(word, list);
    // How a merged piece of type "unused" came about: it is taken apart again at the end.
    std::unordered_map<std::string_view, size_t> left_bytes_of_unused;
    list.merge(
        [&](const MergeSymbol& left, const MergeSymbol& right, MergeCandidate& candidate) {
          return propose(word, left, right, candidate);
        },
        [](const MergeSymbol& left, const MergeSymbol& right, const MergeCandidate& candidate) {
          return left.length_bytes + right.length_bytes == candidate.length_bytes &&
                 right.length_bytes > 0;
        },
        [&](const MergeSymbol& left, const MergeSymbol&, const MergeCandidate& candidate) {
          if (!has_unused_ || type(candidate.merged) != PieceType::kUnused) return;
          left_bytes_of_unused[word.substr(left.begin_bytes, candidate.length_bytes)] =
              left.length_bytes;
        });
    bool after_unknown = false;
    for (const MergeSymbol& symbol : list.symbols) {
      if (symbol.length_bytes == 0) continue;
      emit(word.substr(symbol.begin_bytes, symbol.length_bytes), left_bytes_of_unused,
           after_unknown, out);
    }
  }

 private:
  static constexpr TokenId kFrozen = -2;  // a user-defined piece takes part in no merge

  PieceType type(TokenId token) const { return types_[static_cast<size_t>(token)]; }

  bool is_mergeable(TokenId token) const {
    const PieceType t = type(token);
    return t == PieceType::kNormal || t == PieceType::kUserDefined || t == PieceType::kUnused;
  }

  void fill(std::string_view word, MergeList& list) const {
    for (size_t i = 0; i < word.size();) {
      size_t length = utf8_char_at(word, i).length_bytes;
      TokenId token = -1;
      if (user_defined_.may_begin_with(word[i])) {
        if (const auto match = user_defined_.longest(word, i)) {
          length = match->length_bytes;
          token = kFrozen;
        }
      }
      list.append(token, static_cast<uint32_t>(i), static_cast<uint32_t>(length));
      i += length;
    }
  }

  bool propose(std::string_view word, const MergeSymbol& left, const MergeSymbol& right,
               MergeCandidate& candidate) const {
    if (left.token == kFrozen || right.token == kFrozen) return false;
    const uint32_t length = left.length_bytes + right.length_bytes;
    if (length > vocabulary_.longest_bytes()) return false;
    const auto piece = vocabulary_.find(word.substr(left.begin_bytes, length));
    if (!piece || !is_mergeable(*piece)) return false;
    candidate.order = order_of_score(scores_[static_cast<size_t>(*piece)]);
    candidate.merged = *piece;
    candidate.length_bytes = length;
    return true;
  }

  // Depth is bounded by the longest piece: each half is shorter.
  void emit(std::string_view piece,
            const std::unordered_map<std::string_view, size_t>& left_bytes_of_unused,
            bool& after_unknown, std::vector<TokenId>& out) const {
    const auto token = vocabulary_.find(piece);
    if (token && type(*token) == PieceType::kUnused) {
      const auto halves = left_bytes_of_unused.find(piece);
      if (halves != left_bytes_of_unused.end()) {
        emit(piece.substr(0, halves->second), left_bytes_of_unused, after_unknown, out);
        emit(piece.substr(halves->second), left_bytes_of_unused, after_unknown, out);
        return;
      }
    }
    if (token && *token != unknown_) {
      out.push_back(*token);
      after_unknown = false;
    } else if (byte_fallback_) {
      for (const char byte : piece) {
        out.push_back(vocabulary_.byte_token(static_cast<uint8_t>(byte)));
      }
      after_unknown = false;
    } else {
      if (!after_unknown) out.push_back(unknown_);  // a run of unknown pieces is one token
      after_unknown = true;
    }
  }

  const Vocabulary& vocabulary_;
  std::vector<float> scores_;
  std::vector<PieceType> types_;
  TokenId unknown_;
  PrefixTree user_defined_;
  bool has_unused_ = false;
  bool byte_fallback_ = true;
};

}  // namespace

std::unique_ptr<const WordModel> make_sentencepiece_bpe(const Vocabulary& vocabulary,
                                                        std::vector<float> scores,
                                                        std::vector<PieceType> types,
                                                        TokenId unknown) {
  return std::make_unique<SentencePieceBpe>(vocabulary, std::move(scores), std::move(types),
                                            unknown);
}

}  // namespace dak
