// The normalizer, pre_tokenizer, decoder and post_processor objects of a tokenizer.json.
#pragma once

#include <vector>

#include "base/json_field.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace dak {

// Tokens that a post-processor puts around a single text.
struct SurroundingTokens {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
};

// Each throws kUnsupported naming the path of whatever it does not know, kCorrupt for what is
// malformed.
NormalizerPtr parse_normalizer(const JsonField& field);
PreTokenizerPtr parse_pre_tokenizer(const JsonField& field);
std::vector<DecoderStepPtr> parse_decoder(const JsonField& field);
SurroundingTokens parse_post_processor(const JsonField& field);

// {"String": "..."} or {"Regex": "..."}.
bool is_literal_pattern(const JsonField& field);

}  // namespace dak
