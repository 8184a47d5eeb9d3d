// Chat templates held to what transformers renders: a folder with templates/*.jinja and
// chat_template_goldens.json, as reference/chat_template_goldens.py writes it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "base/error.h"
#include "golden_time.h"
#include "support/throws_error.h"
#include "text/chat_template.h"
#include "text/jinja/interpreter.h"

namespace dak {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// With the goldens' clock.
class ChatTemplateTest : public testing::Test {
 protected:
  void SetUp() override { jinja::set_clock(golden_time); }
  void TearDown() override { jinja::set_clock(nullptr); }
};

inline ChatInput input_of(const OrderedJson& conversation, bool add_generation_prompt) {
  ChatInput input;
  input.messages = conversation.at("messages");
  if (conversation.contains("tools")) input.tools = conversation.at("tools");
  if (conversation.contains("extra")) input.extra = conversation.at("extra");
  input.add_generation_prompt = add_generation_prompt;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  return input;
}

// A template's source, compiled once; one that does not compile refuses every rendering.
class GoldenTemplate {
 public:
  GoldenTemplate(const std::string& source, const std::string& name) {
    try {
      chat_.emplace(source, name);
    } catch (const Error& error) {
      refused_ = error.what();
    }
  }

  // `expected`: null where rendering must be refused.
  void expect(const ChatInput& input, const OrderedJson& expected, const std::string& what) const {
    if (expected.is_null()) {
      if (!chat_) return;
      const std::optional<Error> error = test::error_of([&] { chat_->render(input); });
      ASSERT_TRUE(error) << what;
      EXPECT_NE(error->code(), ErrorCode::kInternal) << what;
      EXPECT_TRUE(test::has_words(error->what(), "chat template line ")) << what;
      return;
    }
    if (!chat_) {
      ADD_FAILURE() << what << ": " << refused_;
      return;
    }
    try {
      EXPECT_EQ(chat_->render(input), expected.get<std::string>()) << what;
    } catch (const Error& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
  }

 private:
  std::optional<ChatTemplate> chat_;
  std::string refused_;
};

// Every template of the folder x conversation, without and with a generation prompt. At least
// `least` templates.
inline void expect_goldens(const std::filesystem::path& folder, size_t least) {
  const OrderedJson file = OrderedJson::parse(read_file(folder / "chat_template_goldens.json"));
  size_t templates = 0;
  for (const auto& [name, rows] : file.at("goldens").items()) {
    ++templates;
    const GoldenTemplate golden(read_file(folder / "templates" / (name + ".jinja")), name);
    for (const auto& [conversation, cells] : rows.items()) {
      const OrderedJson& given = file.at("cases").at(conversation);
      const std::string what = name + " / " + conversation;
      golden.expect(input_of(given, false), cells[0], what);
      OrderedJson prompted = cells[1];
      if (prompted.is_array()) {
        prompted = cells[0].get<std::string>() + prompted[1].get<std::string>();
      }
      golden.expect(input_of(given, true), prompted, what + " with a prompt");
    }
  }
  EXPECT_GE(templates, least);
  const std::filesystem::directory_iterator files(folder / "templates");
  EXPECT_EQ(templates,
            std::count_if(begin(files), end(files),
                          [](const auto& entry) { return entry.path().extension() == ".jinja"; }))
      << "a template without goldens in " << folder;
}

}  // namespace dak
