// Stands in for a scheduler: each request's answer tells whose it is and how far it has come, so
// that a test sees any token that is lost, doubled or another's.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "server/generator.h"

namespace dak {

class ScriptedGenerator final : public Generator {
 public:
  explicit ScriptedGenerator(std::chrono::microseconds pace = std::chrono::milliseconds(1))
      : pace_(pace), thread_([this] { run(); }) {}
  ~ScriptedGenerator() override {
    ended_ = true;
    thread_.join();
  }

  // Token k of the answer to the prompt {1, 2, 3}: "1.2.3:k;".
  static std::string text_of(const std::vector<TokenId>& prompt, int64_t k) {
    return fmt::format("{}:{};", fmt::join(prompt, "."), k);
  }

  RequestId submit(ServingRequest request) override {
    const std::lock_guard lock(mutex_);
    if (std::ssize(running_) >= most_) {
      throw Error(ErrorCode::kResourceExhausted, {"", "", "", "the queue is full", ""});
    }
    last_request = request;
    last_request.on_event = nullptr;
    std::shared_ptr<ReasoningText> reasoning;
    if (request.reasoning) reasoning = std::make_shared<ReasoningText>(*request.reasoning);
    running_[++last_id_] = {.request = std::move(request), .reasoning = std::move(reasoning)};
    return last_id_;
  }
  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(id);
    if (found == running_.end()) return;
    found->second.cancelled = true;
    ++cancelled;
  }
  ServingStats stats() const override {
    const std::lock_guard lock(mutex_);
    return {.running = std::ssize(running_)};
  }

  // Lasts until one of the next two.
  std::future<void> revoke_tier(std::string name) override {
    const std::lock_guard lock(mutex_);
    revoked_ = std::move(name);
    revoke_ = {};
    return revoke_.get_future();
  }
  void end_revoke(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (error) {
      revoke_.set_exception(std::move(error));
    } else {
      revoke_.set_value();
    }
  }
  void break_revoke() {
    const std::lock_guard lock(mutex_);
    revoke_ = {};
  }
  std::string revoked() const {
    const std::lock_guard lock(mutex_);
    return revoked_;
  }

  // Of requests from now on.
  void at_most(int64_t requests) { most_ = requests; }
  // Tokens come as these texts, instead of text_of.
  void say(std::vector<std::string> pieces) {
    const std::lock_guard lock(mutex_);
    pieces_ = std::move(pieces);
  }
  void fail_at(int64_t token) { fail_at_ = token; }

  std::atomic<int> cancelled = 0;
  ServingRequest last_request;  // read it while nothing is submitted

 private:
  struct Running {
    ServingRequest request;
    int64_t told = -1;                         // tokens; -1: not started
    std::shared_ptr<ReasoningText> reasoning;  // null: all is text
    int64_t reasoning_tokens = 0;
    bool cancelled = false;
  };

  void run() {
    while (!ended_) {
      std::map<RequestId, Running> round;
      {
        const std::lock_guard lock(mutex_);
        round = running_;
      }
      for (auto& [id, one] : round) {
        const bool over = step(id, one);
        const std::lock_guard lock(mutex_);
        if (over) {
          running_.erase(id);
        } else {
          running_[id].told = one.told;
          running_[id].reasoning_tokens = one.reasoning_tokens;
        }
      }
      std::this_thread::sleep_for(pace_);
    }
  }

  // True when that was its last event.
  bool step(RequestId id, Running& one) {
    ServingEvent event{.request = id,
                       .prompt_tokens = std::ssize(one.request.prompt),
                       .generated_tokens = std::max<int64_t>(one.told, 0),
                       .reasoning_tokens = one.reasoning_tokens};
    const auto tell = [&](ServingEvent::Kind kind) {
      event.kind = kind;
      one.request.on_event(event);
    };
    if (one.cancelled) {
      event.reason = FinishReason::kCancelled;
      tell(ServingEvent::Kind::kFinished);
      return true;
    }
    if (one.told < 0) {
      one.told = 0;
      tell(ServingEvent::Kind::kStarted);
      return false;
    }
    if (one.told == fail_at_) {
      const Error error(ErrorCode::kResourceExhausted, {"", "", "", "the cache is full", ""});
      event.error = &error;
      tell(ServingEvent::Kind::kFailed);
      return true;
    }
    const auto scripted = std::ssize(pieces_);
    int64_t end = scripted > 0 ? scripted : one.request.max_tokens;
    if (one.request.max_tokens > 0) end = std::min(end, one.request.max_tokens);
    if (one.told == end) {
      const bool full = scripted == 0 || end < scripted;
      event.reason = full ? FinishReason::kMaxTokens : FinishReason::kEos;
      ReasoningText::Step rest;
      if (one.reasoning) rest = one.reasoning->finish();
      event.text = rest.text;
      event.reasoning = rest.reasoning;
      tell(ServingEvent::Kind::kFinished);
      return true;
    }
    const std::string text = scripted > 0 ? pieces_[static_cast<size_t>(one.told)]
                                          : text_of(one.request.prompt, one.told);
    const TokenLogprob top[] = {{.token = 5, .logprob = -0.5f}, {.token = 6, .logprob = -1.0f}};
    ReasoningText::Step parts{.reasoning = {}, .text = text};
    if (one.reasoning) {
      const bool before = one.reasoning->inside();
      parts = one.reasoning->push(text);
      if (before || one.reasoning->inside()) ++one.reasoning_tokens;
    }
    event.text = parts.text;
    event.reasoning = parts.reasoning;
    event.reasoning_tokens = one.reasoning_tokens;
    event.token = 5;
    event.logprob = -0.5f;
    event.top = {top, one.request.top_logprobs > 0 ? size_t{2} : size_t{0}};
    event.generated_tokens = ++one.told;
    tell(ServingEvent::Kind::kToken);
    return false;
  }

  const std::chrono::microseconds pace_;
  mutable std::mutex mutex_;
  std::map<RequestId, Running> running_;
  std::vector<std::string> pieces_;
  std::promise<void> revoke_;
  std::string revoked_;
  RequestId last_id_ = 0;
  std::atomic<int64_t> most_ = 1 << 20;
  std::atomic<int64_t> fail_at_ = -2;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace dak
