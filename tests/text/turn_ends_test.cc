// Which tokens end an answer, by what the template writes behind one and by name.
#include "text/turn_ends.h"

#include <gtest/gtest.h>

#include "support/throws_error.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace dak {
namespace {

using test::throws_error;
using Ids = std::vector<TokenId>;

// The 256 bytes, then `specials` from 256 on; the first is BOS and EOS.
Tokenizer tokenizer_with(const std::vector<std::string>& specials) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) {
    append_utf8(tokens.emplace_back(), byte_level_char(static_cast<uint8_t>(byte)));
  }
  std::vector<int64_t> types(256, 1);
  for (const std::string& special : specials) {
    tokens.push_back(special);
    types.push_back(3);
  }
  return load_gguf_tokenizer(
      GgufMetadata("m.gguf", {{"tokenizer.ggml.model", std::string("gpt2")},
                              {"tokenizer.ggml.pre", std::string("gpt-2")},
                              {"tokenizer.ggml.tokens", tokens},
                              {"tokenizer.ggml.token_type", types},
                              {"tokenizer.ggml.merges", std::vector<std::string>{}},
                              {"tokenizer.ggml.bos_token_id", int64_t{256}},
                              {"tokenizer.ggml.eos_token_id", int64_t{256}}}));
}

const std::vector<std::string> kTokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                       "<|user|>",      "</s>",         "<|eot_id|>"};

Ids ends_of(const std::string& source) {
  return turn_ends_of(ChatTemplate(source, "t"), tokenizer_with(kTokens));
}

TEST(TurnEnds, WhatTheTemplateWritesBehindAnAnswer) {
  // ChatML, with or without a newline before the end.
  EXPECT_EQ(ends_of("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
                    "{% endfor %}"),
            Ids{258});
  EXPECT_EQ(ends_of("{% for m in messages %}{{ m.content }}\n <|im_end|>{% endfor %}"), Ids{258});
  // The next turn's own token, where nothing else ends one.
  EXPECT_EQ(ends_of("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"),
            Ids{259});
  // Only between turns, only at the end, or another one there.
  EXPECT_EQ(ends_of("{% for m in messages %}{{ m.content }}{% if not loop.last %}<|eot_id|>"
                    "{% else %}</s>{% endif %}{% endfor %}"),
            (Ids{260, 261}));
  // The template's variable.
  EXPECT_EQ(ends_of("{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"), Ids{});
}

TEST(TurnEnds, NoneWhereTextFollowsOrNothingCanBeWritten) {
  for (const char* source :
       {"{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content }}; <|im_end|>{% endfor %}", "fixed<|im_end|>",
        "{{ raise_exception('no') }}", "{{ messages[0].content }}<|im_end|>"}) {
    EXPECT_EQ(ends_of(source), Ids{}) << source;
  }
  const ChatTemplate broken{Error(ErrorCode::kUnsupported, {})};
  EXPECT_EQ(turn_ends_of(broken, tokenizer_with(kTokens)), Ids{});
}

TEST(TurnEnds, ByName) {
  EXPECT_EQ(ends_by_name(tokenizer_with(kTokens)), (Ids{256, 258, 260, 261}));
  EXPECT_EQ(ends_by_name(tokenizer_with({"<s>", "<|end|>", "<end_of_turn>", "<EOT>"})),
            (Ids{257, 258, 259}));
  // In Harmony <|end|> ends a message, not an answer.
  EXPECT_EQ(ends_by_name(tokenizer_with({"<s>", "<|end|>", "<|return|>", "<|call|>"})),
            (Ids{258, 259}));
}

TEST(ChatTemplateFault, IsThrownWhenRendered) {
  const ChatTemplate broken{
      Error(ErrorCode::kUnsupported,
            {.where = "m", .field = {}, .value = {}, .problem = "this and that", .fix = {}})};
  ASSERT_NE(broken.fault(), nullptr);
  EXPECT_TRUE(throws_error(ErrorCode::kUnsupported, "this and that", [&] { broken.render({}); }));
  EXPECT_EQ(ChatTemplate("x", "t").fault(), nullptr);
  for (const char* empty : {"", " \n\t"}) {
    EXPECT_TRUE(throws_error(ErrorCode::kCorrupt, {"m.gguf", "chat template is empty"},
                             [&] { ChatTemplate(empty, "m.gguf"); }));
  }
}

}  // namespace
}  // namespace dak
