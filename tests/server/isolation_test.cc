// Two keys on one server with a real engine: what one has cached gives the other no tokens, no
// pages and no time. Counted, not timed: a pass or a byte less would be a shorter wait.
#include <gtest/gtest.h>

#include <condition_variable>
#include <nlohmann/json.hpp>
#include <thread>

#include "live_server.h"

namespace dak {
namespace {

using Json = nlohmann::json;

std::vector<int> prompt_of(int64_t count, int seed) {
  std::vector<int> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(3 + static_cast<int>((i * 37 + seed * 101 + i * i % 11) % 280));
  }
  return tokens;
}

class Isolation : public testing::Test {
 protected:
  static AppOptions two_keys() {
    AppOptions options;
    options.keys.add("first-key", "test");
    options.keys.add("second-key", "test");
    return options;
  }

  std::string ask(const std::string& key, const std::string& text) {
    const HttpAnswer answer = server_.ask(text);
    EXPECT_EQ(answer.status, 200) << key << ": " << answer.body;
    return answer.body;
  }
  static std::string header(const std::string& key) {
    return "Authorization: Bearer " + key + "\r\n";
  }

  // What a request was told, and what it cost the engine.
  struct Cost {
    std::string text;
    int64_t cached_tokens = 0;
    int64_t passes = 0;
    std::array<int64_t, kMaxTiers> read_bytes{};  // by tier
    bool operator==(const Cost&) const = default;
  };
  Cost complete(const std::string& key, const std::vector<int>& prompt, int choices = 1) {
    const ServingStats before = idle_stats();
    const Json body{{"prompt", prompt},
                    {"max_tokens", 1},
                    {"temperature", 0},
                    {"n", choices},
                    {"ignore_eos", true}};
    const Json answer =
        Json::parse(ask(key, post_text("/v1/completions", body.dump(), header(key))));
    const ServingStats after = idle_stats();
    std::array<int64_t, kMaxTiers> read_bytes{};
    for (size_t i = 0; i < read_bytes.size(); ++i) {
      read_bytes[i] = after.traffic.read_bytes[i] - before.traffic.read_bytes[i];
    }
    return {.text = answer.at("choices").at(0).at("text"),
            .cached_tokens = answer.at("usage").at("prompt_tokens_details").at("cached_tokens"),
            .passes = after.passes - before.passes,
            .read_bytes = read_bytes};
  }
  ServingStats idle_stats() const { return server_.idle_stats(); }

  LiveServer server_{two_keys()};
};

TEST_F(Isolation, AnotherKeysPrefixSavesNothing) {
  const std::vector<int> prompt = prompt_of(200, 1);
  const Cost first = complete("first-key", prompt);
  const Cost again = complete("first-key", prompt);
  // The counters do tell: with the same key there is less to do.
  EXPECT_EQ(again.cached_tokens, 3 * kPageTokens);
  EXPECT_EQ(again.text, first.text);
  EXPECT_LT(again.passes, first.passes);
  EXPECT_LT(again.read_bytes[0], first.read_bytes[0]);
  const Cost other = complete("second-key", prompt);
  EXPECT_EQ(other, first);
  EXPECT_EQ(other.cached_tokens, 0);
  // No longer another's now, and still not the first one's.
  EXPECT_EQ(complete("second-key", prompt), again);
  // Of a prompt that begins alike as little.
  std::vector<int> longer = prompt;
  longer.resize(240, 9);
  const Cost own = complete("first-key", longer);
  EXPECT_EQ(own.cached_tokens, 3 * kPageTokens);
  longer.back() = 10;
  const Cost unknown = complete("second-key", longer);
  EXPECT_EQ(unknown.cached_tokens, 3 * kPageTokens) << "its own first pages";
}

// Requests that come together wait for pages that are under way: of their own key's alone.
TEST_F(Isolation, RequestsSideBySideDoNotShareAcrossKeys) {
  const std::vector<int> prompt = prompt_of(200, 2);
  const Cost pair = complete("first-key", prompt, 2);
  EXPECT_EQ(pair.cached_tokens, 0);
  const int64_t reused = idle_stats().reused_tokens;
  EXPECT_GE(reused, 2 * kPageTokens) << "the second of a pair found the first one's pages";

  // At the same time with two keys: hold the engine up until both are in the queue.
  const std::vector<int> fresh = prompt_of(200, 3);
  std::mutex mutex;
  std::condition_variable news;
  bool both = false;
  server_.generator().submit(
      {.prompt = {5, 6, 7}, .max_tokens = 1, .on_event = [&](const ServingEvent& event) {
         if (event.kind != ServingEvent::Kind::kStarted) return;
         std::unique_lock lock(mutex);
         news.wait(lock, [&] { return both; });
       }});
  std::vector<Json> answers(2);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < 2; ++i) {
    clients.emplace_back([&, i] {
      const std::string key = i == 0 ? "first-key" : "second-key";
      const Json body{{"prompt", fresh}, {"max_tokens", 1}};
      answers[i] = Json::parse(ask(key, post_text("/v1/completions", body.dump(), header(key))));
    });
  }
  for (int i = 0; i < 2000 && server_.scheduler().stats().queued < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  {
    const std::lock_guard lock(mutex);
    both = true;
  }
  news.notify_all();
  for (std::thread& client : clients) client.join();
  for (const Json& answer : answers) {
    EXPECT_EQ(answer.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0);
  }
  EXPECT_EQ(idle_stats().reused_tokens, reused);
}

// What a key's holder sees of the server as a whole are sums and gauges: no text, no token, no key,
// no name of a request. That the sums move while others work is the operator's view
// (docs/guide/serve.md).
TEST_F(Isolation, TheStateAndTheMetricsHoldNoRequests) {
  const Json state_before =
      Json::parse(ask("second-key", get_text("/state", header("second-key"))));
  const Json secret{{"prompt", "the secret word is xylophone"}, {"max_tokens", 3}};
  const Json answer = Json::parse(
      ask("first-key", post_text("/v1/completions", secret.dump(), header("first-key"))));
  idle_stats();
  const std::string state = ask("second-key", get_text("/state", header("second-key")));
  const std::string metrics = ask("second-key", get_text("/metrics", header("second-key")));
  for (const std::string& seen : {state, metrics}) {
    for (const std::string& word :
         {std::string("xylophone"), std::string("first-key"), std::string("second-key"),
          answer.at("id").get<std::string>(), std::string("127.0.0.1")}) {
      EXPECT_EQ(seen.find(word), std::string::npos) << word << " in " << seen;
    }
  }
  // The same fields whatever has run.
  const auto fields = [](const Json& json) {
    std::vector<std::string> names;
    const Json flat = json.flatten();
    for (const auto& [path, value] : flat.items()) {
      EXPECT_TRUE(value.is_number() || value.is_boolean() || path == "/model" ||
                  path == "/status" || path == "/tools" || path.ends_with("/name") ||
                  path.ends_with("/kind") || path.ends_with("/channel"))
          << path;
      names.push_back(path);
    }
    return names;
  };
  EXPECT_EQ(fields(Json::parse(state)), fields(state_before));
}

}  // namespace
}  // namespace dak
