// The tokens that end an answer beside those that the model's files name.
#pragma once

#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace dak {

// What the template writes behind an answer: <|im_end|>, <|eot_id|>, </s>. Empty where it writes no
// token there, or cannot write a conversation. Sorted.
std::vector<TokenId> turn_ends_of(const ChatTemplate& chat, const Tokenizer& tokenizer);

// Tokens of a GGUF vocabulary that llama.cpp takes as ends by their spelling, whatever the file
// names: conversions name one end and fine-tunes write another. Sorted.
std::vector<TokenId> ends_by_name(const Tokenizer& tokenizer);

}  // namespace dak
