// Byte-level BPE and SentencePiece-style BPE tokenizers, from tokenizer.json or GGUF metadata;
// token for token what Hugging Face `tokenizers` gives.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace dak {

using TokenId = int32_t;

// Bytes of a text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const TextSpan&) const = default;
};

struct EncodeOptions {
  bool add_special_tokens = true;    // what the post-processor adds: BOS, EOS
  bool parse_special_tokens = true;  // "<|im_end|>" in the text becomes the token, not its letters
  // Ascending, not empty: a special token that would cover the first byte of one is letters too.
  std::span<const TextSpan> letters = {};
};

class Tokenizer {
 public:
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Any bytes; malformed UTF-8 is replaced by U+FFFD first, as `tokenizers` sees it from Python
  // (bytes.decode("utf-8", "replace")).
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

  // The text of `tokens`; valid UTF-8 (incomplete characters become U+FFFD).
  std::string decode(std::span<const TokenId> tokens, bool skip_special_tokens = true) const;

  // The token's own spelling in the vocabulary ("Ġhello", "<0x0A>"); nullopt: no such token.
  std::optional<std::string> token_text(TokenId token) const;
  std::optional<TokenId> token_id(std::string_view token_text) const;

  bool is_special(TokenId token) const;
  int vocabulary_size() const;  // largest id + 1

  // Named by the source's configuration.
  std::optional<TokenId> bos_token() const;
  std::optional<TokenId> eos_token() const;

  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<const Impl> impl_;
};

// `folder` holds tokenizer.json and perhaps tokenizer_config.json, special_tokens_map.json and
// added_tokens.json, whose tokens count as in transformers. Throws dak::Error naming file, field
// and value.
Tokenizer load_tokenizer_json(const std::filesystem::path& folder);

// From the bytes of a tokenizer.json and, when not empty, of a tokenizer_config.json.
Tokenizer parse_tokenizer_json(std::string_view tokenizer_json, std::string_view config_json,
                               std::string_view where);

// tokenizer.ggml.* keys: model "gpt2" (byte-level BPE) and "llama" (SentencePiece).
Tokenizer load_gguf_tokenizer(const GgufMetadata& metadata);

// Turns a stream of tokens into text, holding back bytes until they are whole characters. The
// concatenation of all pieces equals Tokenizer::decode of all tokens, but for the special tokens
// in `shown`, which are text although others are skipped.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true,
                         std::vector<TokenId> shown = {});
  ~StreamDecoder();
  std::string push(TokenId token);  // the text that became certain; may be empty
  std::string finish();             // what is left

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dak
