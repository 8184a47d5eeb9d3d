// What each token adds to the text, as bytes: a token may be a part of a character.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace dak {

// By id; empty for ids without a token. Special tokens have their own spelling.
std::vector<std::string> token_bytes(const Tokenizer& tokenizer);

}  // namespace dak
