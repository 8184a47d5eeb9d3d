// What a request may ask of an answer, end to end: log-probabilities, ends, biases, the last
// message gone on with, names of the model, and usage in every event of a stream.
#include "live_server.h"
#include "text/token_bytes.h"
#include "text/utf8.h"

namespace dak {
namespace {

using Json = nlohmann::json;

constexpr const char* kCompletions = "/v1/completions";
constexpr const char* kChats = "/v1/chat/completions";
constexpr float kSurely = 100;

std::vector<TokenId> prompt_of(size_t count) {
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < count; ++i) {
    tokens.push_back(3 + static_cast<TokenId>((i * 53 + i * i % 17) % 280));
  }
  return tokens;
}

std::vector<Json> events_of(LiveServer& server, const char* path, Json body) {
  body["stream"] = true;
  const HttpAnswer answer = server.ask(post_text(path, body.dump()));
  EXPECT_EQ(answer.status, 200) << answer.body;
  std::vector<Json> events;
  for (size_t at = 0; (at = answer.body.find("data: {", at)) != std::string::npos;) {
    const size_t end = answer.body.find("\n\n", at);
    events.push_back(Json::parse(answer.body.substr(at + 6, end - at - 6)));
    at = end;
  }
  return events;
}

// Twice a name, and a parser drops one of the two.
Json strictly(const std::string& text) {
  std::vector<std::vector<std::string>> open;
  return Json::parse(text, [&](int, Json::parse_event_t event, const Json& value) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key) {
      EXPECT_EQ(std::ranges::count(open.back(), value.get<std::string>()), 0) << value;
      open.back().push_back(value);
    }
    return true;
  });
}

TEST(LiveAnswers, EchoHasTheLogprobsOfThePrompt) {
  LiveServer server;
  const std::vector<TokenId> prompt = prompt_of(70);
  Json body{{"prompt", prompt}, {"max_tokens", 3},  {"echo", true},
            {"logprobs", 2},    {"temperature", 0}, {"ignore_eos", true}};
  const Json choice = server.post(kCompletions, body)["choices"][0];
  const Json& told = choice["logprobs"];
  for (const char* field : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
    ASSERT_EQ(told[field].size(), prompt.size() + 3) << field;
  }
  EXPECT_TRUE(told["token_logprobs"][0].is_null());
  EXPECT_TRUE(told["top_logprobs"][0].is_null());
  for (size_t i = 1; i < prompt.size() + 3; ++i) {
    EXPECT_LE(told["token_logprobs"][i].get<float>(), 0);
    const Json& top = told["top_logprobs"][i];
    EXPECT_TRUE(top.size() == 2 || top.size() == 3) << top;
    EXPECT_EQ(top.at(told["tokens"][i].get<std::string>()), told["token_logprobs"][i]);
  }
  // As the whole prompt's are token by token.
  for (const size_t i : {size_t{1}, size_t{33}, size_t{69}}) {
    const Json one = server.post(
        kCompletions,
        {{"prompt", std::vector(prompt.begin(), prompt.begin() + static_cast<ptrdiff_t>(i))},
         {"max_tokens", 1},
         {"logprobs", 0},
         {"temperature", 0},
         {"ignore_eos", true},
         {"logit_bias", {{std::to_string(prompt[i]), kSurely}}}});
    EXPECT_NEAR(one["choices"][0]["logprobs"]["token_logprobs"][0].get<float>(),
                told["token_logprobs"][i].get<float>(), 1e-3);
  }
  // The same in a stream, with the prompt in the first event.
  std::string text;
  Json joined{{"tokens", Json::array()}, {"token_logprobs", Json::array()}};
  for (const Json& event : events_of(server, kCompletions, body)) {
    const Json& part = event["choices"][0];
    text += part["text"].get<std::string>();
    if (part["logprobs"].is_null()) continue;
    for (auto& [field, all] : joined.items()) {
      all.insert(all.end(), part["logprobs"][field].begin(), part["logprobs"][field].end());
    }
  }
  EXPECT_EQ(text, choice["text"]);
  EXPECT_EQ(joined["tokens"], told["tokens"]);
  EXPECT_EQ(joined["token_logprobs"], told["token_logprobs"]);
}

