// Tool calls in answers, in every form and however the text is cut into pieces.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "server/json_automaton.h"
#include "server/tools/tool_grammar.h"
#include "server/tools/tool_parser.h"
#include "server/tools/tool_probe.h"

namespace dak {
namespace {

const ToolForm& form_named(std::string_view name) {
  for (const ToolForm& form : tool_forms()) {
    if (form.name == name) return form;
  }
  throw std::logic_error("no form " + std::string(name));
}

const OrderedJson& tools() {
  static const OrderedJson kTools = OrderedJson::parse(R"([
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
      "city": {"type": "string"}, "n": {"type": "integer"}, "on": {"type": "boolean"},
      "list": {"type": "array", "items": {"type": "integer"}}, "any": {},
      "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
      "place": {"$ref": "#/$defs/place"}},
      "required": ["city"],
      "$defs": {"place": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}},
    {"type": "function", "function": {"name": "g"}}])");
  return kTools;
}

struct Parsed {
  std::string text;
  std::vector<std::string> calls;  // "name arguments", and "..." for one that is not whole
  bool operator==(const Parsed&) const = default;
};

void PrintTo(const Parsed& parsed, std::ostream* out) {
  *out << "text '" << parsed.text << "'";
  for (const std::string& call : parsed.calls) *out << ", call '" << call << "'";
}

Parsed parse(const ToolForm& form, const std::string& answer, size_t piece, bool cut) {
  const ToolSignatures signatures(tools());
  ToolCallParser parser(form, signatures);
  Parsed parsed;
  bool open = false;
  const auto add = [&](const std::vector<ToolEvent>& events) {
    for (const ToolEvent& event : events) {
      if (event.kind == ToolEvent::Kind::kText) parsed.text += event.text;
      if (event.kind == ToolEvent::Kind::kCall) parsed.calls.push_back(event.text + " ");
      if (event.kind == ToolEvent::Kind::kArguments) parsed.calls.back() += event.text;
      open = event.kind != ToolEvent::Kind::kText && event.kind != ToolEvent::Kind::kEnd;
    }
  };
  for (size_t at = 0; at < answer.size(); at += piece) add(parser.push(answer.substr(at, piece)));
  add(parser.finish(cut));
  if (open) parsed.calls.back() += "...";
  return parsed;
}

void expect(std::string_view form, const std::string& answer, const Parsed& wanted,
            bool cut = false) {
  for (const size_t piece : {size_t{1}, size_t{3}, size_t{7}, answer.size()}) {
    EXPECT_EQ(parse(form_named(form), answer, piece, cut), wanted)
        << form << ": " << answer << " in pieces of " << piece;
  }
}

// What each form looks like: f({"city": "Paris"}) and then g({}).
struct Sample {
  std::string_view form;
  std::string first;
  std::string between;
  std::string second;
  std::string end;
};

