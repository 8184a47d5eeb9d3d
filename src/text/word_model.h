// A model turns one word into tokens.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/merge_list.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace dak {

// Working memory; one per thread.
struct WordScratch {
  MergeList list;
};

class WordModel {
 public:
  virtual ~WordModel() = default;
  // Appends the tokens of `word` (valid UTF-8) to `out`.
  virtual void tokenize(std::string_view word, WordScratch& scratch,
                        std::vector<TokenId>& out) const = 0;
};

struct BpeOptions {
  std::optional<TokenId> unknown;  // without one, what has no token vanishes
  bool fuse_unknown = false;       // neighbouring unknown characters are one token
  bool byte_fallback = false;      // bytes as <0xHH> before unknown
  bool ignore_merges = false;      // a word that is a token is that token, whatever the merges
};

struct Merge {
  TokenId left = -1;
  TokenId right = -1;
  TokenId merged = -1;
};

// BPE by ranked merges (Sennrich et al. 2016), as `tokenizers` does it. `vocabulary` must outlive
// the model. Merges come best first; the last of equal pairs counts.
std::unique_ptr<const WordModel> make_bpe(const Vocabulary& vocabulary,
                                          std::span<const Merge> merges, const BpeOptions& options);

// What a piece of a SentencePiece vocabulary is (the numbers are those of its protocol and GGUF).
enum class PieceType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// BPE by scores of pieces, as SentencePiece does it (bpe_model.cc): the neighbours whose
// concatenation is the piece of the highest score merge first. scores and types are by id.
std::unique_ptr<const WordModel> make_sentencepiece_bpe(const Vocabulary& vocabulary,
                                                        std::vector<float> scores,
                                                        std::vector<PieceType> types,
                                                        TokenId unknown);

}  // namespace dak
