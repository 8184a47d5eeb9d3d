// `dak serve` but for its flags: a tiny model's engine and its scheduler behind a real socket.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "http_client.h"
#include "server/app.h"

namespace dak {

class LiveServer {
 public:
  explicit LiveServer(AppOptions app = {}, ServiceOptions service = {.names = {"tiny"}},
                      const std::string& model = "/model/hf/smollm2")
      : engine_(
            open_model(std::string(DAK_TEST_DATA) + model, true),
            {.threads = 1, .kv_ratio = 0.5, .context = 256, .sequences = 4, .prefill_chunk = 32},
            cpu_tiers(1e9)),
        service_(engine_, generator_, std::move(service)),
        app_(std::move(app)),
        server_(
            "127.0.0.1", 0, HttpLimits(),
            [this](HttpRequest request, const std::shared_ptr<Exchange>& exchange) {
              app_.handle(std::move(request), exchange);
            },
            App::refusal) {
    app_.serve(service_, &server_);
    server_.start();
    engine_thread_ = std::thread([this] { scheduler_.run(); });
  }
  ~LiveServer() {
    scheduler_.drain(std::chrono::steady_clock::now());
    engine_thread_.join();
    server_.stop(std::chrono::milliseconds(0));
    app_.stop();
  }
  LiveServer(const LiveServer&) = delete;
  LiveServer& operator=(const LiveServer&) = delete;

  const Engine& engine() const { return engine_; }
  Scheduler& scheduler() { return scheduler_; }
  Generator& generator() { return generator_; }

  HttpAnswer ask(const std::string& text) {
    HttpClient client(server_.port());
    client.send(text);
    return client.answer(30);
  }
  // The body of an answer that is one.
  nlohmann::json post(const std::string& path, const nlohmann::json& body,
                      const std::string& headers = "") {
    const HttpAnswer answer = ask(post_text(path, body.dump(), headers));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return nlohmann::json::parse(answer.body);
  }
  // The parameter that a refused request is refused for, and why.
  std::pair<std::string, std::string> refused(const std::string& path, const nlohmann::json& body) {
    const HttpAnswer answer = ask(post_text(path, body.dump()));
    EXPECT_EQ(answer.status, 400) << answer.body;
    const nlohmann::json error = nlohmann::json::parse(answer.body).at("error");
    return {error.at("param").is_null() ? "" : error.at("param"), error.at("message")};
  }
  // Nothing runs, and what has run is counted.
  ServingStats idle_stats() const {
    ServingStats stats = scheduler_.stats();
    for (int i = 0; i < 2000 && stats.running + stats.queued > 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      stats = scheduler_.stats();
    }
    EXPECT_EQ(stats.running + stats.queued, 0);
    return stats;
  }

 private:
  Engine engine_;
  Scheduler scheduler_{engine_};
  SchedulerGenerator generator_{scheduler_};
  Service service_;
  App app_;
  HttpServer server_;
  std::thread engine_thread_;
};

}  // namespace dak
