// Who runs, and who gets pages: the part of ServingLoop that decides.
#include <algorithm>

#include "scheduler/loop.h"

namespace dak {
namespace {

Error no_room(std::string_view problem) {
  return {ErrorCode::kResourceExhausted,
          {.where = "KV cache",
           .field = {},
           .value = {},
           .problem = std::string(problem),
           .fix = "ask for fewer tokens, or give the cache more room"}};
}

}  // namespace

// Its last token is always run, for its logits; all of them where these are asked for.
std::span<const TokenId> ServingLoop::reusable(const ServingSequence& sequence) {
  if (sequence.wants_prompt_logprobs()) return {};
  return std::span(sequence.tokens()).first(static_cast<size_t>(sequence.prompt_tokens() - 1));
}

Error ServingLoop::deadline_error() {
  return {ErrorCode::kDeadlineExceeded,
          {.where = "request",
           .field = "deadline",
           .value = {},
           .problem = "has passed before the answer was complete",
           .fix = "allow more time, or ask for fewer tokens"}};
}

void ServingLoop::offer(QueuedRequest request) {
  next_ = std::make_unique<ServingSequence>(request.id, std::move(request.request), engine_);
  next_refused_at_ = -1;
  admit();
}

// In the order of the queue: no request overtakes one that there is no room for yet.
void ServingLoop::admit() {
  if (next_ == nullptr || next_refused_at_ == releases_) return;
  if (std::ssize(running_) >= most_running_) return;
  // Those who wait for pages come first.
  if (std::ranges::any_of(running_, [](const Sequence& s) { return s->hold.resting; })) return;
  ServingSequence& s = *next_;
  s.place = prefixes_.enter(s.request().prefix_scope);
  s.reused_tokens = prefixes_.adopt(*s.place, s.hold, reusable(s));
  if (all_can_end(s, kv_pages_for(s.prompt_tokens()) - s.hold.page_count())) {
    running_.push_back(std::move(next_));
    running_.back()->start();
    return;
  }
  s.place.reset();
  s.reused_tokens = 0;
  cache_.release(s.hold);
  next_refused_at_ = releases_;
  if (!running_.empty()) return;
  s.fail(no_room(fmt::format("has {} pages in all, {} are needed", cache_.page_count(),
                             kv_pages_for(s.most_tokens()))));
  count_end(s);
  next_.reset();
}

// Takes pages that others have computed since. False: then not all could end, so that it gives up
// what it has and waits.
bool ServingLoop::adopt_pages(ServingSequence& sequence) {
  if (sequence.refused_at == releases_) return false;
  const int64_t adopted = prefixes_.adopt(*sequence.place, sequence.hold, reusable(sequence));
  sequence.reused_tokens += adopted;
  if (adopted == 0 || all_can_end(sequence, 0)) return true;
  sequence.place = prefixes_.enter(sequence.request().prefix_scope);
  sequence.reused_tokens = 0;
  cache_.release(sequence.hold);
  sequence.refused_at = ++releases_;
  sequence.hold.resting = true;
  ++counts_.preemptions;
  return false;
}

// Whether every sequence could end if `asking` got so many pages more.
bool ServingLoop::all_can_end(const ServingSequence& asking, int64_t pages) {
  const int64_t available = cache_.free_pages() + cache_.cold_pages() - pages;
  if (available < 0) return false;
  int64_t needed = 0;
  bool listed = false;
  claims_.clear();
  const auto add = [&](const ServingSequence& s) {
    const int64_t more = &s == &asking ? pages : 0;
    listed |= &s == &asking;
    const int64_t need = kv_pages_for(s.most_tokens()) - s.hold.page_count() - more;
    claims_.push_back({.need = std::max<int64_t>(0, need), .returns = s.hold.sole_pages() + more});
    needed += claims_.back().need;
  };
  for (const Sequence& s : running_) {
    if (!s->ended()) add(*s);
  }
  if (!listed) add(asking);
  return needed <= available || can_all_end(available, claims_);
}

// Room for `tokens` tokens. False: it has to wait; its pages may leave the local tier meanwhile.
bool ServingLoop::grant(ServingSequence& sequence, int64_t tokens) {
  const int64_t pages = kv_pages_for(tokens) - sequence.hold.page_count();
  if (pages > 0 && sequence.refused_at == releases_) return false;
  if (pages > 0 && !all_can_end(sequence, pages)) {
    sequence.refused_at = releases_;
    ++refusals_;
    if (!sequence.hold.resting) ++counts_.preemptions;
    sequence.hold.resting = true;
    return false;
  }
  try {
    cache_.reserve(sequence.hold, tokens);  // ends its rest
    return true;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kResourceExhausted) throw;
    sequence.fail(error);
    return false;
  }
}

// Cannot happen while pages are given out as above; were it to, requests would wait for ever.
void ServingLoop::nothing_can_run() {
  if (++idle_steps_ <= std::ssize(running_)) return;
  idle_steps_ = 0;
  running_.back()->fail(no_room("is full, and no request in it can go on"));
}

bool ServingLoop::cancel(RequestId id) {
  const auto is_it = [id](const Sequence& s) { return s->id() == id; };
  if (next_ != nullptr && is_it(next_)) {
    next_->finish(FinishReason::kCancelled);
    count_end(*next_);
    next_.reset();
    return true;
  }
  const auto found = std::ranges::find_if(running_, is_it);
  if (found == running_.end()) return false;
  (*found)->finish(FinishReason::kCancelled);
  return true;
}

void ServingLoop::expire(std::chrono::steady_clock::time_point now) {
  const auto is_late = [now](const Sequence& s) {
    return s->request().deadline && *s->request().deadline <= now;
  };
  if (next_ != nullptr && is_late(next_)) {
    next_->fail(deadline_error());
    count_end(*next_);
    next_.reset();
  }
  for (const Sequence& s : running_) {
    if (is_late(s)) s->fail(deadline_error());
  }
}

// Everybody is told, whatever state the engine is in.
void ServingLoop::fail_all(const Error& error) {
  for (const Sequence& s : running_) s->fail(error);
  if (next_ != nullptr) {
    next_->fail(error);
    count_end(*next_);
    next_.reset();
  }
  passes_.end_decode();
  retire();
}

void ServingLoop::cancel_unstarted(QueuedRequest request) {
  ServingSequence sequence(request.id, std::move(request.request), engine_);
  sequence.finish(FinishReason::kCancelled);
  count_end(sequence);
}

void ServingLoop::fail_unstarted(QueuedRequest request, const Error& error) {
  ServingSequence sequence(request.id, std::move(request.request), engine_);
  sequence.fail(error);
  count_end(sequence);
}

ServingStats ServingLoop::stats() {
  ServingStats stats = counts_;
  stats.queued = next_ != nullptr ? 1 : 0;
  stats.running = std::ssize(running_);
  stats.preempted =
      std::ranges::count_if(running_, [](const Sequence& s) { return s->hold.resting; });
  stats.kv_pages_total = cache_.page_count();
  stats.kv_pages_free = cache_.free_pages();
  stats.kv_pages_cached = cache_.cold_pages();
  for (TierIndex tier = 0; tier < kMaxTiers; ++tier) {
    stats.kv_bytes_total[tier] = cache_.tier_bytes(tier);
    stats.kv_bytes_used[tier] = cache_.used_bytes(tier);
  }
  stats.traffic = passes_.traffic();
  stats.recordings = engine_.recordings();
  clock_.fill(stats, ServingClock::Clock::now());
  return stats;
}

}  // namespace dak
