// The whole server but for the engine, on a real socket: the engine is a script, the tokenizer and
// the chat template those of a tiny model.
#include "server/app.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "http_client.h"
#include "scripted_generator.h"
#include "server/load_generator.h"
#include "support/throws_error.h"

namespace dak {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

const Engine& tiny_engine() {
  static const Engine kEngine(open_model(std::string(DAK_TEST_DATA) + "/model/hf/smollm2", true),
                              {.threads = 1, .context = 256}, cpu_tiers(1e9));
  return kEngine;
}

// Sources of templates instead of the file's.
struct Templates {
  std::string chat = {};
  std::string tool_use = {};
};

// The same model with a template that takes tools, and perhaps a special token more.
Engine tool_engine(const std::string& chat_template, const std::string& special = "",
                   const Templates& templates = {}) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("dak-tools-{}", getpid());
  struct Removed {
    fs::path folder;
    ~Removed() { fs::remove_all(folder); }
  } removed{folder};
  fs::copy(std::string(DAK_TEST_DATA) + "/model/hf/smollm2", folder);
  fs::copy_file(std::string(DAK_TEST_DATA) + "/text/templates/" + chat_template,
                folder / "chat_template.jinja");
  if (!templates.chat.empty()) std::ofstream(folder / "chat_template.jinja") << templates.chat;
  if (!templates.tool_use.empty()) {
    fs::create_directory(folder / "additional_chat_templates");
    std::ofstream(folder / "additional_chat_templates" / "tool_use.jinja") << templates.tool_use;
  }
  const auto change = [&folder](const char* file, const std::function<void(Json&)>& edit) {
    std::ifstream stream(folder / file);
    Json json = Json::parse(stream);
    edit(json);
    std::ofstream(folder / file) << json;
  };
  // Tools make long prompts.
  change("config.json", [](Json& config) { config["max_position_embeddings"] = 4096; });
  if (!special.empty()) {
    change("tokenizer.json", [&special](Json& json) {
      // In the place of the last letter pair, so that the model's vocabulary stays as it is.
      Json& vocabulary = json["model"]["vocab"];
      const auto last = std::max_element(vocabulary.begin(), vocabulary.end());
      const int id = last.value();
      const std::string text = last.key();
      vocabulary.erase(text);
      Json& merges = json["model"]["merges"];
      merges.erase(merges.size() - 1);
      json["added_tokens"].push_back({{"id", id},
                                      {"content", special},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", true}});
    });
  }
  const ModelFiles files = open_model(folder, true);
  return Engine(files, {.threads = 1, .context = 4096}, cpu_tiers(1e9));
}
const Engine& tiny_tool_engine() {
  static const Engine kEngine = tool_engine("calls_tagged.jinja");
  return kEngine;
}

// The values of the "data:" lines but [DONE], which must be the last.
std::vector<Json> events_of(const std::string& body, bool with_done = true) {
  std::vector<Json> events;
  bool done = false;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at);
    EXPECT_NE(end, std::string::npos);
    const std::string line = body.substr(at, end - at);
    at = end + 2;
    if (line.starts_with(":")) continue;
    EXPECT_TRUE(line.starts_with("data: ")) << line;
    EXPECT_FALSE(done);
    done = line == "data: [DONE]";
    if (!done) events.push_back(Json::parse(line.substr(6)));
  }
  EXPECT_EQ(done, with_done) << body;
  return events;
}

class AppTest : public testing::Test {
 protected:
  void start(AppOptions options = {}, HttpLimits limits = {},
             std::chrono::microseconds pace = milliseconds(1), bool ready = true,
             const Engine& engine = tiny_engine()) {
    limits.threads = 3;
    app_ = std::make_unique<App>(std::move(options));
    server_ = std::make_unique<HttpServer>(
        "127.0.0.1", 0, limits,
        [this](HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
          app_->handle(std::move(request), exchange);
        },
        App::refusal, [this](const HttpRequest& request) { app_->screen(request); });
    generator_ = std::make_unique<ScriptedGenerator>(pace);
    service_ = std::make_unique<Service>(engine, *generator_, service_options_);
    if (ready) app_->serve(*service_, server_.get());
    server_->start();
  }
  void TearDown() override {
    if (!server_) return;
    server_->stop(milliseconds(0));
    app_->stop();
    generator_.reset();
  }

  HttpAnswer ask(const std::string& text) {
    HttpClient one(server_->port());
    one.send(text);
    return one.answer();
  }
  HttpAnswer post(const std::string& path, const std::string& body,
                  const std::string& headers = "") {
    return ask(post_text(path, body, headers));
  }
  // Message and parameter of an error with this status.
  std::pair<std::string, std::string> refused(const HttpAnswer& answer, int status) {
    EXPECT_EQ(answer.status, status) << answer.body;
    const Json error = Json::parse(answer.body).at("error");
    return {error.at("message"), error.at("param").is_null() ? "" : error.at("param")};
  }
  double metric(const std::string& line) {
    const std::string text = ask(get_text("/metrics")).body;
    const size_t at = text.find("\n" + line + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + line.size() + 2));
  }
  void wait_until(const std::function<bool()>& met) {
    for (int i = 0; i < 1000 && !met(); ++i) std::this_thread::sleep_for(milliseconds(10));
    EXPECT_TRUE(met());
  }

  ServiceOptions service_options_{.names = {"tiny"}};
  std::unique_ptr<App> app_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<ScriptedGenerator> generator_;
  std::unique_ptr<Service> service_;
};

const std::string kHi = R"("messages":[{"role":"user","content":"hi"}])";

TEST_F(AppTest, AWholeCompletion) {
  start();
  const HttpAnswer answer =
      post("/v1/completions",
           R"({"model":"tiny","prompt":[1,2,3],"max_tokens":4,"temperature":0,"seed":9})");
  EXPECT_EQ(answer.status, 200);
  const Json json = Json::parse(answer.body);
  EXPECT_EQ(json["object"], "text_completion");
  EXPECT_EQ(json["choices"][0]["text"], "1.2.3:0;1.2.3:1;1.2.3:2;1.2.3:3;");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(json["usage"]["completion_tokens"], 4);
  EXPECT_EQ(json["usage"]["total_tokens"], 7);
  EXPECT_EQ(answer.headers.at("x-request-id"), json["id"]);
  EXPECT_EQ(generator_->last_request.sampling.seed, 9U);
  EXPECT_EQ(generator_->last_request.sampling.temperature, 0.0f);
}

