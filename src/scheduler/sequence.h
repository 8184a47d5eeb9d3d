// A request that a scheduler has admitted: its tokens, its pages, how its next token is chosen and
// what its caller is told.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/answer_text.h"
#include "engine/kv_prefix_cache.h"
#include "scheduler/scheduler.h"

namespace dak {

class ServingSequence {
 public:
  // Throws what is wrong with the request: nothing that check_serving_request lets through.
  ServingSequence(RequestId id, ServingRequest request, const Engine& engine);

  RequestId id() const { return id_; }
  const ServingRequest& request() const { return request_; }

  // The prompt, then what was chosen; in decode the last one is not in the cache yet.
  const std::vector<TokenId>& tokens() const { return tokens_; }
  int64_t prompt_tokens() const { return std::ssize(request_.prompt); }
  bool in_prefill() const { return hold.tokens < prompt_tokens(); }
  // Tokens that the cache may have to hold in the end.
  int64_t most_tokens() const { return most_tokens_; }
  // The draw needs nothing of the host but the parameters of the sampler.
  bool can_choose_on_device() const;
  Sampler& sampler() { return sampler_; }

  // Chooses the next token. Any thread; an error waits for `deliver`. kNoToken: there is none.
  TokenId choose(std::span<const float> logits);

  // What the model says of the prompt's tokens is asked for.
  bool wants_prompt_logprobs() const { return request_.prompt_logprobs >= 0; }
  // That of the token behind `position`, for the logits there; each position of the prompt but its
  // last, once. Any thread, for different positions at the same time.
  void note_prompt(int64_t position, std::span<const float> logits);

  // Each tells the caller. What the caller throws, or `choose` threw, fails the request.
  void start();
  // The token that was chosen; ended() afterwards if it was the last. kNoToken fails the request.
  void deliver(TokenId token);
  void finish(FinishReason reason);
  void fail(const Error& error);

  // Finished or failed, and the caller was told.
  enum class End : uint8_t { kNone, kFinished, kCancelled, kFailed };
  End end() const { return end_; }
  bool ended() const { return end_ != End::kNone; }
  int64_t generated_tokens() const { return generated_; }
  // Its logits were no numbers, so that its keys and values may be none either.
  bool spoilt() const { return spoilt_; }

  std::unique_ptr<KvPrefixCache::Place> place;
  KvHold hold;
  int64_t reused_tokens = 0;
  int64_t refused_at = -1;  // pages: the scheduler's count of releases then
 private:
  std::span<const float> restricted(std::span<const float> logits);
  void allow_no_ends();
  bool ends(TokenId token) const;
  ServingEvent event(ServingEvent::Kind kind) const;
  bool tell(const ServingEvent& event);
  void finish(FinishReason reason, const AnswerText::Step& rest);

  RequestId id_;
  ServingRequest request_;
  const Engine& engine_;
  std::vector<TokenId> tokens_;
  int64_t most_tokens_;
  Sampler sampler_;
  std::optional<AnswerText> answer_;  // none without a tokenizer
  int64_t generated_ = 0;
  int64_t reasoning_tokens_ = 0;
  End end_ = End::kNone;
  bool spoilt_ = false;

  // Of the last choice.
  std::optional<Error> error_;
  TokenChances chances_;
  std::vector<TokenChances> prompt_;  // [prompt's tokens - 1], until they have been told
  // Scratch.
  std::vector<uint64_t> allowed_;
  std::vector<float> restricted_;
};

// Throws kInvalidArgument, as Session::generate would.
void check_serving_request(const ServingRequest& request, const Engine& engine);

}  // namespace dak
