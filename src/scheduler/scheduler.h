// Requests of many clients over one engine: continuous batching. Any thread submits and cancels;
// one thread, the engine's, runs passes and tells the requests what happens to them.
// docs/design/scheduling.md says who runs when.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "scheduler/logprobs.h"
#include "text/reasoning_text.h"

namespace dak {

using RequestId = uint64_t;

// Restricts the tokens of one request: a JSON schema and the like. Called between passes, from one
// thread at a time. What it throws fails its request alone.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // Sets the bit of every token that may come next in `bits` [ceil(vocabulary / 64)], which are 0:
  // token t is bit t % 64 of word t / 64. The end token too where the text may end. None at all
  // fails the request.
  virtual void allow(std::span<uint64_t> bits) = 0;
  // The token that was drawn from those.
  virtual void accept(TokenId token) = 0;
};

// What happens to a request, told in order on the engine's thread: kStarted, kPrompt if its
// log-probabilities were asked for, kToken for every token that does not end the answer, then
// kFinished or kFailed. A request that never started may finish
// (cancelled) or fail too. The callee must not block; what it throws fails the request. What
// the views refer to is good during the call.
struct ServingEvent {
  enum class Kind : uint8_t { kStarted, kPrompt, kToken, kFinished, kFailed };

  RequestId request = 0;
  Kind kind = Kind::kStarted;
  TokenId token = -1;                 // kToken
  std::string_view text;              // kToken, kFinished: what may be shown now, often nothing
  std::string_view reasoning;         // likewise, before the text
  float logprob = 0;                  // kToken, if asked for
  std::span<const TokenLogprob> top;  // kToken, if asked for: most likely first
  // kPrompt: of each of the prompt's tokens but the first, given those before it.
  std::span<const TokenChances> prompt = {};
  FinishReason reason{};         // kFinished
  const Error* error = nullptr;  // kFailed
  int64_t prompt_tokens = 0;     // always
  int64_t reused_tokens = 0;     // of the prompt, found in the cache; always
  int64_t generated_tokens = 0;  // so far, the end token included; always
  int64_t reasoning_tokens = 0;  // among them, tags included; always
};

struct ServingRequest {
  std::vector<TokenId> prompt;  // at least one token
  SamplingParams sampling;
  int64_t max_tokens = 0;  // 0: until the context is full
  // The prompt goes through the model, and the answer ends (kMaxTokens) before its first token.
  bool prompt_only = false;
  // Before so many tokens neither end tokens nor `stop_tokens` are drawn, unless the constraint
  // allows nothing else, and stop strings are not looked for.
  int64_t min_tokens = 0;
  std::vector<TokenId> stop_tokens;  // end the answer as end tokens do, ignore_eos or not
  std::vector<std::string> stop;     // strings that end the answer and are not part of it
  std::optional<ReasoningTags>
      reasoning;               // what stands between them is told apart and not searched
  std::vector<TokenId> shown;  // special tokens that are text
  bool ignore_eos = false;
  int top_logprobs = -1;  // -1: no log-probabilities; 0: the token's alone; k: of the k most likely
  int prompt_logprobs = -1;  // likewise of the prompt's tokens, none of which is then reused
  std::shared_ptr<TokenConstraint> constraint;
  std::string client;        // clients take turns
  std::string prefix_scope;  // requests share cached prefixes only with those of the same scope
  std::optional<std::chrono::steady_clock::time_point> deadline;
  std::function<void(const ServingEvent&)> on_event;
};

struct SchedulerOptions {
  int64_t max_running = 0;    // sequences side by side; 0: what the engine has room for
  int64_t max_queued = 1024;  // requests that have not started
  int64_t prefill_rows = 0;   // most prompt tokens in a pass with others' steps; 0: the chunk
};

// What a scheduler does, at one moment. Counters are since its start.
struct ServingStats {
  int64_t queued = 0;
  int64_t running = 0;    // of them `preempted`
  int64_t preempted = 0;  // wait in the cache's slower tiers until others end

  // Pages of one layer.
  int64_t kv_pages_total = 0;
  int64_t kv_pages_free = 0;
  int64_t kv_pages_cached = 0;  // prefixes of no running request: given up when pages are needed
  // Over all layers, by tier.
  std::array<int64_t, kMaxTiers> kv_bytes_total{};
  std::array<int64_t, kMaxTiers> kv_bytes_used{};  // cached prefixes included

  int64_t requests_finished = 0;  // not cancelled
  int64_t requests_failed = 0;
  int64_t requests_cancelled = 0;
  int64_t preemptions = 0;
  int64_t prompt_tokens = 0;  // of requests that started and are over
  int64_t reused_tokens = 0;  // among them
  int64_t generated_tokens = 0;
  int64_t passes = 0;
  int64_t decode_passes = 0;  // without prompt tokens
  int64_t recordings = 0;     // of the engine's decode steps, which take time; none on the CPU
  TierTraffic traffic;        // weight and KV bytes read
  // By tier, about once a second while there is work, since it waits for the steps in flight; zero
  // on the CPU.
  std::array<LinkStatus, kMaxTiers> links{};

  double engine_seconds = 0;     // inside passes: the engine's work and the choice of tokens
  double scheduler_seconds = 0;  // between passes while there was work
  // Of the times between two passes, to within a fifth.
  double scheduler_p50_s = 0;
  double scheduler_p99_s = 0;

  // Of about the last second; 0 when nothing ran.
  double tokens_per_s = 0;  // generated
  double prompt_per_s = 0;  // prompt tokens that went through the model
  double pass_seconds = 0;  // a pass, on average
  double sequences = 0;     // in a pass, on average
};

class Scheduler {
 public:
  // The engine is this one's alone until it ends. Throws kInvalidArgument.
  Scheduler(Engine& engine, const SchedulerOptions& options = {});
  // Requests that are left fail with kUnavailable, on this thread. `run` must have returned.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Any thread. Throws kInvalidArgument as Session::generate does, kResourceExhausted when
  // max_queued requests wait, kUnavailable when draining. Events may come before it returns.
  RequestId submit(ServingRequest request);
  // Any thread: the request finishes with kCancelled, soon. One that is over: nothing.
  void cancel(RequestId id);
  // Any thread: Engine::revoke_tier before the next pass, or at once when nothing runs. The future
  // gets what it throws, or why `run` ended. Throws kUnavailable after that.
  std::future<void> revoke_tier(std::string name);
  // The engine's thread: returns when drained. An error that no request is the cause of (a lost
  // GPU) fails all, and is thrown.
  void run();
  // Any thread, at once: no new requests. Those there are go on until `until`, when the rest fail
  // with kUnavailable; then `run` returns.
  void drain(std::chrono::steady_clock::time_point until);
  // Any thread.
  ServingStats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dak