std::vector<Sample> samples() {
  const std::string f = R"({"name": "f", "arguments": {"city": "Paris"}})";
  const std::string g = R"({"name": "g", "arguments": {}})";
  return {
      {"hermes", "<tool_call>\n" + f + "\n</tool_call>", "\n",
       "<tool_call>\n" + g + "\n</tool_call>", ""},
      {"qwen-xml",
       "<tool_call>\n<function=f>\n<parameter=city>\nParis\n</parameter>\n</function>\n</"
       "tool_call>",
       "\n", "<tool_call>\n<function=g>\n</function>\n</tool_call>", ""},
      {"seed",
       "<seed:tool_call>\n<function=f>\n<parameter=city>Paris</parameter>\n</function>\n"
       "</seed:tool_call>",
       "\n", "<seed:tool_call>\n<function=g>\n</function>\n</seed:tool_call>", ""},
      {"glm", "<tool_call>f\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>",
       "\n", "<tool_call>g\n</tool_call>", ""},
      {"hunyuan",
       "<tool_calls:opensource>\n<tool_call:opensource>f<tool_sep:opensource>\n"
       "<arg_key:opensource>city</arg_key:opensource>\n"
       "<arg_value:opensource>Paris</arg_value:opensource>\n</tool_call:opensource>",
       "\n", "<tool_call:opensource>g<tool_sep:opensource>\n</tool_call:opensource>",
       "\n</tool_calls:opensource>"},
      {"minimax-m2",
       "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"city\">Paris</parameter>\n"
       "</invoke>",
       "\n", "<invoke name=\"g\">\n</invoke>", "\n</minimax:tool_call>"},
      {"minimax-m1", "<tool_calls>\n" + f, "\n", g, "\n</tool_calls>"},
      {"apriel", "<tool_calls>[" + f, ", ", g, "]</tool_calls>"},
      {"minicpm", "<function name=\"f\"><param name=\"city\">Paris</param></function>", "\n",
       "<function name=\"g\"></function>", ""},
      {"deepseek-v3.2",
       "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"city\" "
       "string=\"true\">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>",
       "\n", "<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>", "\n</｜DSML｜function_calls>"},
      {"deepseek-v4",
       "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"city\" "
       "string=\"true\">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>",
       "\n", "<｜DSML｜invoke name=\"g\">\n</｜DSML｜invoke>", "\n</｜DSML｜tool_calls>"},
      {"mistral", "[TOOL_CALLS] [" + f, ", ", g, "]"},
      {"mistral-named", "[TOOL_CALLS]f[ARGS]{\"city\": \"Paris\"}", "",
       "[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}", ""},
      {"nemotron", "<TOOLCALL>[" + f, ", ", g, "]</TOOLCALL>"},
      {"cohere",
       "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": "
       "{\"city\": \"Paris\"}}",
       ",\n    ", R"({"tool_call_id": "1", "tool_name": "g", "parameters": {}})",
       "\n]<|END_ACTION|>"},
      {"command-r",
       "Action:\n```json\n[\n{\"tool_name\": \"f\", \"parameters\": {\"city\": \"Paris\"}}", ",\n",
       R"({"tool_name": "g", "parameters": {}})", "\n]```"},
      {"apertus", R"(<|tools_prefix|>[{"f": {"city": "Paris"}})", ", ", R"({"g": {}})",
       "]<|tools_suffix|>"},
      {"phi-4-mini", "<|tool_call|>[" + f, ",", g, "]<|/tool_call|>"},
      {"granite-3", "<|tool_call|>[" + f, ",", g, "]"},
      {"firefunction", "functools[" + f, ", ", g, "]"},
      {"deepseek-v3",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"city\": "
       "\"Paris\"}\n```<｜tool▁call▁end｜>",
       "\n", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜>",
       "<｜tool▁calls▁end｜>"},
      {"deepseek-v3.1",
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"city\": \"Paris\"}"
       "<｜tool▁call▁end｜>",
       "", "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"},
      {"gigachat", "<|function_call|>" + f, "\n", "<|function_call|>" + g, ""},
      {"gigachat-3", "function call<|role_sep|>\n" + f, "\n", "function call<|role_sep|>\n" + g,
       ""},
      {"kimi-k2",
       "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>"
       "{\"city\": \"Paris\"}<|tool_call_end|>",
       "", "<|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|>",
       "<|tool_calls_section_end|>"},
      {"solar",
       "<|tool_calls|><|tool_call:begin|>abcdefghij<|tool_call:name|>f<|tool_call:args|>{\"city\": "
       "\"Paris\"}<|tool_call:end|>",
       "", "<|tool_call:begin|>bbcdefghij<|tool_call:name|>g<|tool_call:args|>{}<|tool_call:end|>",
       "<|calls|>"},
      {"functionary", "<function=f>{\"city\": \"Paris\"}</function>", "",
       "<function=g>{}</function>", ""},
      {"llama", R"({"name": "f", "parameters": {"city": "Paris"}})", "; ",
       R"({"name": "g", "parameters": {}})", ""},
      {"bare", f, "; ", g, ""},
  };
}

constexpr const char* kFirst = R"(f {"city": "Paris"})";

TEST(ToolCallsTest, EveryFormIsRead) {
  EXPECT_EQ(samples().size(), tool_forms().size());
  for (const Sample& sample : samples()) {
    expect(sample.form, sample.first + sample.end, {"", {kFirst}});
    expect(sample.form, sample.first + sample.between + sample.second + sample.end + "\n",
           {"", {kFirst, "g {}"}});
    expect(sample.form, "just text \n", {"just text \n", {}});
    if (form_named(sample.form).bare()) continue;
    expect(sample.form, "I look.\n" + sample.first + sample.end, {"I look.", {kFirst}});
  }
}

// Of an answer that is cut anywhere, no part of a call is text, and arguments are what had come.
TEST(ToolCallsTest, WhatIsCutOffIsNoText) {
  for (const Sample& sample : samples()) {
    const std::string all = sample.first + sample.between + sample.second + sample.end;
    for (size_t length = 0; length < all.size(); ++length) {
      const Parsed parsed = parse(form_named(sample.form), all.substr(0, length), 5, true);
      EXPECT_EQ(parsed.text, "") << sample.form << ": " << all.substr(0, length);
      if (parsed.calls.empty()) continue;
      std::string first = parsed.calls[0];
      if (first.ends_with("...")) first.resize(first.size() - 3);
      EXPECT_TRUE(std::string_view(kFirst).starts_with(first)) << sample.form << ": " << first;
    }
  }
}

