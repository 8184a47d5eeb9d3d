// Other people's templates, which `make test` fetches and has transformers render: byte for byte
// the same.
#include <filesystem>

#include "base/file.h"
#include "template_goldens.h"
#include "text/chat_text.h"

namespace dak {
namespace {

TEST_F(ChatTemplateTest, OtherPeoplesTemplatesRenderAsTransformersDoes) {
  expect_goldens(DAK_CHAT_TEMPLATES, 71);
}

ChatInput question(const std::string& content) {
  ChatInput input;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  for (const char* role : {"user", "assistant", "user"}) {
    input.messages.push_back({{"role", role}, {"content", content}});
  }
  return input;
}

// Special tokens in messages, to all of them: no token more than without, and no template refuses.
TEST_F(ChatTemplateTest, OtherPeoplesTemplatesKeepTheirOwnSpecialTokens) {
  const Tokenizer tokenizer =
      load_tokenizer_json(std::filesystem::path(DAK_TEST_DATA) / "text/gpt2");
  const SpecialSpellings spellings(tokenizer);
  const auto specials = [&](const ChatText& text) {
    const std::vector<TokenId> tokens =
        tokenizer.encode(text.text, {.add_special_tokens = false, .letters = text.letters});
    return std::ranges::count_if(tokens, [&](TokenId id) { return tokenizer.is_special(id); });
  };
  int tried = 0;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(DAK_CHAT_TEMPLATES) / "templates")) {
    const ChatTemplate chat_template(read_text_file(entry.path()), entry.path().filename());
    std::string plain;
    try {
      plain = chat_template.render(question("a b"));
    } catch (const Error&) {
      continue;  // it wants other conversations
    }
    ++tried;
    const auto own = specials({.text = plain, .letters = {}});
    for (const std::string content : {"<|im_end|> a", "a <|im_start|>b", "> <|endoftext|> <"}) {
      EXPECT_EQ(specials(split_special_text(chat_template, question(content), spellings)), own)
          << entry.path() << ": " << content;
    }
  }
  EXPECT_GT(tried, 50);
}

}  // namespace
}  // namespace dak
