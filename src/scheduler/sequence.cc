#include "scheduler/sequence.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dak {
namespace {

constexpr int64_t kWordBits = 64;

Error unexpected(std::string_view where, std::string_view what) {
  return {ErrorCode::kInternal,
          {.where = std::string(where), .field = {}, .value = {}, .problem = std::string(what)}};
}

int64_t most_tokens_of(const ServingRequest& request, const Engine& engine) {
  if (request.max_tokens == 0) return engine.context();
  return std::min(engine.context(), std::ssize(request.prompt) + request.max_tokens);
}

}  // namespace

void check_serving_request(const ServingRequest& request, const Engine& engine) {
  check_request(
      {.prompt = request.prompt, .sampling = request.sampling, .max_tokens = request.max_tokens},
      engine);
  const StopMatcher refuses_empty_ones(request.stop);
  if (!request.stop.empty()) engine.tokenizer();
  if (request.top_logprobs < -1 || request.top_logprobs > kMostTopLogprobs) {
    throw_invalid("request", "top_logprobs", std::to_string(request.top_logprobs),
                  fmt::format("is outside -1 to {}", kMostTopLogprobs));
  }
}

ServingSequence::ServingSequence(RequestId id, ServingRequest request, const Engine& engine)
    : id_(id),
      request_(std::move(request)),
      engine_(engine),
      tokens_(request_.prompt),
      most_tokens_(most_tokens_of(request_, engine)),
      sampler_(request_.sampling) {
  sampler_.observe_prompt(request_.prompt);
  if (engine.has_tokenizer()) {
    answer_.emplace(engine.tokenizer(), request_.stop, request_.reasoning, request_.shown);
  }
}

bool ServingSequence::can_choose_on_device() const {
  return !request_.sampling.penalised() && request_.top_logprobs < 0 && !request_.constraint;
}

TokenId ServingSequence::choose(std::span<const float> logits) {
  if (!any_to_choose(logits)) return kNoToken;
  try {
    TokenId token = 0;
    if (request_.constraint) {
      restrict_logits(logits);
      token = sampler_.sample(restricted_);
      request_.constraint->accept(token);
    } else {
      token = sampler_.sample(logits);
    }
    if (request_.top_logprobs >= 0) note_logprobs(logits, token);
    return token;
  } catch (const Error& error) {
    error_ = error;
  } catch (const std::exception& error) {
    error_ = unexpected("choice of a token", error.what());
  }
  return 0;
}

void ServingSequence::restrict_logits(std::span<const float> logits) {
  allowed_.assign((logits.size() + kWordBits - 1) / kWordBits, 0);
  request_.constraint->allow(allowed_);
  if (std::ranges::all_of(allowed_, [](uint64_t word) { return word == 0; })) {
    throw unexpected("constraint", "allows no token at all");
  }
  restricted_.assign(logits.size(), -std::numeric_limits<float>::infinity());
  for (size_t word = 0; word < allowed_.size(); ++word) {
    for (uint64_t left = allowed_[word]; left != 0; left &= left - 1) {
      const size_t token = word * kWordBits + static_cast<size_t>(std::countr_zero(left));
      if (token < logits.size()) restricted_[token] = logits[token];
    }
  }
}

// All by their distance from the most likely one, so that the sum is made once.
void ServingSequence::note_logprobs(std::span<const float> logits, TokenId token) {
  const TokenId best = most_likely(logits);
  const float best_logprob = Sampler::log_probability(logits, best);
  const float best_logit = logits[static_cast<size_t>(best)];
  const auto logprob_of = [&](TokenId other) {
    const float logit = logits[static_cast<size_t>(other)];
    if (std::isinf(best_logit) || !std::isfinite(logit)) {
      return Sampler::log_probability(logits, other);
    }
    return static_cast<float>(double{best_logprob} + (double{logit} - double{best_logit}));
  };
  logprob_ = logprob_of(token);
  top_.clear();
  const auto count = std::min(static_cast<size_t>(request_.top_logprobs), logits.size());
  if (count == 0) return;
  const auto more_likely = [&](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob != b.logprob ? a.logprob > b.logprob : a.token < b.token;
  };
  for (size_t i = 0; i < logits.size(); ++i) {  // a heap of the best so far, the least in front
    const TokenLogprob next{.token = static_cast<TokenId>(i), .logprob = logits[i]};
    if (std::isnan(next.logprob)) continue;
    if (top_.size() == count && !more_likely(next, top_.front())) continue;
    if (top_.size() == count) {
      std::ranges::pop_heap(top_, more_likely);
      top_.pop_back();
    }
    top_.push_back(next);
    std::ranges::push_heap(top_, more_likely);
  }
  std::ranges::sort(top_, more_likely);
  for (TokenLogprob& entry : top_) entry.logprob = logprob_of(entry.token);
}

ServingEvent ServingSequence::event(ServingEvent::Kind kind) const {
  return {.request = id_,
          .kind = kind,
          .prompt_tokens = prompt_tokens(),
          .reused_tokens = reused_tokens,
          .generated_tokens = generated_,
          .reasoning_tokens = reasoning_tokens_};
}

// False when the caller threw, which fails the request without another word.
bool ServingSequence::tell(const ServingEvent& event) {
  if (!request_.on_event) return true;
  try {
    request_.on_event(event);
    return true;
  } catch (...) {
    end_ = End::kFailed;
    return false;
  }
}

void ServingSequence::start() { tell(event(ServingEvent::Kind::kStarted)); }

void ServingSequence::deliver(TokenId token) {
  if (ended()) return;
  if (token == kNoToken) {
    spoilt_ = true;
    fail(nothing_to_choose());
    return;
  }
  if (error_) {
    fail(*error_);
    return;
  }
  ++generated_;
  if (!request_.ignore_eos && engine_.is_end_token(token)) {
    finish(FinishReason::kEos);
    return;
  }
  const bool in_reasoning = answer_ && answer_->in_reasoning();
  const AnswerText::Step step = answer_ ? answer_->push(token) : AnswerText::Step{};
  // Also the token that holds the first tag.
  if (in_reasoning || (answer_ && answer_->in_reasoning())) ++reasoning_tokens_;
  ServingEvent chosen = event(ServingEvent::Kind::kToken);
  chosen.token = token;
  chosen.text = step.text;
  chosen.reasoning = step.reasoning;
  chosen.logprob = logprob_;
  chosen.top = top_;
  if (!tell(chosen)) return;
  if (step.stopped) {
    finish(FinishReason::kStopString, {});
  } else if (request_.max_tokens > 0 && generated_ == request_.max_tokens) {
    finish(FinishReason::kMaxTokens);
  } else if (std::ssize(tokens_) == engine_.context()) {
    finish(FinishReason::kContextFull);
  } else {
    tokens_.push_back(token);
  }
}

void ServingSequence::finish(FinishReason reason) {
  finish(reason, answer_ ? answer_->finish() : AnswerText::Step{});
}

void ServingSequence::finish(FinishReason reason, const AnswerText::Step& rest) {
  if (ended()) return;
  end_ = reason == FinishReason::kCancelled ? End::kCancelled : End::kFinished;
  ServingEvent last = event(ServingEvent::Kind::kFinished);
  last.text = rest.text;
  last.reasoning = rest.reasoning;
  last.reason = reason;
  tell(last);
}

void ServingSequence::fail(const Error& error) {
  if (ended()) return;
  end_ = End::kFailed;
  ServingEvent last = event(ServingEvent::Kind::kFailed);
  last.error = &error;
  tell(last);
}

}  // namespace dak
