// What a scheduler's engine thread does between two looks at its inbox: admits, gives out pages,
// runs a pass, tells what came of it. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/kv_claims.h"
#include "engine/kv_prefix_cache.h"
#include "scheduler/clock.h"
#include "scheduler/passes.h"
#include "scheduler/queue.h"
#include "scheduler/sequence.h"

namespace dak {

class ServingLoop {
 public:
  ServingLoop(Engine& engine, const SchedulerOptions& options);

  // It has a place for one more, and none is waiting for room in the cache.
  bool wants_request() const { return !next_ && std::ssize(running_) < most_running_; }
  // Starts it, now or as soon as there is room.
  void offer(QueuedRequest request);
  bool idle() const { return running_.empty() && !next_; }

  // One pass, if anything can run. A pass that fails takes its requests with it; throws when one
  // after the other does.
  void step();

  // False: it is not here.
  bool cancel(RequestId id);
  void expire(std::chrono::steady_clock::time_point now);
  static Error deadline_error();
  void fail_all(const Error& error);
  // For requests that were never offered.
  void cancel_unstarted(QueuedRequest request);
  void fail_unstarted(QueuedRequest request, const Error& error);

  void wake() { clock_.wake(); }
  ServingStats stats();  // but for `queued`

 private:
  using Sequence = std::unique_ptr<ServingSequence>;

  void admit();
  // What of a prompt may be found in the cache.
  static std::span<const TokenId> reusable(const ServingSequence& sequence);
  bool adopt_pages(ServingSequence& sequence);
  bool all_can_end(const ServingSequence& asking, int64_t pages);
  bool grant(ServingSequence& sequence, int64_t tokens);
  void run_mixed();
  void decode();
  bool can_enqueue();
  void deliver(ServingSequence& sequence, TokenId token);
  void keep_pages(ServingSequence& sequence);
  void settle();
  void retire();
  void count_end(const ServingSequence& sequence);
  void nothing_can_run();
  void fail_pass(const Error& error);
  void look_at_links();

  Engine& engine_;
  ServingPasses passes_;
  KvCache& cache_;
  KvPrefixCache prefixes_;
  int64_t most_running_;
  int64_t prefill_rows_;
  std::vector<Sequence> running_;  // oldest first
  Sequence next_;                  // has no room yet
  int64_t next_refused_at_ = -1;
  int64_t releases_ = 0;      // how often pages came back: who was refused may ask again
  int64_t refusals_ = 0;      // in this step
  int64_t idle_steps_ = 0;    // in a row, although requests run
  int64_t failed_steps_ = 0;  // in a row
  std::vector<ServingPasses::Part> parts_;
  std::vector<ServingSequence*> ready_;
  std::vector<KvClaim> claims_;
  ServingClock clock_;
  ServingClock::Clock::time_point links_seen_{};
  ServingStats counts_;
};

}  // namespace dak
