// The tables of keys of models' files, as `dak inspect --keys` and docs/reference print them.
#pragma once

#include <string>

namespace dak {

// `which`: a family, "generation_config", "tokenizer_config", "gguf", or "all" for the page of
// docs/reference. Throws kInvalidArgument for another name.
void print_keys(const std::string& which, bool json);

}  // namespace dak
