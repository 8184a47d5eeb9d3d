// Small templates, each row as jinja2 renders it, and the errors it raises.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "golden_time.h"
#include "support/throws_error.h"
#include "text/chat_template.h"
#include "text/jinja/interpreter.h"

namespace dak {
namespace {

std::string render(const std::string& source, const ChatInput& input) {
  return ChatTemplate(source, "case").render(input);
}

TEST(JinjaCases, MatchJinja2) {
  jinja::set_clock(golden_time);
  std::ifstream file(DAK_TEST_DATA "/text/jinja_cases.json");
  ASSERT_TRUE(file.good());
  const OrderedJson cases = OrderedJson::parse(file);
  ChatInput input;
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.extra = cases.at("variables");
  size_t rows = 0;
  for (const OrderedJson& row : cases.at("rows")) {
    ++rows;
    const auto source = row[0].get<std::string>();
    if (row[1].is_null()) {
      const std::optional<Error> error = test::error_of([&] { render(source, input); });
      ASSERT_TRUE(error) << source;
      EXPECT_NE(error->code(), ErrorCode::kInternal) << source << ": " << error->what();
      EXPECT_TRUE(test::has_words(error->what(), "case: chat template line ")) << source;
      continue;
    }
    try {
      EXPECT_EQ(render(source, input), row[1].get<std::string>()) << source;
    } catch (const Error& error) {
      ADD_FAILURE() << source << ": " << error.what();
    }
  }
  EXPECT_GE(rows, 400u);
  jinja::set_clock(nullptr);
}

struct Problem {
  const char* source;
  ErrorCode code;
  const char* line;
};

TEST(JinjaCases, ErrorsNameTheLineAndTheKind) {
  const Problem problems[] = {
      {"\n{% include 'x' %}", ErrorCode::kUnsupported, "chat template line 2"},
      {"{% extends 'x' %}", ErrorCode::kUnsupported, "chat template line 1"},
      {"\n\n{{ x | urlize }}", ErrorCode::kUnsupported, "chat template line 3"},
      {"{{ x | random }}", ErrorCode::kUnsupported, "chat template line 1"},
      {"{{ '&eacute;' | striptags }}", ErrorCode::kUnsupported, "chat template line 1"},
      {"{% for x in y %}{% block a %}{% endblock %}{% endfor %}", ErrorCode::kUnsupported,
       "chat template line 1"},
      {"\n{{ 99999999999999999999 }}", ErrorCode::kUnsupported, "chat template line 2"},
      {"{{ 1 +\n }}", ErrorCode::kCorrupt, "chat template line 2"},
      {"{% if x %}\n", ErrorCode::kCorrupt, "chat template line 1"},
      {"\n{{ x.y }}", ErrorCode::kInvalidArgument, "chat template line 2"},
      {"\n\n{{ 9223372036854775807 + 1 }}", ErrorCode::kInvalidArgument, "chat template line 3"},
      {"{{ 2 ** 64 }}", ErrorCode::kInvalidArgument, "chat template line 1"},
      {"{{ lipsum('a') }}", ErrorCode::kUnsupported, "chat template line 1"},
  };
  for (const Problem& problem : problems) {
    try {
      render(problem.source, {});
      ADD_FAILURE() << problem.source;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), problem.code) << problem.source << ": " << error.what();
      EXPECT_EQ(error.info().field, problem.line) << problem.source;
      EXPECT_EQ(error.info().where, "case");
      // A whole sentence, also where it is all that a client sees.
      const bool unsupported = problem.code == ErrorCode::kUnsupported;
      EXPECT_EQ(error.info().problem.ends_with("is not supported"), unsupported) << error.what();
    }
  }
}

}  // namespace
}  // namespace dak
