// Templates that would hang, exhaust memory or overflow the stack are refused, quickly.
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "support/throws_error.h"
#include "text/chat_template.h"

namespace dak {
namespace {

constexpr auto kLimit =
    std::chrono::seconds(60);  // about 1 s as built: room for ASan and a busy CI

std::string repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

void expect_refused(const std::string& source) {
  const auto begin = std::chrono::steady_clock::now();
  const std::optional<Error> error =
      test::error_of([&] { ChatTemplate(source, "hostile").render({}); });
  ASSERT_TRUE(error) << source.substr(0, 120);
  EXPECT_NE(error->code(), ErrorCode::kInternal) << error->what();
  EXPECT_TRUE(test::has_words(error->what(), "hostile: chat template")) << source.substr(0, 120);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kLimit) << source.substr(0, 120);
}

TEST(JinjaHostile, HugeValues) {
  expect_refused("{{ 'a' * 10**9 }}");
  expect_refused("{{ [1] * 10**9 }}");
  expect_refused("{{ ('a' * 10**9) | length }}");
  expect_refused("{{ range(10**12) | list }}");
  expect_refused("{{ 'a'.rjust(10**12) }}");
  expect_refused("{{ 'a'.center(9223372036854775807) }}");
  expect_refused("{{ '{:>99999999999}'.format('a') }}");
  expect_refused("{{ '%99999999999d' % 1 }}");
  expect_refused("{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}");
  expect_refused("{{ ('a' * 10**6).replace('', 'b' * 10**6) }}");
  expect_refused("{{ ('a\n' * 10**6) | indent(10**9) }}");
  expect_refused("{{ ('a\n' * 10**6) | indent('x' * 10**5) }}");
  expect_refused("{{ ('x' * 10**5).join('a' * 10**6) }}");
  expect_refused("{{ [1, 2] | tojson(indent=10**9) }}");
  expect_refused("{{ [1] | batch(10**12, 'x') | list }}");
}

TEST(JinjaHostile, GrowthInLoops) {
  const std::string doubling = "{% set ns = namespace(x='a') %}{% for i in range(99) %}";
  expect_refused(doubling + "{% set ns.x = ns.x + ns.x %}{% endfor %}");
  expect_refused(doubling + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}");
  expect_refused(doubling + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}");
  expect_refused(doubling + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x + [] }}");
  expect_refused(
      "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}"
      "{% set ns.x = ns.x + ns.x %}{% endfor %}");
  expect_refused(
      "{% set ns = namespace(x=1) %}{% for i in range(999) %}"
      "{% set ns.x = [ns.x] %}{% endfor %}");
  expect_refused(
      "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
      "{% set ns.x = ns.x + ['x' * 1000000 ~ i] %}{% endfor %}");
  expect_refused("{% set ns = namespace(a=1) %}{% set ns.a = ns %}{{ ns }}");
  expect_refused("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}");
  expect_refused("{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}");
}

TEST(JinjaHostile, Recursion) {
  expect_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}");
  expect_refused("{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}");
  expect_refused("{% macro m(f) %}{{ f(f) }}{% endmacro %}{{ m(m) }}");
  expect_refused(
      "{% macro m(n) %}{{ (((m(n + 1) ~ 1) ~ 1) ~ 1) | upper | lower }}{% endmacro %}{{ m(0) }}");
  expect_refused("{{ " + repeated("(", 100000) + " }}");
  expect_refused("{{ " + repeated("[", 100000) + " }}");
  expect_refused("{{ " + repeated("not ", 100000) + "x }}");
  expect_refused("{{ " + repeated("-", 100000) + "1 }}");
  expect_refused("{{ 1" + repeated(" + 1", 100000) + " }}");
  expect_refused("{{ x" + repeated(".x", 100000) + " }}");
  expect_refused("{{ x" + repeated("()", 100000) + " }}");
  expect_refused("{{ x" + repeated("|e", 100000) + " }}");
  expect_refused("{{ 1" + repeated(" if 1 else 1", 100000) + " }}");
  expect_refused(repeated("{% if 1 %}", 10000));
  expect_refused(repeated("{% for a in b %}", 10000));
  expect_refused("{% set " + repeated("(", 100000));
  // As deep as the parser lets it be, times as deep as macros may nest.
  expect_refused("{% macro m() %}{{ " + repeated("(1 ~ ", 80) + "m()" + repeated(")", 80) +
                 " }}{% endmacro %}{{ m() }}");
  expect_refused("{% macro m() %}{{ m()" + repeated(" + 'a'", 250) + " }}{% endmacro %}{{ m() }}");
}

TEST(JinjaHostile, LongSources) {
  expect_refused(std::string(size_t{2} << 20, 'a'));
  expect_refused(repeated("{% raw ", 100000));
  expect_refused("{% raw %}" + repeated("{% endraw ", 100000));
  expect_refused(repeated("{#", 200000));
  expect_refused("{{ '" + std::string(500000, '\\'));
}

TEST(JinjaHostile, BigHonestTemplatesStillRun) {
  ChatInput input;
  for (int i = 0; i < 2000; ++i) {
    input.messages.push_back({{"role", "user"}, {"content", std::string(2000, 'x')}});
  }
  const ChatTemplate chat(
      "{% set ns = namespace(all='') %}{% for m in messages %}"
      "{{ m.role ~ ': ' ~ m.content.strip() }}\n{% endfor %}",
      "big");
  EXPECT_EQ(chat.render(input).size(), 2000u * (4 + 2 + 2000 + 1));
  // A chain that is long and not deep in meaning: the limit must leave room.
  EXPECT_EQ(ChatTemplate("{{ 'a'" + repeated(" + 'b'", 200) + " }}", "chain").render({}),
            "a" + std::string(200, 'b'));
}

}  // namespace
}  // namespace dak