TEST(LiveAnswers, NoTokensMeansThePromptAlone) {
  LiveServer server;
  const std::vector<TokenId> prompt = prompt_of(40);
  const Json scored = server.post(
      kCompletions, {{"prompt", prompt}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 1}});
  EXPECT_EQ(scored["choices"][0]["logprobs"]["tokens"].size(), prompt.size());
  EXPECT_EQ(scored["choices"][0]["text"], server.engine().tokenizer().decode(prompt));
  EXPECT_EQ(scored["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(scored["usage"]["completion_tokens"], 0);
  const Json plain = server.post(kCompletions, {{"prompt", prompt}, {"max_tokens", 0}});
  EXPECT_EQ(plain["choices"][0]["text"], "");
  const Json one = server.post(
      kCompletions, {{"prompt", {7}}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 5}});
  EXPECT_EQ(one["choices"][0]["logprobs"]["token_logprobs"], Json::array({nullptr}));
  const Json chat = server.post(
      kChats, {{"messages", {{{"role", "user"}, {"content", "hi"}}}}, {"max_tokens", 0}});
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "");
}

TEST(LiveAnswers, PromptLogprobsAreOfEveryToken) {
  LiveServer server;
  const Json messages{{{"role", "user"}, {"content", "Tell me."}}};
  const Json chat = server.post(
      kChats, {{"messages", messages}, {"max_tokens", 1}, {"n", 2}, {"prompt_logprobs", 2}});
  const Json tokens = server.post("/tokenize", {{"messages", messages}})["tokens"];
  ASSERT_EQ(chat["prompt_logprobs"].size(), tokens.size());
  EXPECT_TRUE(chat["prompt_logprobs"][0].is_null());
  for (size_t i = 1; i < tokens.size(); ++i) {
    const Json& one = chat["prompt_logprobs"][i];
    const Json& own = one.at(std::to_string(tokens[i].get<int>()));
    EXPECT_GE(own["rank"].get<int>(), 1);
    for (const auto& [id, other] : one.items()) {
      EXPECT_EQ(other["logprob"].get<float>() > own["logprob"].get<float>(),
                other["rank"].get<int>() < own["rank"].get<int>())
          << one;
    }
  }
  const Json completion = server.post(
      kCompletions, {{"prompt", {"one", "two more"}}, {"max_tokens", 1}, {"prompt_logprobs", 0}});
  EXPECT_FALSE(completion.contains("prompt_logprobs"));
  EXPECT_EQ(completion["choices"][1]["prompt_logprobs"].size(),
            server.engine().tokenizer().encode("two more").size());
}

TEST(LiveAnswers, NamesOfTopLogprobsDiffer) {
  LiveServer server;
  const std::vector<std::string> bytes = token_bytes(server.engine().tokenizer());
  const auto part = static_cast<size_t>(
      std::ranges::find_if(bytes, [](const auto& text) { return !is_valid_utf8(text); }) -
      bytes.begin());
  ASSERT_LT(part, bytes.size()) << "no token is a part of a character";
  const HttpAnswer answer =
      server.ask(post_text(kCompletions, Json{{"prompt", prompt_of(20)},
                                              {"max_tokens", 8},
                                              {"logprobs", 20},
                                              {"temperature", 0},
                                              {"logit_bias", {{std::to_string(part), kSurely}}},
                                              {"ignore_eos", true}}
                                             .dump()));
  const Json told = strictly(answer.body)["choices"][0]["logprobs"];
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(told["tokens"][i],
              fmt::format("bytes:\\x{:02x}", static_cast<uint8_t>(bytes[part].at(0))));
    const Json& top = told["top_logprobs"][i];
    EXPECT_TRUE(top.size() == 20 || top.size() == 21) << top;
    EXPECT_TRUE(top.contains(told["tokens"][i].get<std::string>()));
    for (const auto& [name, value] : top.items()) {
      EXPECT_EQ(name.find("\xEF\xBF\xBD"), std::string::npos) << name;
    }
  }
  // The chosen one is there even where it is not likely.
  const Json unlikely = server.post(kCompletions, {{"prompt", prompt_of(20)},
                                                   {"max_tokens", 2},
                                                   {"logprobs", 1},
                                                   {"logit_bias", {{"200", kSurely}}},
                                                   {"temperature", 0},
                                                   {"ignore_eos", true}});
  const Json& likely = unlikely["choices"][0]["logprobs"];
  EXPECT_TRUE(likely["top_logprobs"][0].contains(likely["tokens"][0].get<std::string>()));
  EXPECT_EQ(likely["tokens"][0], likely["tokens"][1]);
}