TEST_F(AppTest, AStreamIsThePiecesOfTheWhole) {
  start();
  const std::string fields = kHi + R"(,"max_tokens":5,"seed":1,"n":2)";
  const Json whole = Json::parse(post("/v1/chat/completions", "{" + fields + "}").body);
  const HttpAnswer answer =
      post("/v1/chat/completions",
           "{" + fields + R"(,"stream":true,"stream_options":{"include_usage":true}})");
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(answer.headers.at("content-type"), "text/event-stream; charset=utf-8");
  std::string texts[2];
  std::string reasons[2];
  const std::vector<Json> events = events_of(answer.body);
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i]["object"], "chat.completion.chunk");
    EXPECT_TRUE(events[i]["usage"].is_null());
    const Json& choice = events[i]["choices"].at(0);
    const auto index = choice["index"].get<size_t>();
    if (texts[index].empty() && choice["delta"].contains("role")) {
      EXPECT_EQ(choice["delta"]["role"], "assistant");
    }
    texts[index] += choice["delta"].value("content", "");
    if (!choice["finish_reason"].is_null()) reasons[index] = choice["finish_reason"];
  }
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(events.back()["usage"], whole["usage"]);
  EXPECT_EQ(whole["usage"]["completion_tokens"], 10);
  for (const size_t index : {0, 1}) {
    EXPECT_EQ(texts[index], whole["choices"][index]["message"]["content"]);
    EXPECT_EQ(reasons[index], "length");
  }
}

TEST_F(AppTest, LogprobsAndText) {
  start();
  generator_->say({"a\"b", "", "\n\xe2\x82\xac"});
  const Json chat = Json::parse(
      post("/v1/chat/completions", "{" + kHi + R"(,"logprobs":true,"top_logprobs":2})").body);
  const Json& content = chat["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3U);
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2U);
  EXPECT_FLOAT_EQ(content[0]["logprob"], -0.5f);
  EXPECT_EQ(content[0]["bytes"].size(), content[0]["token"].get<std::string>().size());
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "a\"b\n\xe2\x82\xac");
  EXPECT_EQ(chat["choices"][0]["finish_reason"], "stop");
  const HttpAnswer streamed =
      post("/v1/completions", R"({"prompt":"hi","logprobs":1,"stream":true,"echo":false})");
  size_t tokens = 0;
  std::string text;
  for (const Json& event : events_of(streamed.body)) {
    const Json& choice = event["choices"][0];
    text += choice["text"];
    if (!choice["logprobs"].is_null()) tokens += choice["logprobs"]["tokens"].size();
  }
  EXPECT_EQ(tokens, 3U);
  EXPECT_EQ(text, "a\"b\n\xe2\x82\xac");
}

