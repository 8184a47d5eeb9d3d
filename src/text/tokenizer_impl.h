// The parts a tokenizer is made of. Built by tokenizer_json.cc and tokenizer_gguf.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"
#include "text/word_model.h"

namespace dak {

struct Tokenizer::Impl {
  std::unique_ptr<const Vocabulary> vocabulary;
  NormalizerPtr normalizer;       // null: text as it is
  PreTokenizerPtr pre_tokenizer;  // null: all text is one word
  std::unique_ptr<const WordModel> model;
  std::unique_ptr<const AddedTokens> added;
  std::vector<TokenId> before;  // what encode() adds around the text
  std::vector<TokenId> after;
  std::vector<DecoderStepPtr> decoder;
  std::optional<TokenId> bos;
  std::optional<TokenId> eos;

  // What the decoder is given for `token`; nullptr: no such token. For an added token its content
  // (tokenizers 0.23 gives the normalised spelling, earlier versions the content).
  const std::string* decoded_text(TokenId token) const;
  bool is_special(TokenId token) const;
};

}  // namespace dak
