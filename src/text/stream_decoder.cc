#include <algorithm>

#include "text/decoder.h"
#include "text/tokenizer.h"
#include "text/tokenizer_impl.h"

namespace dak {

struct StreamDecoder::State {
  const Tokenizer::Impl& tokenizer;
  bool skip_special_tokens;
  std::vector<TokenId> shown;
  DecoderChain chain;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens,
                             std::vector<TokenId> shown)
    : state_(std::make_unique<State>(State{tokenizer.impl(), skip_special_tokens, std::move(shown),
                                           DecoderChain(tokenizer.impl().decoder)})) {}

StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::push(TokenId token) {
  std::string text;
  const std::string* token_text = state_->tokenizer.decoded_text(token);
  if (token_text == nullptr) return text;  // as `tokenizers`: an unknown id is no text
  if (state_->skip_special_tokens && state_->tokenizer.is_special(token) &&
      std::ranges::find(state_->shown, token) == state_->shown.end()) {
    return text;
  }
  state_->chain.push(*token_text, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  state_->chain.finish(text);
  return text;
}

}  // namespace dak