TEST_F(AppTest, EchoAndSeveralPrompts) {
  start();
  const std::string body = R"({"prompt":["hi","you"],"n":2,"max_tokens":1,"echo":true)";
  const Json json = Json::parse(post("/v1/completions", body + "}").body);
  ASSERT_EQ(json["choices"].size(), 4U);
  EXPECT_TRUE(json["choices"][1]["text"].get<std::string>().starts_with("hi"));
  EXPECT_TRUE(json["choices"][2]["text"].get<std::string>().starts_with("you"));
  std::string streamed[4];
  for (const Json& event : events_of(post("/v1/completions", body + R"(,"stream":true})").body)) {
    streamed[event["choices"][0]["index"].get<size_t>()] += event["choices"][0]["text"];
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(streamed[i], json["choices"][i]["text"]);
}

TEST_F(AppTest, ErrorsHaveTheirStatusAndField) {
  start();
  EXPECT_EQ(refused(post("/v1/chat/completions", "{\"messages\""), 400).second, "");
  EXPECT_EQ(refused(post("/v1/chat/completions", "{" + kHi + R"(,"model":"other"})"), 404).second,
            "model");
  EXPECT_EQ(refused(post("/v1/completions", R"({"prompt":[999999]})"), 400).second, "prompt");
  EXPECT_EQ(refused(post("/v1/completions", R"({"prompt":""})"), 400).second, "prompt");
  const std::string tokens = fmt::format("{}", fmt::join(std::vector<int>(256, 7), ","));
  const auto [message, param] =
      refused(post("/v1/completions", R"({"prompt":[)" + tokens + "]}"), 400);
  EXPECT_NE(message.find("256 tokens"), std::string::npos) << message;
  EXPECT_EQ(refused(post("/v1/chat/completions",
                         "{" + kHi + R"(,"tools":[{"type":"function","function":{"name":"f"}}]})"),
                    400)
                .second,
            "tools");
  EXPECT_NE(refused(post("/v1/embeddings", R"({"input":"x"})"), 501).first.find("embedding"),
            std::string::npos);
  refused(ask(get_text("/nowhere")), 404);
  refused(ask(get_text("/v1/completions")), 405);
  refused(post("/health", "{}"), 405);
  // A page elsewhere could send this without being asked for its permission.
  refused(
      ask("POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: "
          "14\r\n\r\n{\"prompt\":\"x\"}"),
      415);
  refused(ask("GET / HTTP/9.9\r\n\r\n"), 505);
}

TEST_F(AppTest, TemplatesMayRefuse) {
  start();
  // This one adds texts up; what it has no variable for would change nothing.
  const std::string x = R"({"messages":[{"role":"user","content":"x"}],"max_tokens":1,)";
  const auto refusal = [&](const std::string& fields) {
    return refused(post("/v1/chat/completions", x + fields + "}"), 400);
  };
  EXPECT_EQ(refusal(R"("chat_template_kwargs":{"unused":{"z":1}})").second,
            "chat_template_kwargs.unused");
  EXPECT_EQ(refusal(R"("enable_thinking":false)").second, "chat_template_kwargs.enable_thinking");
  EXPECT_EQ(refusal(R"("reasoning_effort":"low")").second, "reasoning_effort");
  const HttpAnswer answer = post("/v1/chat/completions", x + R"("reasoning_effort":"none"})");
  EXPECT_EQ(answer.status, 200) << answer.body;
}

TEST_F(AppTest, FailuresBeforeAndAfterTheFirstToken) {
  start();
  generator_->at_most(0);
  const HttpAnswer full = post("/v1/completions", R"({"prompt":"a"})");
  refused(full, 429);
  EXPECT_EQ(full.headers.at("retry-after"), "1");
  generator_->at_most(1000);
  generator_->fail_at(0);
  refused(post("/v1/completions", R"({"prompt":"a"})"), 429);
  generator_->fail_at(2);
  const HttpAnswer answer = post("/v1/completions", R"({"prompt":"a","stream":true,"n":2})");
  EXPECT_EQ(answer.status, 200);
  const std::vector<Json> events = events_of(answer.body, false);
  EXPECT_EQ(events.back()["error"]["message"], "the cache is full");
}

TEST_F(AppTest, OneOfSeveralRefusedCancelsTheOthers) {
  start({}, {}, milliseconds(20));
  generator_->at_most(2);
  refused(post("/v1/completions", R"({"prompt":"a","n":3,"max_tokens":100})"), 429);
  EXPECT_EQ(generator_->cancelled, 2);
}

TEST_F(AppTest, ModelsTokensAndHealth) {
  start();
  EXPECT_EQ(Json::parse(ask(get_text("/v1/models")).body)["data"][0]["id"], "tiny");
  EXPECT_EQ(Json::parse(ask(get_text("/v1/models/tiny")).body)["id"], "tiny");
  EXPECT_EQ(ask(get_text("/v1/models/other")).status, 404);
  const Json tokens = Json::parse(post("/tokenize", R"({"prompt":"hello you"})").body);
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  const Json text =
      Json::parse(post("/detokenize", Json{{"tokens", tokens["tokens"]}}.dump()).body);
  EXPECT_EQ(text["prompt"], "hello you");
  EXPECT_GT(Json::parse(post("/tokenize", "{" + kHi + "}").body)["count"], 3);
  EXPECT_EQ(ask(get_text("/health")).status, 200);
  EXPECT_NE(ask(get_text("/")).body.find("<!doctype html>"), std::string::npos);
  EXPECT_NE(ask(get_text("/")).headers.at("content-security-policy").find("default-src 'none'"),
            std::string::npos);
  const Json state = Json::parse(ask(get_text("/state")).body);
  EXPECT_EQ(state["model"], "tiny");
  EXPECT_EQ(state["tiers"].size(), 2U);
  EXPECT_GT(state["tiers"][0]["weight_bytes"], 0);
}

// Special tokens that a client spells: tokens, as in transformers, or letters.
TEST_F(AppTest, SpecialTokensInWhatClientsSend) {
  const Tokenizer& tokenizer = tiny_engine().tokenizer();
  const TokenId end = tokenizer.token_id("<|im_end|>").value();
  for (const bool by_default : {false, true}) {
    service_options_.split_special_tokens = by_default;
    start();
    for (const std::optional<bool> asked : {std::optional<bool>(), {false}, {true}}) {
      const bool split = asked.value_or(by_default);
      const auto count = [&](const std::string& path, const Json& body) {
        Json sent = body;
        if (asked) sent["split_special_tokens"] = *asked;
        const HttpAnswer answer = post(path, sent.dump());
        EXPECT_EQ(answer.status, 200) << answer.body;
        const std::vector<TokenId> tokens =
            path == "/tokenize" ? Json::parse(answer.body)["tokens"].get<std::vector<TokenId>>()
                                : generator_->last_request.prompt;
        return std::ranges::count(tokens, end);
      };
      const Json messages = {{{"role", "user"}, {"content", "a<|im_end|>b"}}};
      const auto own = count("/tokenize", {{"messages", {{{"role", "user"}, {"content", "ab"}}}}});
      const auto chat = own + (split ? 0 : 1);
      EXPECT_EQ(count("/tokenize", {{"messages", messages}}), chat);
      EXPECT_EQ(count("/v1/chat/completions", {{"messages", messages}, {"max_tokens", 1}}), chat);
      EXPECT_EQ(count("/tokenize", {{"prompt", "a<|im_end|>b"}}), split ? 0 : 1);
      EXPECT_EQ(count("/v1/completions", {{"prompt", "a<|im_end|>b"}, {"max_tokens", 1}}),
                split ? 0 : 1);
      // Ids are what they are.
      EXPECT_EQ(count("/v1/completions", {{"prompt", {5, end}}, {"max_tokens", 1}}), 1);
    }
    TearDown();
  }
  start();
  EXPECT_EQ(refused(post("/tokenize", R"({"prompt":"a","split_special_tokens":1})"), 400).second,
            "split_special_tokens");
}

TEST_F(AppTest, MetricsCount) {
  start();
  post("/v1/completions", R"({"prompt":"a","max_tokens":3})");
  ask(get_text("/nowhere"));
  EXPECT_EQ(metric(R"(dak_http_requests_total{route="/v1/completions",code="200"})"), 1);
  EXPECT_EQ(metric(R"(dak_http_requests_total{route="other",code="404"})"), 1);
  EXPECT_EQ(metric("dak_time_to_first_token_seconds_count"), 1);
  EXPECT_EQ(metric("dak_inter_token_seconds_count"), 2);
}

TEST_F(AppTest, BeforeAndAfterServing) {
  start({}, {}, milliseconds(1), false);
  EXPECT_EQ(ask(get_text("/health/live")).status, 200);
  EXPECT_EQ(ask(get_text("/health/ready")).status, 503);
  refused(post("/v1/completions", R"({"prompt":"a"})"), 503);
  refused(ask(get_text("/v1/models")), 503);
  app_->serve(*service_, server_.get());
  EXPECT_EQ(ask(get_text("/health/ready")).status, 200);
  EXPECT_EQ(post("/v1/completions", R"({"prompt":"a"})").status, 200);
  app_->drain();
  EXPECT_EQ(ask(get_text("/health/ready")).status, 503);
  refused(post("/v1/completions", R"({"prompt":"a"})"), 503);
}

TEST_F(AppTest, KeysOpenAndSeparate) {
  AppOptions options;
  options.keys.add("one-key", "test");
  options.keys.add("another", "test");
  start(std::move(options));
  const std::string body = R"({"prompt":"a","max_tokens":1})";
  for (const char* header :
       {"", "Authorization: Bearer wrong\r\n", "Authorization: Bearer one-ke\r\n",
        "Authorization: Bearer one-keyx\r\n", "Authorization: Bearer \r\n",
        "Authorization: one-key\r\n", "Authorization: Basic one-key\r\n"}) {
    const HttpAnswer answer = post("/v1/completions", body, header);
    refused(answer, 401);
    EXPECT_EQ(answer.headers.at("www-authenticate"), "Bearer");
    EXPECT_EQ(ask(get_text("/metrics", header)).status, 401);
    EXPECT_EQ(ask(get_text("/state", header)).status, 401);
  }
  EXPECT_EQ(ask(get_text("/health")).status, 200);
  EXPECT_EQ(post("/v1/completions", body, "Authorization: Bearer one-key\r\n").status, 200);
  const ServingRequest first = generator_->last_request;
  EXPECT_EQ(post("/v1/completions", body, "authorization: bearer another\r\n").status, 200);
  EXPECT_NE(first.prefix_scope, generator_->last_request.prefix_scope);
  EXPECT_NE(first.client, generator_->last_request.client);
  EXPECT_EQ(first.prefix_scope.find("one-key"), std::string::npos) << "keys stay out of the engine";
}

class RevokeTest : public AppTest {
 protected:
  static constexpr const char* kPath = "/tiers/revoke";
  static constexpr const char* kAdmin = "Authorization: Bearer admin\r\n";

  void start_with_keys() {
    AppOptions options;
    options.keys.add("user", "test");
    options.admin_keys.add("admin", "test");
    start(std::move(options));
  }
  // Asked, and the engine has heard of it; the answer is not there yet.
  void ask_for(HttpClient& client, const std::string& tier) {
    client.send(post_text(kPath, R"({"tier":")" + tier + "\"}", kAdmin));
    wait_until([&] { return generator_->revoked() == tier; });
    EXPECT_EQ(client.read_until("\r\n", 0.05), "");
  }
};