TEST(LiveAnswers, EndsBiasesAndTheirRefusals) {
  LiveServer server;
  const TokenId eos = server.engine().config().eos_tokens.at(0);
  const Json bias{{std::to_string(eos), kSurely}};
  const Json base{
      {"prompt", prompt_of(20)}, {"max_tokens", 9}, {"temperature", 0}, {"logit_bias", bias}};
  Json body = base;
  EXPECT_EQ(server.post(kCompletions, body)["usage"]["completion_tokens"], 1);
  body["min_tokens"] = 5;
  EXPECT_EQ(server.post(kCompletions, body)["usage"]["completion_tokens"], 6);
  body["logit_bias"] = {{"100", kSurely}};
  body["stop_token_ids"] = {100, 101};
  body["ignore_eos"] = true;
  const Json stopped = server.post(kCompletions, body);
  EXPECT_EQ(stopped["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(stopped["usage"]["completion_tokens"], 6);
  body.erase("min_tokens");
  EXPECT_EQ(server.post(kCompletions, body)["choices"][0]["text"], "");
  const auto refused = [&](const char* field, const Json& value) {
    Json wrong = base;
    wrong[field] = value;
    return server.refused(kCompletions, wrong).first;
  };
  EXPECT_EQ(refused("stop_token_ids", {1 << 20}), "stop_token_ids");
  EXPECT_EQ(refused("logit_bias", {{"9999999", 1}}), "logit_bias");
  EXPECT_EQ(refused("min_tokens", 10), "min_tokens");
}

TEST(LiveAnswers, TheLastMessageGoesOn) {
  LiveServer server;
  const auto rendered = [&](const Json& messages, const char* field, bool value) {
    const Json tokens =
        server.post("/tokenize", {{"messages", messages}, {field, value}})["tokens"];
    return server.post("/detokenize", {{"tokens", tokens}})["prompt"].get<std::string>();
  };
  const Json user{{"role", "user"}, {"content", "Name one."}};
  const Json messages{user, {{"role", "assistant"}, {"content", "The first is "}}};
  const std::string whole = "<|im_start|>user\nName one.<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(rendered(messages, "continue_final_message", true), whole + "The first is ");
  EXPECT_EQ(rendered(Json::array({user}), "add_generation_prompt", true), whole);
  EXPECT_EQ(rendered(Json::array({user}), "add_generation_prompt", false),
            "<|im_start|>user\nName one.<|im_end|>\n");
  const Json parts{
      user,
      {{"role", "assistant"},
       {"content", {{{"type", "text"}, {"text", "A"}}, {{"type", "text"}, {"text", "B"}}}}}};
  EXPECT_TRUE(rendered(parts, "continue_final_message", true).ends_with("B"));
  // The answer is what goes on, as a completion of the same text has it.
  const Json chat = server.post(kChats, {{"messages", messages},
                                         {"continue_final_message", true},
                                         {"temperature", 0},
                                         {"max_tokens", 8},
                                         {"ignore_eos", true}});
  const Json same = server.post(kCompletions, {{"prompt", whole + "The first is "},
                                               {"temperature", 0},
                                               {"max_tokens", 8},
                                               {"ignore_eos", true}});
  EXPECT_EQ(chat["choices"][0]["message"]["content"], same["choices"][0]["text"]);
  EXPECT_EQ(chat["usage"]["prompt_tokens"], same["usage"]["prompt_tokens"]);
  for (const Json& wrong :
       {Json::array({user}), Json{user,
                                  {{"role", "assistant"},
                                   {"content", nullptr},
                                   {"tool_calls",
                                    {{{"id", "x"},
                                      {"type", "function"},
                                      {"function", {{"name", "f"}, {"arguments", "{}"}}}}}}}}}) {
    EXPECT_FALSE(server.refused(kChats, {{"messages", wrong}, {"continue_final_message", true}})
                     .second.empty());
  }
  EXPECT_EQ(server
                .refused(kChats, {{"messages", messages},
                                  {"continue_final_message", true},
                                  {"add_generation_prompt", true}})
                .first,
            "continue_final_message");
}

TEST(LiveAnswers, AModelMayHaveSeveralNames) {
  LiveServer server({}, {.names = {"tiny", "also/tiny"}});
  const Json body{{"prompt", "a"}, {"max_tokens", 1}};
  EXPECT_EQ(server.post(kCompletions, body)["model"], "tiny");
  for (const char* name : {"tiny", "also/tiny"}) {
    Json named = body;
    named["model"] = name;
    EXPECT_EQ(server.post(kCompletions, named)["model"], name);
  }
  const Json list = Json::parse(server.ask(get_text("/v1/models")).body)["data"];
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[1]["id"], "also/tiny");
  EXPECT_EQ(Json::parse(server.ask(get_text("/v1/models/also%2Ftiny")).body)["id"], "also/tiny");
  EXPECT_EQ(server.ask(get_text("/v1/models/other")).status, 404);
  Json other = body;
  other["model"] = "other";
  EXPECT_NE(server.ask(post_text(kCompletions, other.dump())).body.find("also/tiny"),
            std::string::npos);
}

TEST(LiveAnswers, ManyPromptsAtATime) {
  LiveServer server;
  std::vector<std::string> prompts;
  for (int i = 0; i < 60; ++i) prompts.push_back("prompt " + std::to_string(i));
  const Json all = server.post(
      kCompletions,
      {{"prompt", prompts}, {"max_tokens", 2}, {"temperature", 0}, {"ignore_eos", true}});
  ASSERT_EQ(all["choices"].size(), prompts.size());
  for (const size_t i : {size_t{0}, size_t{59}}) {
    const Json one = server.post(
        kCompletions,
        {{"prompt", prompts[i]}, {"max_tokens", 2}, {"temperature", 0}, {"ignore_eos", true}});
    EXPECT_EQ(all["choices"][i]["text"], one["choices"][0]["text"]) << i;
  }
}

TEST(LiveAnswers, UsageInEveryEvent) {
  LiveServer server;
  const Json options{{"include_usage", true}, {"continuous_usage_stats", true}};
  for (const char* path : {kCompletions, kChats}) {
    Json body{{"max_tokens", 4}, {"n", 2}, {"ignore_eos", true}, {"stream_options", options}};
    if (path == kChats) {
      body["messages"] = {{{"role", "user"}, {"content", "hi"}}};
    } else {
      body["prompt"] = "hi";
      body["echo"] = true;
    }
    const std::vector<Json> events = events_of(server, path, body);
    ASSERT_GT(events.size(), 8u);
    int64_t before = 0;
    for (const Json& event : events) {
      ASSERT_TRUE(event["usage"].is_object()) << event;
      const int64_t now = event["usage"]["completion_tokens"];
      EXPECT_GE(now, before);
      EXPECT_GT(event["usage"]["prompt_tokens"].get<int64_t>(), 0);
      before = now;
    }
    EXPECT_EQ(before, 8);
    EXPECT_TRUE(events.back()["choices"].empty());
    body["stream_options"] = {{"continuous_usage_stats", true}};
    EXPECT_FALSE(events_of(server, path, body).back()["choices"].empty());
  }
}

}  // namespace
}  // namespace dak
