// A scheduler on a thread of its own, and what became of the requests given to it.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "scheduler/scheduler.h"

namespace dak::test {

struct Answer {
  std::vector<TokenId> tokens;  // without the end token
  std::string text;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> top;
  std::vector<TokenChances> prompt;
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;
  int64_t generated_tokens = 0;
  bool started = false;
  std::optional<FinishReason> reason;  // finished
  std::optional<ErrorCode> error;      // failed
  std::string message;
  int ends = 0;  // must be 1

  bool over() const { return ends > 0; }
};

class Serving {
 public:
  explicit Serving(Engine& engine, const SchedulerOptions& options = {})
      : scheduler_(engine, options) {}
  ~Serving() { stop(); }

  // Requests submitted before it wait for it.
  void start() {
    thread_ = std::thread([this] {
      try {
        scheduler_.run();
      } catch (const Error& error) {
        const std::lock_guard lock(mutex_);
        thrown_ = error.what();
      }
    });
  }
  void stop() {
    if (!thread_.joinable()) return;
    scheduler_.drain(std::chrono::steady_clock::now());
    thread_.join();
  }

  // `on_event` comes after the answer has been noted, under no lock.
  size_t submit(ServingRequest request, std::function<void(const ServingEvent&)> on_event = {}) {
    size_t index = 0;
    {
      const std::lock_guard lock(mutex_);
      index = answers_.size();
      answers_.emplace_back();
    }
    request.on_event = [this, index, on_event](const ServingEvent& event) {
      note(index, event);
      if (on_event) on_event(event);
    };
    const RequestId id = scheduler_.submit(std::move(request));
    const std::lock_guard lock(mutex_);
    ids_[index] = id;
    return index;
  }
  void cancel(size_t index) {
    RequestId id = 0;
    {
      const std::lock_guard lock(mutex_);
      id = ids_.at(index);
    }
    scheduler_.cancel(id);
  }
  Answer wait(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answers_.at(index).over(); });
    return answers_.at(index);
  }
  void wait_until(const std::function<bool(const std::vector<Answer>&)>& holds) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return holds(answers_); });
  }
  std::vector<Answer> answers() {
    const std::lock_guard lock(mutex_);
    return answers_;
  }
  std::string thrown() {
    const std::lock_guard lock(mutex_);
    return thrown_;
  }
  Scheduler& scheduler() { return scheduler_; }

 private:
  void note(size_t index, const ServingEvent& event) {
    const std::lock_guard lock(mutex_);
    Answer& answer = answers_.at(index);
    answer.prompt_tokens = event.prompt_tokens;
    answer.reused_tokens = event.reused_tokens;
    answer.generated_tokens = event.generated_tokens;
    answer.text += event.text;
    switch (event.kind) {
      case ServingEvent::Kind::kStarted:
        answer.started = true;
        break;
      case ServingEvent::Kind::kPrompt:
        EXPECT_TRUE(answer.tokens.empty() && answer.prompt.empty());
        answer.prompt.assign(event.prompt.begin(), event.prompt.end());
        break;
      case ServingEvent::Kind::kToken:
        answer.tokens.push_back(event.token);
        answer.logprobs.push_back(event.logprob);
        answer.top.emplace_back(event.top.begin(), event.top.end());
        break;
      case ServingEvent::Kind::kFinished:
        answer.reason = event.reason;
        ++answer.ends;
        break;
      case ServingEvent::Kind::kFailed:
        answer.error = event.error->code();
        answer.message = event.error->what();
        ++answer.ends;
        break;
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Answer> answers_;
  std::map<size_t, RequestId> ids_;
  std::string thrown_;
  Scheduler scheduler_;
  std::thread thread_;
};

}  // namespace dak::test