TEST_F(RevokeTest, NobodyMayWithoutAnAdminKey) {
  AppOptions options;
  options.keys.add("user", "test");
  start(std::move(options));
  const std::string body = R"({"tier":"host"})";
  const auto [message, param] = refused(post(kPath, body, "Authorization: Bearer user\r\n"), 403);
  EXPECT_NE(message.find("--admin-key-file"), std::string::npos) << message;
  refused(post(kPath, body), 403);
  EXPECT_EQ(generator_->revoked(), "");
}

TEST_F(RevokeTest, OnlyAnAdminKeyMay) {
  start_with_keys();
  const std::string body = R"({"tier":"host"})";
  refused(post(kPath, body), 401);
  refused(post(kPath, body, "Authorization: Bearer wrong\r\n"), 401);
  refused(post(kPath, body, "Authorization: Bearer user\r\n"), 403);
  refused(post("/v1/completions", R"({"prompt":"a"})", kAdmin), 401);
  EXPECT_EQ(refused(post(kPath, "{}", kAdmin), 400).second, "tier");
  EXPECT_EQ(refused(post(kPath, R"({"tier":3})", kAdmin), 400).second, "tier");
  refused(post(kPath, R"({"tier":"host","now":true})", kAdmin), 400);
  EXPECT_EQ(generator_->revoked(), "");
}

TEST_F(RevokeTest, AnswersWhenTheTierIsEmptyAndServesMeanwhile) {
  start_with_keys();
  HttpClient client(server_->port());
  ask_for(client, "host");
  EXPECT_EQ(
      post("/v1/completions", R"({"prompt":"a","max_tokens":2})", "Authorization: Bearer user\r\n")
          .status,
      200);
  generator_->end_revoke(nullptr);
  const HttpAnswer answer = client.answer();
  EXPECT_EQ(answer.status, 200);
  const Json json = Json::parse(answer.body);
  EXPECT_EQ(json.at("tier"), "host");
  EXPECT_EQ(json.at("tiers").at(1).at("name"), "host");
}

TEST_F(RevokeTest, TellsWhyNot) {
  start_with_keys();
  const std::pair<ErrorCode, int> errors[] = {{ErrorCode::kNotFound, 404},
                                              {ErrorCode::kResourceExhausted, 409},
                                              {ErrorCode::kUnsupported, 400}};
  for (const auto& [code, status] : errors) {
    const std::string tier = fmt::format("tier-{}", status);
    HttpClient client(server_->port());
    ask_for(client, tier);
    generator_->end_revoke(std::make_exception_ptr(Error(code, {.problem = "is a test"})));
    EXPECT_NE(refused(client.answer(), status).first.find("is a test"), std::string::npos);
  }
}

TEST_F(RevokeTest, AnEngineThatEndsAnswers503) {
  start_with_keys();
  HttpClient client(server_->port());
  ask_for(client, "host");
  generator_->break_revoke();
  refused(client.answer(), 503);
}

TEST_F(RevokeTest, NobodyWaitsForAnEngineThatNeverAnswers) {
  start_with_keys();
  HttpClient client(server_->port());
  ask_for(client, "host");
  app_->stop();  // would hang
}

