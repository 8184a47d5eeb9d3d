#include "engine/scheduler.h"

#include <condition_variable>
#include <mutex>
#include <unordered_set>

#include "engine/serving_queue.h"

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

Error error_of(ErrorCode code, std::string_view problem, std::string_view fix = {}) {
  return {code,
          {.where = "request",
           .field = {},
           .value = {},
           .problem = std::string(problem),
           .fix = std::string(fix)}};
}

}  // namespace

struct Scheduler::State {
  Engine& engine;
  SchedulerOptions options;
  Session session;

  mutable std::mutex mutex;
  std::condition_variable changed;
  ServingQueue queue;
  RequestId next_id = 1;
  RequestId current = 0;
  std::atomic<bool> cancel_current{false};
  std::optional<Clock::time_point> drain_until;
  ServingStats stats;

  void run_one(const QueuedRequest& queued);
};

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options)
    : state_(new State{.engine = engine, .options = options, .session = Session(engine)}) {}
Scheduler::~Scheduler() = default;

RequestId Scheduler::submit(ServingRequest request) {
  State& s = *state_;
  check_request({.prompt = request.prompt,
                 .sampling = request.sampling,
                 .max_tokens = request.max_tokens,
                 .stop = request.stop},
                s.engine);
  const std::lock_guard lock(s.mutex);
  if (s.drain_until) throw error_of(ErrorCode::kUnavailable, "the server is shutting down");
  if (s.queue.size() >= s.options.max_queued) {
    throw error_of(ErrorCode::kResourceExhausted,
                   fmt::format("{} requests wait already", s.queue.size()), "try again later");
  }
  const RequestId id = s.next_id++;
  s.queue.push({.id = id, .request = std::move(request)});
  s.changed.notify_one();
  return id;
}

void Scheduler::cancel(RequestId id) {
  State& s = *state_;
  std::optional<QueuedRequest> removed;
  {
    const std::lock_guard lock(s.mutex);
    removed = s.queue.remove(id);
    if (s.current == id) s.cancel_current = true;
  }
  if (!removed) return;
  ServingEvent event{.request = id, .kind = ServingEvent::Kind::kFinished};
  event.reason = FinishReason::kCancelled;
  if (removed->request.on_event) removed->request.on_event(event);
}

void Scheduler::run() {
  State& s = *state_;
  while (true) {
    std::unique_lock lock(s.mutex);
    s.changed.wait(lock, [&] { return s.queue.size() > 0 || s.drain_until; });
    if (s.queue.size() == 0) return;
    const QueuedRequest queued = s.queue.pop();
    s.current = queued.id;
    s.cancel_current = false;
    lock.unlock();
    s.run_one(queued);
    lock.lock();
    s.current = 0;
  }
}

void Scheduler::State::run_one(const QueuedRequest& queued) {
  const ServingRequest& request = queued.request;
  const auto tell = [&](const ServingEvent& event) {
    if (request.on_event) request.on_event(event);
  };
  ServingEvent event{.request = queued.id, .kind = ServingEvent::Kind::kStarted};
  event.prompt_tokens = std::ssize(request.prompt);
  tell(event);
  GenerateRequest generate{.prompt = request.prompt,
                           .sampling = request.sampling,
                           .max_tokens = request.max_tokens,
                           .stop = request.stop,
                           .ignore_eos = request.ignore_eos,
                           .cancel = &cancel_current};
  event.kind = ServingEvent::Kind::kToken;
  generate.on_token = [&](TokenId token, std::string_view text) {
    event.token = token;
    event.text = text;
    ++event.generated_tokens;
    tell(event);
  };
  try {
    const GenerateResult result = session.generate(generate);
    event.kind = ServingEvent::Kind::kFinished;
    event.text = {};
    event.reason = result.reason;
    event.reused_tokens = result.reused_tokens;
    event.generated_tokens = std::ssize(result.tokens);
    tell(event);
    const std::lock_guard lock(mutex);
    stats.requests_finished += 1;
    stats.generated_tokens += event.generated_tokens;
  } catch (const Error& error) {
    event.kind = ServingEvent::Kind::kFailed;
    event.error = &error;
    tell(event);
    const std::lock_guard lock(mutex);
    stats.requests_failed += 1;
  }
}

void Scheduler::drain(Clock::time_point until) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  s.drain_until = until;
  s.changed.notify_one();
}

ServingStats Scheduler::stats() const {
  const std::lock_guard lock(state_->mutex);
  ServingStats stats = state_->stats;
  stats.queued = state_->queue.size();
  stats.running = state_->current != 0 ? 1 : 0;
  return stats;
}

}  // namespace dak
