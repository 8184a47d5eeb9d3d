#include "scheduler/scheduler.h"

#include <condition_variable>
#include <mutex>

#include "scheduler/loop.h"
#include "scheduler/queue.h"

namespace dak {
namespace {

using Clock = std::chrono::steady_clock;

Error refusal(ErrorCode code, std::string_view problem, std::string_view fix) {
  return {code,
          {.where = "server",
           .field = {},
           .value = {},
           .problem = std::string(problem),
           .fix = std::string(fix)}};
}

Error shutting_down() {
  return refusal(ErrorCode::kUnavailable, "is shutting down", "try another one");
}

}  // namespace

struct Scheduler::State {
  State(Engine& its_engine, const SchedulerOptions& its_options)
      : engine(its_engine), options(its_options), loop(its_engine, its_options) {
    stats = loop.stats();
  }

  Engine& engine;
  SchedulerOptions options;
  ServingLoop loop;  // the engine thread's

  mutable std::mutex mutex;  // of all below
  std::condition_variable news;
  ServingQueue queue;
  std::vector<RequestId> cancelled;
  RequestId next_id = 1;
  std::optional<Clock::time_point> drain_until;
  ServingStats stats;
  bool over = false;  // no step comes any more

  bool read_inbox();
  void end();
  void end_queued();
  void offer_queued();
  void fail_everything(const Error& error);
  void give_up(const Error& error);
  void publish();
};

Scheduler::Scheduler(Engine& engine, const SchedulerOptions& options) {
  if (options.max_queued < 1) {
    throw_invalid("scheduler", "max_queued", std::to_string(options.max_queued), "is not above 0");
  }
  state_ = std::make_unique<State>(engine, options);
}

Scheduler::~Scheduler() { state_->give_up(shutting_down()); }

RequestId Scheduler::submit(ServingRequest request) {
  State& s = *state_;
  check_serving_request(request, s.engine);
  const std::lock_guard lock(s.mutex);
  if (s.drain_until) throw shutting_down();
  if (s.queue.size() >= s.options.max_queued) {
    throw refusal(ErrorCode::kResourceExhausted,
                  fmt::format("{} requests wait already", s.queue.size()), "try again later");
  }
  const RequestId id = s.next_id++;
  s.queue.push({.id = id, .request = std::move(request)});
  s.news.notify_one();
  return id;
}

void Scheduler::cancel(RequestId id) {
  const std::lock_guard lock(state_->mutex);
  state_->cancelled.push_back(id);
  state_->news.notify_one();
}

std::future<void> Scheduler::revoke_tier(std::string name) {
  State& s = *state_;
  const std::lock_guard lock(s.mutex);
  if (s.over) throw shutting_down();
  std::future<void> done = s.engine.revoke_tier_soon(std::move(name));
  s.news.notify_one();
  return done;
}

void Scheduler::drain(Clock::time_point until) {
  const std::lock_guard lock(state_->mutex);
  state_->drain_until = until;
  state_->news.notify_one();
}

void Scheduler::run() {
  State& s = *state_;
  try {
    while (s.read_inbox()) s.loop.step();
    s.end();
    if (s.engine.revoke_wanted()) s.loop.step();  // somebody waits for the answer
  } catch (const Error& error) {
    s.give_up(error);
    throw;
  } catch (const std::exception& error) {
    s.give_up(refusal(ErrorCode::kInternal, error.what(), {}));
    throw;
  }
}

void Scheduler::State::end() {
  const std::lock_guard lock(mutex);
  over = true;
}

void Scheduler::State::give_up(const Error& error) {
  end();
  engine.refuse_revokes(error);
  try {
    fail_everything(error);
  } catch (const Error&) {
    // The same again: a lost GPU cannot take pages back either.
  }
}

// Waits for work; false: drained.
bool Scheduler::State::read_inbox() {
  publish();
  {
    std::unique_lock lock(mutex);
    const auto has_news = [this] {
      return queue.size() > 0 || !cancelled.empty() || drain_until || engine.revoke_wanted();
    };
    if (loop.idle() && !has_news()) {
      if (!news.wait_for(lock, ServingClock::kRest, has_news)) {
        stats = loop.stats();  // nothing runs any more: what the last second was is past
        news.wait(lock, has_news);
      }
      loop.wake();
    }
  }
  end_queued();
  offer_queued();
  publish();
  const std::lock_guard lock(mutex);
  return !drain_until || !loop.idle() || queue.size() > 0;
}

// Cancels, deadlines and the end of draining.
void Scheduler::State::end_queued() {
  const Clock::time_point now = Clock::now();
  std::vector<QueuedRequest> gone;
  std::vector<QueuedRequest> late;
  std::vector<QueuedRequest> left;
  std::vector<RequestId> running;
  bool drained = false;
  {
    const std::lock_guard lock(mutex);
    for (const RequestId id : cancelled) {
      if (std::optional<QueuedRequest> request = queue.remove(id)) {
        gone.push_back(std::move(*request));
      } else {
        running.push_back(id);
      }
    }
    cancelled.clear();
    late = queue.remove_expired(now);
    drained = drain_until && now >= *drain_until;
    if (drained) left = queue.remove_all();
  }
  for (const RequestId id : running) loop.cancel(id);
  for (QueuedRequest& request : gone) loop.cancel_unstarted(std::move(request));
  for (QueuedRequest& request : late) {
    loop.fail_unstarted(std::move(request), ServingLoop::deadline_error());
  }
  loop.expire(now);
  if (!drained) return;
  for (QueuedRequest& request : left) loop.fail_unstarted(std::move(request), shutting_down());
  loop.fail_all(shutting_down());
}

void Scheduler::State::offer_queued() {
  while (loop.wants_request()) {
    std::unique_lock lock(mutex);
    if (queue.size() == 0) return;
    QueuedRequest request = queue.pop();
    lock.unlock();
    loop.offer(std::move(request));
  }
}

// And takes no more.
void Scheduler::State::fail_everything(const Error& error) {
  std::vector<QueuedRequest> left;
  {
    const std::lock_guard lock(mutex);
    drain_until = Clock::time_point::min();
    left = queue.remove_all();
  }
  for (QueuedRequest& request : left) loop.fail_unstarted(std::move(request), error);
  loop.fail_all(error);
  publish();
}

void Scheduler::State::publish() {
  ServingStats now = loop.stats();
  const std::lock_guard lock(mutex);
  stats = now;
}

ServingStats Scheduler::stats() const {
  const std::lock_guard lock(state_->mutex);
  ServingStats stats = state_->stats;
  stats.queued += state_->queue.size();
  return stats;
}

}  // namespace dak