TEST_F(AppTest, OtherOriginsOnlyIfAllowed) {
  start();
  HttpAnswer answer = ask(get_text("/v1/models", "Origin: https://a.example\r\n"));
  EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
  EXPECT_EQ(ask("OPTIONS /v1/models HTTP/1.1\r\nHost: t\r\n\r\n").status, 405);
  TearDown();
  AppOptions options;
  options.cors_origins.add("https://A.example:443", "test");
  start(std::move(options));
  answer = ask("OPTIONS /v1/completions HTTP/1.1\r\nHost: t\r\nOrigin: https://a.example\r\n\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "https://a.example");
  answer =
      post("/v1/completions", R"({"prompt":"a","stream":true})", "Origin: https://a.example\r\n");
  EXPECT_EQ(answer.headers.at("access-control-allow-origin"), "https://a.example");
  answer = ask(get_text("/v1/models", "Origin: https://b.example\r\n"));
  EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
}

TEST_F(AppTest, OriginsAreThoseThatBrowsersSend) {
  const std::pair<const char*, const char*> known[] = {
      {"https://a.example", "https://a.example"},
      {"HTTP://A.Example:8080", "http://a.example:8080"},
      {"http://a.example:80", "http://a.example"},
      {"https://a.example:80", "https://a.example:80"},
      {"http://[::1]:80", "http://[::1]"},
      {"http://[::1]:3000", "http://[::1]:3000"},
      {"chrome-extension://abcdef", "chrome-extension://abcdef"}};
  for (const auto& [given, sent] : known) {
    CorsOrigins origins;
    origins.add(given, "--cors-origin");
    EXPECT_EQ(origins.allowed(sent), sent) << given;
    EXPECT_EQ(origins.allowed("https://b.example"), "");
    EXPECT_EQ(origins.allowed(""), "");
  }
  CorsOrigins any;
  any.add("*", "--cors-origin");
  EXPECT_EQ(any.allowed("https://b.example"), "*");
  for (const std::string bad :
       {"", "a.example", "https://", "https://a.example/", "https://a.example/page", "null", "**",
        "https://*.example", "https://a.example:", "https://a.example:99999", "https://u@a.example",
        "https://a b", "://a", "https:a.example", "https://a.example,https://b.example",
        "https://\xc3\xa4.example"}) {
    EXPECT_TRUE(test::throws_error(ErrorCode::kInvalidArgument,
                                   {"--cors-origin", "is no origin", "scheme://host[:port]"},
                                   [&] { CorsOrigins().add(bad, "--cors-origin"); }))
        << bad;
  }
}

TEST_F(AppTest, TheServerAnswersToItsOwnNamesAlone) {
  AppOptions options{.hosts = AllowedHosts()};
  options.hosts->add("Dak.Example", "test");
  start(std::move(options));
  const auto status = [this](const std::string& host, const std::string& target) {
    return ask("GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  for (const char* host : {"127.0.0.1", "127.8.9.1:80", "localhost", "LocalHost:8000", "localhost.",
                           "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]",
                           "dak.example", "DAK.example:443"}) {
    EXPECT_EQ(status(host, "/v1/models"), 200) << host;
  }
  for (const char* host : {"evil.example", "evil.example:8000", "localhost.evil.example", "0.0.0.0",
                           "127.0.0.1.evil.example", "192.168.0.1", "x.dak.example", "[::2]",
                           "notlocalhost", "128.0.0.1"}) {
    for (const char* path : {"/", "/health", "/v1/models", "/state", "/metrics", "/nope"}) {
      EXPECT_EQ(status(host, path), 403) << host << path;
    }
  }
  EXPECT_EQ(status("localhost", "http://evil.example/state"), 403);
  EXPECT_EQ(status("evil.example", "http://localhost/state"), 200);  // RFC 9112 3.2.2
  EXPECT_EQ(ask("GET /v1/models HTTP/1.0\r\n\r\n").status, 200);     // no browser's
  const auto [message, param] = refused(ask("POST /v1/completions HTTP/1.1\r\nHost: a.b\r\n"
                                            "Content-Length: 2\r\n\r\n{}"),
                                        403);
  EXPECT_NE(message.find("'a.b'"), std::string::npos) << message;
  EXPECT_NE(message.find("--allowed-host"), std::string::npos) << message;
}

TEST_F(AppTest, WhatIsNoHostIsNotAllowed) {
  AllowedHosts hosts;
  for (const char* host : {"", "a b", "a:80", "[::1]:80", "http://a", "a/b", "[::1"}) {
    EXPECT_THROW(hosts.add(host, "--allowed-host"), Error) << host;
  }
  hosts.add("::1", "--allowed-host");
  hosts.add("[fe80::1]", "--allowed-host");
  EXPECT_TRUE(hosts.allow("fe80::1"));
}

TEST_F(AppTest, OptionsOfTheServerItself) {
  start();
  const HttpAnswer answer = ask("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_EQ(answer.headers.at("allow"), "GET, HEAD, POST, OPTIONS");
}

TEST_F(AppTest, AKeyMayComeInEitherField) {
  AppOptions options;
  options.keys.add("one-key", "test");
  options.keys.add("other", "test");
  start(std::move(options));
  const auto status = [this](const std::string& fields) {
    return ask(get_text("/v1/models", fields)).status;
  };
  EXPECT_EQ(status("X-Api-Key: one-key\r\n"), 200);
  EXPECT_EQ(status("x-api-key: other\r\n"), 200);
  EXPECT_EQ(status("X-Api-Key: one-key\r\nAuthorization: Bearer one-key\r\n"), 200);
  EXPECT_EQ(status("X-Api-Key: one-key\r\nAuthorization: Basic eDp5\r\n"), 200);
  EXPECT_EQ(status("X-Api-Key: one-ke\r\n"), 401);
  EXPECT_EQ(status("X-Api-Key: Bearer one-key\r\n"), 401);
  EXPECT_EQ(status("X-Api-Key:\r\n"), 401);
  EXPECT_EQ(status("X-Api-Key: one-key\r\nX-Api-Key: other\r\n"), 400);
  const auto [message, param] = refused(
      ask(get_text("/v1/models", "X-Api-Key: one-key\r\nAuthorization: Bearer other\r\n")), 401);
  EXPECT_NE(message.find("two different keys"), std::string::npos) << message;
}

TEST_F(AppTest, CompressedBodiesAreRefusedByName) {
  start();
  for (const char* encoding : {"gzip", "deflate", "br", "identity, gzip", "zstd"}) {
    const HttpAnswer answer = post("/v1/completions", R"({"prompt":"a"})",
                                   fmt::format("Content-Encoding: {}\r\n", encoding));
    EXPECT_NE(refused(answer, 415).first.find("Content-Encoding"), std::string::npos);
    EXPECT_EQ(answer.headers.at("accept-encoding"), "identity");
  }
  EXPECT_EQ(
      post("/v1/completions", R"({"prompt":"a","max_tokens":2})", "Content-Encoding: identity\r\n")
          .status,
      200);
}

TEST_F(AppTest, AClientThatLeavesIsCancelled) {
  start({}, {.probe_time = milliseconds(100)});
  for (const char* stream : {"true", "false"}) {
    const int before = generator_->cancelled;
    {
      const HttpClient one(server_->port());
      one.send(post_text("/v1/completions", fmt::format(R"({{"prompt":"a","max_tokens":100000,
                                                          "n":2,"stream":{}}})",
                                                        stream)));
      wait_until([this] { return generator_->stats().running == 2; });
    }
    wait_until([&] { return generator_->cancelled == before + 2; });
    wait_until([this] { return generator_->stats().running == 0; });
  }
  EXPECT_EQ(metric(R"(dak_http_requests_total{route="/v1/completions",code="499"})"), 2);
}

