#include "scheduler/loop.h"

#include <algorithm>

#include "engine/prefill_chunk.h"

namespace dak {
namespace {

// Passes that fail one after the other before it is the engine's fault and not a request's.
constexpr int64_t kMostFailedSteps = 3;

constexpr std::chrono::seconds kLinkInterval{1};

Error as_error(std::string_view what) {
  return {ErrorCode::kInternal,
          {.where = "pass", .field = {}, .value = {}, .problem = std::string(what), .fix = {}}};
}

}  // namespace

ServingLoop::ServingLoop(Engine& engine, const SchedulerOptions& options)
    : engine_(engine), passes_(engine), cache_(passes_.cache()), prefixes_(cache_) {
  const auto check = [](int64_t value, int64_t most, std::string_view field) {
    if (value >= 0 && value <= most) return;
    throw_invalid("scheduler", field, std::to_string(value),
                  fmt::format("is outside 0 to {}, what the engine has room for", most));
  };
  check(options.max_running, passes_.most_sequences(), "max_running");
  check(options.prefill_rows, passes_.most_rows(), "prefill_rows");
  most_running_ = options.max_running > 0 ? options.max_running : passes_.most_sequences();
  prefill_rows_ = options.prefill_rows > 0 ? options.prefill_rows : passes_.prefill_chunk();
}

void ServingLoop::step() {
  refusals_ = 0;
  parts_.clear();
  try {
    if (engine_.revoke_wanted()) {
      settle();  // else the next step is always enqueued before one ends
      passes_.take_revokes();
    }
    retire();
    admit();
    if (std::ranges::any_of(running_, [](const Sequence& s) { return s->in_prefill(); })) {
      settle();
      retire();
      run_mixed();
    } else if (!running_.empty()) {
      decode();
    }
    look_at_links();
    failed_steps_ = 0;
  } catch (const Error& error) {
    fail_pass(error);
  } catch (const std::exception& error) {
    fail_pass(as_error(error.what()));
  }
  retire();
}

void ServingLoop::look_at_links() {
  const auto now = ServingClock::Clock::now();
  if (now - links_seen_ < kLinkInterval) return;
  links_seen_ = now;
  counts_.links = passes_.links();
}

// What is written of a sequence's pages is unknown, so that none of those in the pass goes on.
void ServingLoop::fail_pass(const Error& error) {
  const bool mixed = !parts_.empty();
  for (const auto& part : parts_) part.sequence->fail(error);
  for (ServingSequence* sequence : passes_.decoding()) sequence->fail(error);
  if (!mixed && passes_.decoding().empty()) {
    for (const Sequence& sequence : running_) sequence->fail(error);
  }
  passes_.end_decode();
  clock_.wake();
  if (++failed_steps_ < kMostFailedSteps) return;
  fail_all(error);
  throw error;
}

// Prompts' tokens in chunks, and the next token of everybody else.
void ServingLoop::run_mixed() {
  for (const Sequence& s : running_) {
    if (!s->in_prefill() && grant(*s, std::ssize(s->tokens()))) {
      parts_.push_back({.sequence = s.get(), .rows = 1});
    }
  }
  int64_t rows_left = std::min(prefill_rows_, passes_.most_rows() - std::ssize(parts_));
  int64_t prompt_rows = 0;
  std::vector<KvPrefixCache::PageKey> computed;  // pages that this pass is at
  for (const Sequence& s : running_) {
    if (rows_left == 0) break;
    if (!s->in_prefill() || !adopt_pages(*s)) continue;
    // Its next page may be under way already: it is adopted when it is there.
    const auto page = prefixes_.next_page(*s->place, reusable(*s));
    if (page && std::ranges::find(computed, *page) != computed.end()) continue;
    const int64_t rows = next_prefill_rows(s->prompt_tokens() - s->hold.tokens, rows_left);
    if (!grant(*s, s->hold.tokens + rows)) continue;
    if (page) computed.push_back(*page);
    parts_.push_back({.sequence = s.get(), .rows = rows});
    rows_left -= rows;
    prompt_rows += rows;
  }
  if (parts_.empty()) {
    nothing_can_run();
    return;
  }
  idle_steps_ = 0;
  cache_.rebalance(kRebalancedPages);
  clock_.begin_pass();
  passes_.run(parts_);
  clock_.end_pass(std::ssize(parts_), prompt_rows);
  for (const ServingPasses::Part& part : parts_) {
    if (part.chosen) deliver(*part.sequence, *part.chosen);
    keep_pages(*part.sequence);
  }
}

// Steps are enqueued ahead of the tokens that they take, where the device chooses these.
void ServingLoop::decode() {
  if (passes_.decoding().empty()) {
    ready_.clear();
    for (const Sequence& s : running_) {
      if (grant(*s, std::ssize(s->tokens()))) ready_.push_back(s.get());
    }
    if (ready_.empty()) {
      nothing_can_run();
      return;
    }
    clock_.begin_pass();
    passes_.begin_decode(ready_);
  } else {
    clock_.begin_pass();
  }
  idle_steps_ = 0;
  while (passes_.in_flight() <= passes_.ahead() && can_enqueue()) passes_.enqueue();
  if (passes_.in_flight() == 0) {  // not everybody can go on: the next step is of those who can
    clock_.end_pass(0, 0);
    settle();
    return;
  }
  const std::span<const TokenId> tokens = passes_.finish();
  const std::span<ServingSequence* const> sequences = passes_.decoding();
  clock_.end_pass(std::ssize(sequences), 0);
  ++counts_.decode_passes;
  bool ended = false;
  for (size_t i = 0; i < sequences.size(); ++i) {
    deliver(*sequences[i], tokens[i]);
    keep_pages(*sequences[i]);
    ended |= sequences[i]->ended();
  }
  if (ended) settle();
}

bool ServingLoop::can_enqueue() {
  return std::ranges::all_of(passes_.decoding(), [this](ServingSequence* s) {
    return s->hold.tokens < s->most_tokens() && grant(*s, s->hold.tokens + 1);
  });
}

// Ends the decode steps: what is in flight is waited for, and is as good as any other step.
void ServingLoop::settle() {
  while (passes_.in_flight() > 0) {
    clock_.begin_pass();
    const std::span<const TokenId> tokens = passes_.finish();
    const std::span<ServingSequence* const> sequences = passes_.decoding();
    clock_.end_pass(std::ssize(sequences), 0);
    ++counts_.decode_passes;
    for (size_t i = 0; i < sequences.size(); ++i) {
      deliver(*sequences[i], tokens[i]);
      keep_pages(*sequences[i]);
    }
  }
  passes_.end_decode();
}

void ServingLoop::deliver(ServingSequence& sequence, TokenId token) {
  const int64_t before = sequence.generated_tokens();
  sequence.deliver(token);
  const int64_t generated = sequence.generated_tokens() - before;
  counts_.generated_tokens += generated;
  clock_.count_generated(generated);
}

// Those that its known tokens fill.
void ServingLoop::keep_pages(ServingSequence& sequence) {
  const std::span<const TokenId> tokens = sequence.tokens();
  const bool chosen_last = !sequence.ended() && !sequence.in_prefill();
  const int64_t known = std::min(sequence.hold.tokens, std::ssize(tokens) - (chosen_last ? 1 : 0));
  prefixes_.keep(*sequence.place, sequence.hold, tokens.first(static_cast<size_t>(known)));
}

void ServingLoop::retire() {
  const auto goes_on = [](const Sequence& s) { return !s->ended(); };
  if (std::ranges::all_of(running_, goes_on)) return;
  settle();
  const auto over = std::stable_partition(running_.begin(), running_.end(), goes_on);
  std::vector<Sequence> gone(std::make_move_iterator(over),
                             std::make_move_iterator(running_.end()));
  running_.erase(over, running_.end());
  ++releases_;
  for (const Sequence& sequence : gone) {
    count_end(*sequence);
    // No other sequence shall find the pages of one that went wrong.
    if (sequence->spoilt()) prefixes_.forget(*sequence->place);
    sequence->place.reset();
    cache_.release(sequence->hold);
  }
}

void ServingLoop::count_end(const ServingSequence& sequence) {
  if (sequence.place != nullptr) {  // it had started
    counts_.prompt_tokens += sequence.prompt_tokens();
    counts_.reused_tokens += sequence.reused_tokens;
  }
  switch (sequence.end()) {
    case ServingSequence::End::kFinished:
      ++counts_.requests_finished;
      break;
    case ServingSequence::End::kCancelled:
      ++counts_.requests_cancelled;
      break;
    case ServingSequence::End::kFailed:
      ++counts_.requests_failed;
      break;
    case ServingSequence::End::kNone:
      require(false, "a request is retired before its end");
  }
}

}  // namespace dak