// An answer held to a form is read in it.
TEST(ToolCallsTest, EveryFormHoldsAnAnswer) {
  const SpecialMarks none;
  for (const Sample& sample : samples()) {
    SCOPED_TRACE(sample.form);
    const auto may_be = [&](const JsonGrammar& grammar, const std::string& text) {
      JsonAutomaton automaton(grammar);
      JsonAutomaton::State state = automaton.start();
      for (const char byte : text) state = automaton.after(state, static_cast<uint8_t>(byte));
      return !state.empty() && automaton.may_end(state);
    };
    const ToolForm& form = form_named(sample.form);
    std::string one = sample.first + sample.end;
    std::string both = sample.first + sample.between + sample.second + sample.end;
    // Ids in objects are the server's to give; a call's white space is as the template's.
    for (const char* id : {R"("tool_call_id": "0", )", R"("tool_call_id": "1", )"}) {
      for (std::string* text : {&one, &both}) {
        if (const size_t at = text->find(id); at != std::string::npos)
          text->erase(at, std::strlen(id));
      }
    }
    for (std::string* text : {&one, &both}) {
      for (size_t at = 0; (at = text->find("\n    ", at)) != std::string::npos;) text->erase(at, 5);
    }
    const JsonGrammar single = grammar_of_calls(form, tools(), {}, none);
    EXPECT_TRUE(may_be(single, one)) << one;
    EXPECT_FALSE(may_be(single, both)) << both;
    EXPECT_FALSE(may_be(single, "Hello"));
    const JsonGrammar named = grammar_of_calls(form, tools(), {.name = "g"}, none);
    EXPECT_FALSE(may_be(named, one)) << one;
    const JsonGrammar several = grammar_of_calls(form, tools(), {.several = true}, none);
    EXPECT_TRUE(may_be(several, one)) << one;
    EXPECT_TRUE(may_be(several, both)) << both;
  }
}

TEST(ToolCallsTest, WhatIsNoCallIsText) {
  for (const std::string& answer :
       {std::string("<tool_call>{\"name\": \"f\", </tool_call>"),
        std::string("<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>"),
        std::string("<tool_call>[1]</tool_call>"), std::string("<tool_call>{\"na"),
        std::string("<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>"),
        std::string("a < b <tool"), std::string("The tag <tool_call> opens a call.")}) {
    expect("hermes", answer, {answer, {}});
  }
  expect("hermes", "<tool_call> <tool_call>{\"name\": \"g\"}</tool_call>",
         {"<tool_call> ", {"g {}"}});
  for (const std::string& answer :
       {std::string(R"({"weather": "fine"})"), std::string("{ not json"),
        std::string(R"({"name": "unknown", "parameters": {}})"),
        std::string("Hello {\"name\": \"f\", \"parameters\": {}}")}) {
    expect("llama", answer, {answer, {}});
  }
  expect("mistral", "[TOOL_CALLS] none", {"[TOOL_CALLS] none", {}});
  expect("mistral", "[1, 2]", {"[1, 2]", {}});
  expect("qwen-xml", "<tool_call>\n<function=unknown>\n</function>\n</tool_call>",
         {"<tool_call>\n<function=unknown>\n</function>\n</tool_call>", {}});
  const std::string name(2000, 'x');
  expect("glm", "<tool_call>" + name, {"<tool_call>" + name, {}});
}