TEST_F(AppTest, ASlowReaderIsCutOffAndOthersAreNot) {
  start({}, {.write_time = milliseconds(2000)}, std::chrono::microseconds(20));
  HttpClient slow(server_->port(), 4096);
  slow.send(post_text("/v1/completions", R"({"prompt":[1],"max_tokens":1000000,"stream":true})"));
  HttpClient quick(server_->port());
  quick.send(post_text("/v1/completions", R"({"prompt":[2],"max_tokens":3000,"stream":true})"));
  EXPECT_EQ(events_of(quick.answer(30).body).size(), 3001U);
  wait_until([this] { return generator_->cancelled == 1; });
  EXPECT_EQ(metric("dak_slow_readers_total"), 1);
}

TEST_F(AppTest, ToolCallsOfATemplateWithoutToolsAreText) {
  start();
  generator_->say({"<tool_call>", "x"});
  const Json json = Json::parse(post("/v1/chat/completions", "{" + kHi + "}").body);
  EXPECT_EQ(json["choices"][0]["message"]["content"], "<tool_call>x");
}

TEST_F(AppTest, ALoadIsAnsweredAndTimed) {
  AppOptions with_key;
  with_key.keys.add("k", "test");
  start(std::move(with_key));
  ServeLoad load{.port = server_->port(), .key = "k", .requests = 30, .concurrency = 4};
  load.prompt_tokens = {.low = 5, .high = 9};
  load.output_tokens = {.low = 2, .high = 6};
  load.vocabulary = ask_tokens(load, "hello you");
  EXPECT_FALSE(load.vocabulary.empty());
  struct Case {
    double rate;
    int64_t threads, concurrency;
  };
  for (const auto& [rate, threads, concurrency] :
       {Case{0, 1, 4}, Case{200, 1, 4}, Case{0, 3, 4}, Case{0, 3, 2}, Case{200, 3, 0}}) {
    load.rate_per_s = rate;
    load.threads = threads;
    load.concurrency = concurrency;
    const std::vector<LoadResult> results = generate_load(load);
    ASSERT_EQ(results.size(), 30U);
    for (const LoadResult& result : results) {
      EXPECT_EQ(result.error, "");
      EXPECT_GE(result.prompt_tokens, 5);
      EXPECT_LE(result.prompt_tokens, 9);
      EXPECT_EQ(std::ssize(result.between_s), result.output_tokens - 1);
      EXPECT_GT(result.first_s, 0);
      EXPECT_GE(result.whole_s, result.first_s);
    }
    EXPECT_LT(results.front().due_s, 0.1);
    if (rate > 0) {
      EXPECT_NEAR(results.back().due_s, 29 / rate, 20 / rate);
    }
  }
  load.rate_per_s = 0;
  load.concurrency = 4;
  load.key = "wrong";
  EXPECT_NE(generate_load(load)[0].error.find("401"), std::string::npos);
  EXPECT_TRUE(test::throws_error(ErrorCode::kIo, "401", [&] { ask_tokens(load, "x"); }));
  load.port = 1;
  EXPECT_TRUE(test::throws_error(ErrorCode::kIo, "127.0.0.1:1", [&] { ask_tokens(load, "x"); }));
}

TEST_F(AppTest, ToolCallsWholeAndStreamed) {
  start({}, {}, milliseconds(5), true, tiny_tool_engine());
  const std::string fields = kHi + R"(,"tools":[{"type":"function","function":{"name":"f"}}])";
  const std::string call = R"({"name": "f", "arguments": {"x": 1}})";
  generator_->say({"Let me", " look.\n<tool", "_call>\n" + call, "\n</tool_call>\n<tool_call>",
                   call, "</tool_call>", "", ""});
  const Json whole = Json::parse(post("/v1/chat/completions", "{" + fields + "}").body);
  const Json& message = whole["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Let me look.");
  ASSERT_EQ(message["tool_calls"].size(), 2U);
  EXPECT_EQ(message["tool_calls"][1]["function"]["name"], "f");
  EXPECT_EQ(message["tool_calls"][1]["function"]["arguments"], R"({"x": 1})");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(generator_->last_request.constraint, nullptr);

  std::string text, reason;
  std::vector<std::string> calls;  // by their numbers
  for (const Json& event :
       events_of(post("/v1/chat/completions", "{" + fields + R"(,"stream":true})").body)) {
    const Json& choice = event["choices"][0];
    text += choice["delta"].value("content", "");
    if (choice["delta"].contains("tool_calls")) {
      const Json& call_delta = choice["delta"]["tool_calls"][0];
      const auto number = call_delta["index"].get<size_t>();
      if (number == calls.size()) {
        calls.push_back(call_delta["function"]["name"].get<std::string>() + " ");
        EXPECT_TRUE(call_delta.contains("id"));
      }
      calls.at(number) += call_delta["function"]["arguments"].get<std::string>();
    }
    if (!choice["finish_reason"].is_null()) reason = choice["finish_reason"];
  }
  EXPECT_EQ(text, "Let me look.");
  EXPECT_EQ(calls, (std::vector<std::string>(2, R"(f {"x": 1})")));
  EXPECT_EQ(reason, "tool_calls");

  const std::string counted = R"(,"stream":true,"stream_options":{"continuous_usage_stats":true}})";
  for (const Json& event : events_of(post("/v1/chat/completions", "{" + fields + counted).body)) {
    EXPECT_TRUE(event["usage"].is_object()) << event;
  }

  const Json one = Json::parse(
      post("/v1/chat/completions", "{" + fields + R"(,"parallel_tool_calls":false})").body);
  EXPECT_EQ(one["choices"][0]["message"]["tool_calls"].size(), 1U);
  EXPECT_EQ(one["choices"][0]["finish_reason"], "tool_calls");

  post("/v1/chat/completions", "{" + fields + R"(,"tool_choice":"required"})");
  EXPECT_NE(generator_->last_request.constraint, nullptr);
  refused(
      post("/v1/chat/completions", "{" + fields + R"(,"response_format":{"type":"json_object"}})"),
      400);
}

