#include <bit>

#include "base/error.h"
#include "text/utf8.h"
#include "text/word_model.h"

namespace dak {
namespace {

struct RankedMerge {
  uint32_t rank = 0;
  TokenId merged = -1;  // -1: an empty slot
};

// Open addressing from a pair of tokens to its merge: the innermost look-up of encoding, several
// times as fast here as in std::unordered_map.
class MergeTable {
 public:
  explicit MergeTable(std::span<const Merge> merges) {
    const size_t slots = std::bit_ceil(merges.size() * 2 + 2);
    mask_ = slots - 1;
    keys_.resize(slots);
    values_.resize(slots);
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const uint64_t key = key_of(merges[rank].left, merges[rank].right);
      const size_t slot = slot_of(key);
      keys_[slot] = key;
      values_[slot] = {static_cast<uint32_t>(rank), merges[rank].merged};
    }
  }

  const RankedMerge* find(TokenId left, TokenId right) const {
    const RankedMerge& found = values_[slot_of(key_of(left, right))];
    return found.merged < 0 ? nullptr : &found;
  }

 private:
  static uint64_t key_of(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Where `key` is, or the empty slot where it would go.
  size_t slot_of(uint64_t key) const {
    uint64_t hash = key * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 32;
    size_t slot = hash & mask_;
    while (values_[slot].merged >= 0 && keys_[slot] != key) slot = (slot + 1) & mask_;
    return slot;
  }

  size_t mask_ = 0;
  std::vector<uint64_t> keys_;
  std::vector<RankedMerge> values_;
};

class Bpe : public WordModel {
 public:
  Bpe(const Vocabulary& vocabulary, std::span<const Merge> merges, const BpeOptions& options)
      : vocabulary_(vocabulary), merges_(merges), options_(options) {}

  void tokenize(std::string_view word, WordScratch& scratch,
                std::vector<TokenId>& out) const override {
    if (options_.ignore_merges) {
      if (const auto whole = vocabulary_.find(word)) {
        out.push_back(*whole);
        return;
      }
    }
    MergeList& list = scratch.list;
    list.clear();
    fill(word, list);
    list.merge(
        [this](const MergeSymbol& left, const MergeSymbol& right, MergeCandidate& candidate) {
          const RankedMerge* found = merges_.find(left.token, right.token);
          if (found == nullptr) return false;
          candidate.order = found->rank;
          candidate.merged = found->merged;
          return true;
        },
        [this](const MergeSymbol& left, const MergeSymbol& right, const MergeCandidate& candidate) {
          const RankedMerge* found = merges_.find(left.token, right.token);
          return found != nullptr && found->merged == candidate.merged;
        },
        [](const MergeSymbol&, const MergeSymbol&, const MergeCandidate&) {});
    for (const MergeSymbol& symbol : list.symbols) {
      if (symbol.length_bytes > 0) out.push_back(symbol.token);
    }
  }

 private:
  // One symbol per character, per byte where characters fall back to bytes, or per run of unknown
  // characters. A pending unknown is placed before the next character that has a token of its own,
  // so after the bytes of any that fell back in between: so does `tokenizers`.
  void fill(std::string_view word, MergeList& list) const {
    uint32_t unknown_bytes = 0;
    const auto place_unknown = [&] {
      if (unknown_bytes > 0) list.append(*options_.unknown, 0, unknown_bytes);
      unknown_bytes = 0;
    };
    for (size_t i = 0; i < word.size();) {
      const std::string_view c = word.substr(i, utf8_char_at(word, i).length_bytes);
      i += c.size();
      const auto length = static_cast<uint32_t>(c.size());
      const TokenId token = vocabulary_.find_char(c);
      if (token >= 0) {
        place_unknown();
        list.append(token, 0, length);
      } else if (options_.byte_fallback && has_all_bytes(c)) {
        for (const char byte : c) {
          list.append(vocabulary_.byte_token(static_cast<uint8_t>(byte)), 0, 1);
        }
      } else if (options_.unknown) {
        if (!options_.fuse_unknown) place_unknown();
        unknown_bytes += length;
      }
    }
    place_unknown();
  }

  bool has_all_bytes(std::string_view bytes) const {
    for (const char byte : bytes) {
      if (vocabulary_.byte_token(static_cast<uint8_t>(byte)) < 0) return false;
    }
    return true;
  }

  const Vocabulary& vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
};

}  // namespace

std::unique_ptr<const WordModel> make_bpe(const Vocabulary& vocabulary,
                                          std::span<const Merge> merges,
                                          const BpeOptions& options) {
  return std::make_unique<Bpe>(vocabulary, merges, options);
}

}  // namespace dak