TEST(ToolCallsTest, ArgumentsAreAsTheModelWroteThem) {
  const auto call = [](const std::string& arguments) {
    return "<tool_call>\n{\"name\": \"f\", \"arguments\": " + arguments + "}\n</tool_call>";
  };
  for (const char* arguments :
       {R"({"n": 123456789012345678901234567890, "x": 1.10, "y": 1e400, "z": -0.0})",
        R"({ "a" : [1, {"b": "}"}] ,"c":"\"}"})", R"({"city": "a</tool_call>b"})",
        R"({"city": "<tool_call>{\"name\": \"g\"}</tool_call>"})"}) {
    expect("hermes", call(arguments), {"", {"f " + std::string(arguments)}});
  }
  expect("hermes", call("null"), {"", {"f {}"}});
  expect("hermes", call(R"("{\"n\": 1}")"), {"", {R"(f {"n": 1})"}});
  expect("hermes", call(R"("")"), {"", {"f {}"}});
  // JSON has no line breaks in strings.
  expect("hermes", call("{\"city\": \"a\nb\tc\"}"), {"", {R"(f {"city": "a\nb\u0009c"})"}});
  // The name may come last, and there may be more.
  expect("hermes", R"(<tool_call>{"id": [1], "arguments": {"n": 2}, "name": "f"}</tool_call>)",
         {"", {R"(f {"n": 2})"}});
  expect("hermes",
         R"(<tool_call>{"name": "f", "parameters": {"n": 2}, "id": "x"}</tool_call> Done.)",
         {" Done.", {R"(f {"n": 2})"}});
  // The model stopped before the closing tag, or in the arguments.
  expect("hermes", R"(<tool_call>{"name": "g", "arguments": {}})", {"", {"g {}"}});
  expect("hermes", R"(<tool_call>{"name": "f", "arguments": {"n)", {"", {R"(f {"n...)"}});
}

