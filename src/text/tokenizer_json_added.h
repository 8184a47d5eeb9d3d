// Tokens that a folder names beside its tokenizer.json: in tokenizer_config.json, and where that
// has no added_tokens_decoder in special_tokens_map.json and added_tokens.json. The rules are those
// of transformers 5 (TokenizersBackend).
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/added_tokens.h"
#include "text/vocabulary.h"

namespace dak {

// A JSON file of the folder: null where there is none.
struct TokenizerSide {
  Json json;
  std::string where;
};

struct TokenizerSides {
  TokenizerSide config;              // tokenizer_config.json
  TokenizerSide special_tokens_map;  // special_tokens_map.json
  TokenizerSide added_tokens;        // added_tokens.json: {"<think>": 32000}
};

struct NamedTokens {
  std::vector<AddedToken> added;
  std::map<std::string, TokenId> named;  // "bos_token", "eos_token"
};

// `added` are those of tokenizer.json. Throws kCorrupt naming file and field where a file gives a
// token another id than the tokenizer has for it.
NamedTokens add_side_tokens(std::vector<AddedToken> added, const Vocabulary& vocabulary,
                            const TokenizerSides& sides);

}  // namespace dak
