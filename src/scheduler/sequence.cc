#include "scheduler/sequence.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace dak {
namespace {

constexpr size_t kWordBits = 64;

Error unexpected(std::string_view where, std::string_view what) {
  return {ErrorCode::kInternal,
          {.where = std::string(where), .field = {}, .value = {}, .problem = std::string(what)}};
}

bool allows_none(std::span<const uint64_t> bits) {
  return std::ranges::all_of(bits, [](uint64_t word) { return word == 0; });
}

int64_t most_tokens_of(const ServingRequest& request, const Engine& engine) {
  if (request.prompt_only) return std::ssize(request.prompt);
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
  const auto check_top = [](int top, std::string_view field) {
    if (top >= -1 && top <= kMostTopLogprobs) return;
    throw_invalid("request", field, std::to_string(top),
                  fmt::format("is outside -1 to {}", kMostTopLogprobs));
  };
  check_top(request.top_logprobs, "top_logprobs");
  check_top(request.prompt_logprobs, "prompt_logprobs");
  const int64_t vocabulary = engine.config().vocabulary;
  const auto check_token = [vocabulary](TokenId token, std::string_view field) {
    if (token >= 0 && token < vocabulary) return;
    throw_invalid("request", field, std::to_string(token),
                  fmt::format("is no token of the vocabulary of {}", vocabulary));
  };
  for (const TokenId token : request.stop_tokens) check_token(token, "stop_tokens");
  for (const TokenBias& bias : request.sampling.logit_bias) check_token(bias.token, "logit_bias");
  if (request.min_tokens < 0 ||
      (request.max_tokens > 0 && request.min_tokens > request.max_tokens)) {
    throw_invalid("request", "min_tokens", std::to_string(request.min_tokens),
                  request.min_tokens < 0 ? "is negative" : "is more than max_tokens");
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
  // Every token is looked for in them.
  std::vector<TokenId>& stops = request_.stop_tokens;
  std::ranges::sort(stops);
  stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
  if (wants_prompt_logprobs()) prompt_.resize(request_.prompt.size() - 1);
  if (engine.has_tokenizer()) {
    answer_.emplace(engine.tokenizer(), request_.stop, request_.reasoning, request_.shown);
  }
}

bool ServingSequence::can_choose_on_device() const {
  return !request_.sampling.changes_logits() && request_.top_logprobs < 0 && !request_.constraint &&
         generated_ >= request_.min_tokens;
}

bool ServingSequence::ends(TokenId token) const {
  return (!request_.ignore_eos && engine_.is_end_token(token)) ||
         std::ranges::binary_search(request_.stop_tokens, token);
}

TokenId ServingSequence::choose(std::span<const float> logits) {
  if (!any_to_choose(logits)) return kNoToken;
  try {
    const bool as_it_is = !request_.constraint && generated_ >= request_.min_tokens;
    const TokenId token = sampler_.sample(as_it_is ? logits : restricted(logits));
    if (request_.constraint) request_.constraint->accept(token);
    if (request_.top_logprobs >= 0) chances_ = token_chances(logits, token, request_.top_logprobs);
    return token;
  } catch (const Error& error) {
    error_ = error;
  } catch (const std::exception& error) {
    error_ = unexpected("choice of a token", error.what());
  }
  return 0;
}

// Logits of the tokens that may come next, the others -inf.
std::span<const float> ServingSequence::restricted(std::span<const float> logits) {
  const size_t words = (logits.size() + kWordBits - 1) / kWordBits;
  if (request_.constraint) {
    allowed_.assign(words, 0);
    request_.constraint->allow(allowed_);
    if (allows_none(allowed_)) throw unexpected("constraint", "allows no token at all");
  } else {
    allowed_.assign(words, ~uint64_t{0});
  }
  if (generated_ < request_.min_tokens) allow_no_ends();
  restricted_.assign(logits.size(), -std::numeric_limits<float>::infinity());
  for (size_t word = 0; word < allowed_.size(); ++word) {
    for (uint64_t left = allowed_[word]; left != 0; left &= left - 1) {
      const size_t token = word * kWordBits + static_cast<size_t>(std::countr_zero(left));
      if (token < logits.size()) restricted_[token] = logits[token];
    }
  }
  return restricted_;
}

// A constraint that allows nothing but the end has its way.
void ServingSequence::allow_no_ends() {
  std::vector<uint64_t> without = allowed_;
  const auto forbid = [&without](TokenId token) {
    const auto at = static_cast<size_t>(token);
    if (at / kWordBits < without.size()) {
      without[at / kWordBits] &= ~(uint64_t{1} << (at % kWordBits));
    }
  };
  if (!request_.ignore_eos) std::ranges::for_each(engine_.config().eos_tokens, forbid);
  std::ranges::for_each(request_.stop_tokens, forbid);
  if (!allows_none(without)) allowed_ = std::move(without);
}

void ServingSequence::note_prompt(int64_t position, std::span<const float> logits) {
  const auto at = static_cast<size_t>(position);
  const TokenId token = request_.prompt.at(at + 1);
  TokenChances chances = token_chances(logits, token, request_.prompt_logprobs);
  chances.rank = rank_of(logits, token);
  prompt_.at(at) = std::move(chances);
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
  if (!prompt_.empty()) {
    ServingEvent read = event(ServingEvent::Kind::kPrompt);
    read.prompt = prompt_;
    if (!tell(read)) return;
    prompt_ = {};
  }
  if (request_.prompt_only) {
    finish(FinishReason::kMaxTokens);
    return;
  }
  ++generated_;
  if (ends(token)) {
    const bool eos = !request_.ignore_eos && engine_.is_end_token(token);
    finish(eos ? FinishReason::kEos : FinishReason::kStopToken);
    return;
  }
  const bool in_reasoning = answer_ && answer_->in_reasoning();
  const bool may_stop = generated_ >= request_.min_tokens;
  const AnswerText::Step step = answer_ ? answer_->push(token, may_stop) : AnswerText::Step{};
  // Also the token that holds the first tag.
  if (in_reasoning || (answer_ && answer_->in_reasoning())) ++reasoning_tokens_;
  ServingEvent chosen = event(ServingEvent::Kind::kToken);
  chosen.token = token;
  chosen.text = step.text;
  chosen.reasoning = step.reasoning;
  chosen.logprob = chances_.logprob;
  chosen.top = chances_.top;
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
