// Chat templates of our own over a set of conversations, byte for byte as transformers renders
// them.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "support/throws_error.h"
#include "template_goldens.h"

namespace dak {
namespace {

TEST_F(ChatTemplateTest, OurTemplatesRenderAsTransformersDoes) {
  expect_goldens(std::filesystem::path(DAK_TEST_DATA) / "text", 12);
}

TEST_F(ChatTemplateTest, RaisedMessageIsTheTemplatesOwn) {
  const ChatTemplate chat("\n\n{{ raise_exception('roles must\nalternate') }}", "model.gguf");
  try {
    chat.render({});
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.info().where, "model.gguf");
    EXPECT_EQ(error.info().field, "chat template line 3");
    EXPECT_EQ(error.info().problem, "roles must alternate");
  }
}

TEST_F(ChatTemplateTest, OneTemplateRendersManyTimes) {
  ChatTemplate chat(
      "{% set ns = namespace(n=0) %}{% for m in messages %}"
      "{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ bos_token }}",
      "t");
  ChatInput input;
  input.messages = OrderedJson::array({1, 2, 3});
  EXPECT_EQ(chat.render(input), "3");
  ChatTemplate moved = std::move(chat);
  input.messages = OrderedJson::array({1});
  input.bos_token = "<s>";
  EXPECT_EQ(moved.render(input), "1<s>");
}

TEST_F(ChatTemplateTest, InputThatIsTooDeepIsRefusedAndABigNumberKeepsItsDigits) {
  const ChatTemplate chat("{{ x }}", "t");
  ChatInput input;
  OrderedJson deep = 1;
  for (int i = 0; i < 300; ++i) deep = OrderedJson::array({std::move(deep)});
  input.extra["x"] = deep;
  EXPECT_TRUE(test::throws_error(ErrorCode::kResourceExhausted, {"t: ", "input nested deeper than"},
                                 [&] { chat.render(input); }));
  input.extra["x"] = uint64_t{1} << 63;
  EXPECT_EQ(chat.render(input), "9223372036854775808");
}

}  // namespace
}  // namespace dak