// A call that is cut off is no text, what had come of its arguments is there, and the answer says
// that it was cut off, whole and streamed.
// A template for tools that cannot be used refuses conversations with tools, and no others; one for
// all others refuses those, and none with tools.
TEST_F(AppTest, ATemplateThatCannotBeUsedRefusesWhatNeedsIt) {
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],)";
  const auto status_of = [&](const Engine& engine, const std::string& members) {
    TearDown();
    start({}, {}, milliseconds(1), true, engine);
    return post("/v1/chat/completions", "{" + members + R"("max_tokens":1,)" + kHi + "}");
  };
  const std::string good =
      read_text_file(std::string(DAK_TEST_DATA) + "/text/templates/calls_tagged.jinja");
  const std::string bad = "{{ messages | random }}";
  const Engine without = tool_engine("calls_tagged.jinja", "", {.tool_use = bad});
  EXPECT_EQ(status_of(without, "").status, 200);
  const auto [why, param] = refused(status_of(without, tools), 400);
  EXPECT_NE(why.find("the tool_use template of 'tiny' cannot be used: "), std::string::npos) << why;
  EXPECT_NE(why.find("the filter 'random', which would make another prompt each time, is not"),
            std::string::npos)
      << why;
  EXPECT_EQ(param, "tools");
  const Engine with = tool_engine("calls_tagged.jinja", "", {.chat = bad, .tool_use = good});
  EXPECT_EQ(status_of(with, tools).status, 200);
  const auto [why_chat, param_chat] = refused(status_of(with, ""), 400);
  EXPECT_NE(why_chat.find("the chat template of 'tiny' cannot be used: "), std::string::npos);
  EXPECT_EQ(param_chat, "messages");
  // The template's reason comes before what it does not read.
  const auto extra = status_of(with, R"("chat_template_kwargs":{"x":1},"reasoning_effort":"low",)");
  EXPECT_NE(refused(extra, 400).first.find("random"), std::string::npos);
  TearDown();
  server_.reset();
}