TEST(ToolCallsTest, TaggedValuesHaveTheirSchemasTypes) {
  const auto call = [](const std::string& key, const std::string& value) {
    return "<tool_call>\n<function=f>\n<parameter=" + key + ">\n" + value +
           "\n</parameter>\n</function>\n</tool_call>";
  };
  struct Case {
    const char* key;
    const char* value;
    const char* json;
  };
  for (const Case& one : {
           Case{"city", "007", R"("007")"},
           Case{"city", "true", R"("true")"},
           Case{"city", "", R"("")"},
           Case{"city", "two\nlines\n", R"("two\nlines\n")"},
           Case{"city", "a \"b\" \\ c", R"("a \"b\" \\ c")"},
           Case{"city", "x</parameter>y", R"("x</parameter>y")"},
           Case{"city", "</function>\n</tool_call> is the end",
                R"("</function>\n</tool_call> is the end")"},
           Case{"n", "123456789012345678901234567890", "123456789012345678901234567890"},
           Case{"n", "many", R"("many")"},
           Case{"on", "True", "true"},
           Case{"list", "[1, 2]", "[1, 2]"},
           Case{"list", "[1, 2", R"("[1, 2")"},
           Case{"maybe", "1.50", "1.50"},
           Case{"maybe", "null", "null"},
           Case{"place", R"({"x": 1})", R"({"x": 1})"},
           Case{"any", "5", "5"},
           Case{"any", "five", R"("five")"},
           Case{"unknown", "{\"a\": 1}", "{\"a\": 1}"},
       }) {
    expect("qwen-xml", call(one.key, one.value),
           {"", {std::string("f {\"") + one.key + "\": " + one.json + "}"}});
  }
  // The model stopped behind the last value.
  expect("qwen-xml", "<tool_call>\n<function=f>\n<parameter=n>\n3\n</parameter>",
         {"", {R"(f {"n": 3})"}});
}

ToolSupport support_of(const std::filesystem::path& folder, const std::string& name) {
  std::ifstream stream(folder / (name + ".jinja"));
  std::ostringstream text;
  text << stream.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return probe_tools(ChatTemplate(text.str(), name));
}

std::string form_of(const std::filesystem::path& folder, const std::string& name) {
  const ToolSupport support = support_of(folder, name);
  return support.form == nullptr ? refusal_of(support, "m") : std::string(support.form->name);
}

TEST(ToolCallsTest, TheTemplateSaysTheForm) {
  const std::filesystem::path own = std::string(DAK_TEST_DATA) + "/text/templates";
  EXPECT_EQ(form_of(own, "calls_tagged"), "hermes");
  EXPECT_EQ(form_of(own, "calls_object"), "llama");
  EXPECT_EQ(form_of(own, "calls_listed"), "mistral");
  EXPECT_EQ(form_of(own, "calls_named"), "mistral-named");
  EXPECT_FALSE(support_of(own, "calls_object").several);
  EXPECT_TRUE(support_of(own, "calls_tagged").several);
  // What a client is told of calls that dak does not read.
  EXPECT_NE(form_of(own, "calls_elements").find("does not read: <assistant>"), std::string::npos);
  EXPECT_EQ(form_of(own, "turns"), "the chat template of 'm' does not show tools to the model");
}

// Where one tag is another form's too, what is around it decides.
#ifdef DAK_CHAT_TEMPLATES
TEST(ToolCallsTest, OtherPeoplesTemplatesSayTheForm) {
  const std::filesystem::path others = std::string(DAK_CHAT_TEMPLATES) + "/templates";
  const std::map<std::string, std::vector<const char*>> kForms = {
      {"apertus", {"Apertus-8B-Instruct"}},
      {"apriel", {"Apriel-1.6-15b-Thinker-fixed", "unsloth-Apriel-1.5"}},
      {"cohere", {"Cohere2MoE", "CohereForAI-c4ai-command-r7b-12-2024-tool_use"}},
      {"command-r", {"CohereForAI-c4ai-command-r-plus-tool_use"}},
      {"deepseek-v3.1", {"deepseek-ai-DeepSeek-V3.1"}},
      {"deepseek-v3.2", {"deepseek-ai-DeepSeek-V3.2"}},
      {"deepseek-v4", {"deepseek-ai-DeepSeek-V4", "deepseek-ai-DeepSeek-V4-Flash-0731"}},
      {"deepseek-v3", {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"}},
      {"functionary", {"meetkai-functionary-medium-v3.1"}},
      {"gigachat", {"GigaChat3.1-10B-A1.8B"}},
      {"gigachat-3", {"GigaChat3-10B-A1.8B"}},
      {"glm",
       {"GLM-4.6", "GLM-4.7-Flash", "Spark2.5", "inclusionai-ling-3.0-flash",
        "poolside-Laguna-S-2.1", "poolside-Laguna-XS-2.1", "poolside-Laguna-XS.2"}},
      {"hermes",
       {"Bielik-11B-v3.0-Instruct", "MiMo-VL", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "Qwen-QwQ-32B", "Qwen-Qwen2.5-7B-Instruct",
        "Qwen-Qwen3-0.6B", "Reka-Edge", "ibm-granite-granite-4.0", "ibm-granite-granite-4.1"}},
      {"hunyuan", {"tencent-Hy3"}},
      {"kimi-k2", {"moonshotai-Kimi-K2"}},
      {"llama",
       {"meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct",
        "meta-llama-Llama-3.3-70B-Instruct"}},
      {"minicpm", {"openbmb-MiniCPM5-1B"}},
      {"minimax-m1", {"MiniMax-M1"}},
      {"minimax-m2", {"MiniMax-M2"}},
      {"mistral", {"mistralai-Mistral-Nemo-Instruct-2407"}},
      {"mistral-named",
       {"Mistral-Small-3.2-24B-Instruct-2506", "mistralai-Ministral-3-14B-Reasoning-2512",
        "unsloth-mistral-Devstral-Small-2507"}},
      {"nemotron", {"NVIDIA-Nemotron-Nano-v2"}},
      {"qwen-xml",
       {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "Qwen3-Coder", "Qwen3.5-4B", "StepFun3.5-Flash"}},
      {"seed", {"ByteDance-Seed-OSS"}},
      {"solar", {"upstage-Solar-Open-100B"}},
  };
  for (const auto& [form, files] : kForms) {
    for (const char* file : files) EXPECT_EQ(form_of(others, file), form) << file;
  }
  for (const char* file : {"google-gemma-4-31B-it", "openai-gpt-oss-120b", "LFM2.5-8B-A1B",
                           "Kimi-K3", "MiniMax-M3", "meetkai-functionary-medium-v3.2"}) {
    EXPECT_NE(form_of(others, file).find("does not read"), std::string::npos) << file;
  }
  for (const char* file : {"LFM2-8B-A1B", "ibm-granite-granite-3.3-2B-Instruct"}) {
    EXPECT_NE(form_of(others, file).find("writes no tool calls"), std::string::npos) << file;
  }
  for (const char* file : {"google-gemma-2-2b-it", "HuggingFaceTB-SmolLM3-3B"}) {
    EXPECT_NE(form_of(others, file).find("does not show"), std::string::npos) << file;
  }
}
#endif

// Templates that know only texts as arguments.
TEST(ToolCallsTest, ArgumentsAsTextWhereTheTemplateWantsIt) {
  const ToolSupport support = probe_tools(ChatTemplate(
      "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
      "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}"
      "<tool_call>{\"name\": \"{{ c.function.name }}\", \"arguments\": "
      "{{ '' + c.function.arguments }}}</tool_call>{% endfor %}{% else %}{{ m.content }}{% endif %}"
      "{% endfor %}",
      "text"));
  ASSERT_NE(support.form, nullptr);
  EXPECT_EQ(support.form->name, "hermes");
  EXPECT_TRUE(support.text_arguments);
  EXPECT_TRUE(support.several);
}

}  // namespace
}  // namespace dak
