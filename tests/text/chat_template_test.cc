// Real models' templates over a set of conversations, byte for byte as transformers renders them.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "golden_time.h"
#include "text/jinja/interpreter.h"

namespace dak {
namespace {

const std::filesystem::path kData = std::filesystem::path(DAK_TEST_DATA) / "text";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

ChatInput input_of(const OrderedJson& conversation, bool add_generation_prompt) {
  ChatInput input;
  input.messages = conversation.at("messages");
  if (conversation.contains("tools")) input.tools = conversation.at("tools");
  if (conversation.contains("extra")) input.extra = conversation.at("extra");
  input.add_generation_prompt = add_generation_prompt;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  return input;
}

class ChatTemplateTest : public testing::Test {
 protected:
  void SetUp() override { jinja::set_clock(golden_time); }
  void TearDown() override { jinja::set_clock(nullptr); }
};

void expect_rendering(const ChatTemplate& chat, const ChatInput& input, const OrderedJson& expected,
                      const std::string& what) {
  if (expected.is_null()) {
    EXPECT_THROW(chat.render(input), Error) << what;
    return;
  }
  try {
    EXPECT_EQ(chat.render(input), expected.get<std::string>()) << what;
  } catch (const Error& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

TEST_F(ChatTemplateTest, RealTemplatesRenderAsTransformersDoes) {
  const OrderedJson file = OrderedJson::parse(read_file(kData / "chat_template_goldens.json"));
  size_t templates = 0;
  for (const auto& [name, rows] : file.at("goldens").items()) {
    ++templates;
    const std::string source = read_file(kData / "templates" / (name + ".jinja"));
    const ChatTemplate chat(source, name);
    for (const auto& [conversation, cells] : rows.items()) {
      const OrderedJson& given = file.at("cases").at(conversation);
      const std::string what = name + " / " + conversation;
      expect_rendering(chat, input_of(given, false), cells[0], what);
      OrderedJson prompted = cells[1];
      if (prompted.is_array()) {
        prompted = cells[0].get<std::string>() + prompted[1].get<std::string>();
      }
      expect_rendering(chat, input_of(given, true), prompted, what + " with a prompt");
    }
  }
  EXPECT_GE(templates, 40u);
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

TEST_F(ChatTemplateTest, InputThatIsTooDeepOrTooBigIsRefused) {
  const ChatTemplate chat("{{ x }}", "t");
  ChatInput input;
  OrderedJson deep = 1;
  for (int i = 0; i < 300; ++i) deep = OrderedJson::array({std::move(deep)});
  input.extra["x"] = deep;
  EXPECT_THROW(chat.render(input), Error);
  input.extra["x"] = uint64_t{1} << 63;
  EXPECT_THROW(chat.render(input), Error);
}

}  // namespace
}  // namespace dak