TEST_F(AppTest, CallsThatAreCutOff) {
  start({}, {}, milliseconds(1), true, tiny_tool_engine());
  const std::string call = R"(<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>)";
  generator_->say({call.substr(0, 10), call.substr(10, 30), call.substr(40), "<tool_call>{\"na",
                   R"(me": "f", "argu)", R"(ments": {"x": 1)", "}}</tool_call>"});
  const std::pair<int, std::vector<std::string>> kCuts[] = {
      {1, {}},
      {2, {R"({")"}},
      {3, {R"({"x": 1})"}},
      {4, {R"({"x": 1})"}},
      {6, {R"({"x": 1})", R"({"x": 1)"}},
      {7, {R"({"x": 1})", R"({"x": 1})"}},
  };
  for (const auto& [tokens, wanted] : kCuts) {
    SCOPED_TRACE(tokens);
    const std::string fields =
        kHi + R"(,"tools":[{"type":"function","function":{"name":"f"}}],"max_tokens":)" +
        std::to_string(tokens);
    const Json whole = Json::parse(post("/v1/chat/completions", "{" + fields + "}").body);
    const Json& choice = whole["choices"][0];
    std::vector<std::string> arguments;
    for (const Json& one : choice["message"].value("tool_calls", Json::array())) {
      arguments.push_back(one["function"]["arguments"]);
    }
    EXPECT_EQ(arguments, wanted);
    EXPECT_EQ(choice["message"]["content"], wanted.empty() ? Json("") : Json(nullptr));
    const std::string reason = tokens == 7 ? "tool_calls" : "length";
    EXPECT_EQ(choice["finish_reason"], reason);
    std::string streamed, end;
    for (const Json& event :
         events_of(post("/v1/chat/completions", "{" + fields + R"(,"stream":true})").body)) {
      const Json& delta = event["choices"][0]["delta"];
      EXPECT_EQ(delta.value("content", ""), "");
      if (delta.contains("tool_calls")) {
        streamed += delta["tool_calls"][0]["function"]["arguments"];
      }
      if (!event["choices"][0]["finish_reason"].is_null()) {
        end = event["choices"][0]["finish_reason"];
      }
    }
    EXPECT_EQ(streamed, fmt::format("{}", fmt::join(wanted, "")));
    EXPECT_EQ(end, reason);
  }
}

TEST_F(AppTest, ReasoningIsAFieldOfItsOwn) {
  start({}, {}, milliseconds(1), true, tiny_tool_engine());
  generator_->say({"<th", "ink>\n", "One and ", "one.\n</thi", "nk>\n\n", "Two", "."});
  const Json whole = Json::parse(post("/v1/chat/completions", "{" + kHi + "}").body);
  const Json& message = whole["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Two.");
  EXPECT_EQ(message["reasoning_content"], "One and one.");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(whole["usage"]["completion_tokens"], 7);
  EXPECT_EQ(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
  std::string text, reasoning;
  for (const Json& event :
       events_of(post("/v1/chat/completions", "{" + kHi + R"(,"stream":true})").body)) {
    const Json& delta = event["choices"][0]["delta"];
    if (delta.contains("reasoning_content")) {
      EXPECT_EQ(text, "");
    }
    text += delta.value("content", "");
    reasoning += delta.value("reasoning_content", "");
  }
  EXPECT_EQ(text, "Two.");
  EXPECT_EQ(reasoning, "One and one.");
  // Without an end it is reasoning.
  const Json cut =
      Json::parse(post("/v1/chat/completions", "{" + kHi + R"(,"max_tokens":3})").body);
  EXPECT_EQ(cut["choices"][0]["message"]["content"], "");
  EXPECT_EQ(cut["choices"][0]["message"]["reasoning_content"], "One and");
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "length");
}

// Follows a constraint along a text, taking at each step the longest token that it allows; says
// what it came to.
std::string followed(TokenConstraint& constraint, const Engine& engine, std::string_view text) {
  std::string out;
  const int size = engine.tokenizer().vocabulary_size();
  while (out.size() < text.size()) {
    std::vector<uint64_t> bits((static_cast<size_t>(size) + 63) / 64);
    constraint.allow(bits);
    TokenId best = -1;
    std::string best_text;
    for (TokenId token = 0; token < size; ++token) {
      if ((bits[static_cast<size_t>(token) / 64] >> (token % 64) & 1) == 0) continue;
      const std::string piece = engine.tokenizer().decode(std::span(&token, 1), false);
      if (piece.size() <= best_text.size() || !text.substr(out.size()).starts_with(piece)) continue;
      best = token;
      best_text = piece;
    }
    if (best < 0) break;
    constraint.accept(best);
    out += best_text;
  }
  return out;
}

// Schemas and tool_choice hold what follows the reasoning, which may be left out.
TEST_F(AppTest, ConstraintsBeginBehindReasoning) {
  start({}, {}, milliseconds(1), true, tiny_tool_engine());
  const auto held = [&](const std::string& fields, const std::string& answer) {
    const HttpAnswer said = post("/v1/chat/completions", "{" + kHi + fields + "}");
    EXPECT_EQ(said.status, 200) << said.body;
    TokenConstraint* constraint = generator_->last_request.constraint.get();
    EXPECT_NE(constraint, nullptr) << fields;
    return constraint == nullptr ? "" : followed(*constraint, tiny_tool_engine(), answer);
  };
  const std::string object = R"(,"response_format":{"type":"json_object"})";
  const std::string tools = R"(,"tools":[{"type":"function","function":{"name":"f"}}],)"
                            R"("tool_choice":"required")";
  const std::string thought = "<think>\nNot {yet}: <tool_call>.\n</think>\n\n";
  const std::string call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
  for (const std::string& before : {std::string(), thought}) {
    EXPECT_EQ(held(object, before + R"({"a": 1})"), before + R"({"a": 1})");
    EXPECT_EQ(held(object, before + "Hello"), before);
    EXPECT_EQ(held(tools, before + call), before + call);
    EXPECT_EQ(held(tools, before + "<tool_call>\nf"), before + "<tool_call>\n");
  }
  const std::string off = R"(,"chat_template_kwargs":{"enable_thinking":false})";
  EXPECT_EQ(held(object + off, R"({"a": 1})"), R"({"a": 1})");
}

TEST_F(AppTest, MistralsCallsAreHeldToTheirForm) {
  const std::string tools = kHi + R"(,"tools":[{"type":"function","function":{"name":"f"}},
                         {"type":"function","function":{"name":"g"}}])";
  const std::string f = R"({"name": "f", "arguments": {"x": 1}})";
  const std::string g = R"({"name": "g", "arguments": {}})";
  for (const bool special : {true, false}) {
    SCOPED_TRACE(special ? "a special token opens" : "text opens");
    const Engine engine = tool_engine("calls_listed.jinja", special ? "[TOOL_CALLS]" : "");
    start({}, {}, milliseconds(1), true, engine);
    const auto holds_to = [&](const std::string& fields, const std::string& answer) {
      const HttpAnswer said = post("/v1/chat/completions", "{" + tools + fields + "}");
      EXPECT_EQ(said.status, 200) << said.body;
      TokenConstraint* constraint = generator_->last_request.constraint.get();
      EXPECT_NE(constraint, nullptr) << fields;
      return constraint == nullptr ? "" : followed(*constraint, engine, "[TOOL_CALLS]" + answer);
    };
    const std::string both = "[" + f + ", " + g + "]";
    EXPECT_EQ(holds_to(R"(,"tool_choice":"required")", " " + both), "[TOOL_CALLS] " + both);
    const std::string one = "[TOOL_CALLS][" + f;
    EXPECT_EQ(holds_to(R"(,"tool_choice":"required","parallel_tool_calls":false)", both), one);
    const std::string named = R"(,"tool_choice":{"type":"function","function":{"name":"f"}})";
    EXPECT_EQ(holds_to(named, both), one);
    EXPECT_EQ(holds_to(named, "[" + f + "]"), one + "]");
    EXPECT_EQ(holds_to(named, "[" + g), R"([TOOL_CALLS][{"name": ")");
    EXPECT_EQ(holds_to(named, "Hello"), "[TOOL_CALLS]");

    // Two calls, of which one was wanted; the special token is text where calls are read.
    EXPECT_EQ(generator_->last_request.shown.size(), special ? 1U : 0U);
    generator_->say({"[TOOL_CALLS]", " " + both.substr(0, 20), both.substr(20)});
    for (const bool parallel : {true, false}) {
      const Json whole =
          Json::parse(post("/v1/chat/completions",
                           fmt::format(R"({{{},"parallel_tool_calls":{}}})", tools, parallel))
                          .body);
      const Json& choice = whole["choices"][0];
      ASSERT_EQ(choice["message"]["tool_calls"].size(), parallel ? 2U : 1U);
      EXPECT_EQ(choice["message"]["tool_calls"][0]["function"]["arguments"], R"({"x": 1})");
      EXPECT_EQ(choice["finish_reason"], "tool_calls");
    }
    TearDown();
  }
}

// Every connection reads a stream of its own; none may miss a token or see another's.
TEST_F(AppTest, AThousandStreamsAtOnce) {
  constexpr int kStreams = 1000;
  constexpr int kTokens = 20;
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = std::min<rlim_t>(files.rlim_max, 4096);
  setrlimit(RLIMIT_NOFILE, &files);
  ASSERT_GE(files.rlim_cur, 2U * kStreams + 50) << "ulimit -n";
  start({}, {}, milliseconds(5));
  std::vector<HttpClient> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.emplace_back(server_->port());
    clients.back().send(post_text(
        "/v1/completions", fmt::format(R"({{"prompt":[{},{}],"max_tokens":{},"stream":true}})",
                                       i / 100, i % 100, kTokens)));
  }
  for (int i = 0; i < kStreams; ++i) {
    const HttpAnswer answer = clients[static_cast<size_t>(i)].answer(60);
    ASSERT_TRUE(answer.complete) << i;
    std::string text;
    for (const Json& event : events_of(answer.body)) text += event["choices"][0]["text"];
    std::string wanted;
    for (int k = 0; k < kTokens; ++k) wanted += ScriptedGenerator::text_of({i / 100, i % 100}, k);
    ASSERT_EQ(text, wanted);
  }
  EXPECT_EQ(generator_->cancelled, 0);
}

}  // namespace
}  // namespace dak
