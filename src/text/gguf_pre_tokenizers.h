// The pre-tokenizers that tokenizer.ggml.pre names.
#pragma once

#include <string>
#include <string_view>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace dak {

struct GgufPreTokenizer {
  NormalizerPtr normalizer;  // may be null
  PreTokenizerPtr pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// Throws kUnsupported naming `where`, the name and the known ones.
GgufPreTokenizer make_gguf_pre_tokenizer(std::string_view name, bool add_prefix_space,
                                         std::string_view where);

}  // namespace dak
