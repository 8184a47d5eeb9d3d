// A tokenizer.json of any bytes is refused with dak::Error or works on any text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

void use(const dak::Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {true, false}) {
    const auto ids = tokenizer.encode(text, {.parse_special_tokens = parse_special});
    const std::string whole = tokenizer.decode(ids, /*skip_special_tokens=*/false);
    check(dak::is_valid_utf8(whole));
    dak::StreamDecoder stream(tokenizer, /*skip_special_tokens=*/false);
    std::string streamed;
    for (const dak::TokenId id : ids) {
      check(tokenizer.token_text(id).has_value());
      const std::string piece = stream.push(id);
      check(dak::is_valid_utf8(piece));
      streamed += piece;
    }
    check(streamed + stream.finish() == whole);
  }
}

}  // namespace

// The bytes up to the first NUL are the tokenizer.json; what follows is a text of its own.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t nul = input.find('\0');
  const std::string_view json = input.substr(0, nul);
  const std::string_view text =
      nul == std::string_view::npos ? std::string_view{} : input.substr(nul + 1);
  try {
    const dak::Tokenizer tokenizer = dak::parse_tokenizer_json(json, {}, "fuzz");
    use(tokenizer, text);
    use(tokenizer, "Hello  world<s> 123 e\xcc\x81\xf0\x9f\x8e\x89\xff\xe2\x96\x81 a_b\n\tab!");
  } catch (const dak::Error&) {
    // Refused: as good as accepted.
  }
  return 0;
}
