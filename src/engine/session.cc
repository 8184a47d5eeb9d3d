#include <algorithm>
#include <array>

#include "engine/answer_text.h"
#include "engine/decoder.h"
#include "engine/engine.h"
#include "engine/operation_times.h"
#include "engine/prefill_chunk.h"
#include "engine/stop.h"

namespace dak {
namespace {

bool cancelled(const GenerateRequest& request) {
  return request.cancel != nullptr && request.cancel->load(std::memory_order_relaxed);
}

}  // namespace

void check_request(const GenerateRequest& request, const Engine& engine) {
  const auto length = static_cast<int64_t>(request.prompt.size());
  if (length == 0) throw_invalid("prompt", {}, {}, "is empty", "write something");
  if (length >= engine.context()) {
    throw_invalid("prompt", "length", fmt::format("{} tokens", length),
                  fmt::format("does not fit the context of {} tokens", engine.context()),
                  "shorten it or use a larger --context");
  }
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= engine.config().vocabulary) {
      throw_invalid(
          "prompt", "token", std::to_string(token),
          fmt::format("is outside the model's vocabulary of {}", engine.config().vocabulary),
          "tokenizer and model do not belong together");
    }
  }
  request.sampling.validate();
  if (request.max_tokens < 0) {
    throw_invalid("--max-tokens", {}, std::to_string(request.max_tokens), "is negative");
  }
}

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kStopString:
      return "stop";
    case FinishReason::kStopToken:
      return "stop_token";
    case FinishReason::kMaxTokens:
      return "max_tokens";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

std::optional<OperationTimes> Session::time_operations(int64_t steps) {
  if (tokens_.empty() || hold_.tokens == 0) return std::nullopt;
  // The last token once more, as if it were new.
  const int64_t cached = hold_.tokens;
  hold_.tokens = std::min(cached, engine_.context() - 1);
  const std::array<KvHold*, 1> holds{&hold_};
  OperationTimes times = dak::time_operations(engine_, holds, {&tokens_.back(), 1}, steps);
  hold_.tokens = cached;
  return times;
}

Session::~Session() { engine_.cache_->release(hold_); }

std::span<const float> Session::prefill(const GenerateRequest& request, GenerateResult& result) {
  const auto length = static_cast<int64_t>(request.prompt.size());
  // A generation that ended with an error left out what was to come next.
  tokens_.resize(std::min(tokens_.size(), static_cast<size_t>(hold_.tokens)));
  // The last token of the prompt is always run, even when cached: its logits are wanted.
  const auto [cached, wanted] = std::ranges::mismatch(tokens_, request.prompt);
  result.reused_tokens = std::min<int64_t>(cached - tokens_.begin(), length - 1);
  hold_.tokens = result.reused_tokens;
  tokens_.resize(static_cast<size_t>(hold_.tokens));

  std::span<const float> logits;
  while (hold_.tokens < length && !cancelled(request)) {
    const int64_t rows = next_prefill_rows(length - hold_.tokens, engine_.prefill_chunk_);
    const std::span<const TokenId> chunk(request.prompt.data() + hold_.tokens,
                                         static_cast<size_t>(rows));
    logits = engine_.run(hold_, chunk, hold_.tokens + rows == length, result.prefill);
    tokens_.insert(tokens_.end(), chunk.begin(), chunk.end());
  }
  return logits;
}

// The next token; where the device chooses, the step after it is already enqueued.
TokenId Session::decode(Decoder& decoder, PhaseStats& stats) {
  while (decoder.in_flight() <= decoder.ahead() && hold_.tokens < engine_.context()) {
    decoder.enqueue();
  }
  const Decoder::Step step = decoder.finish();
  step.check();
  stats.tokens += 1;
  stats.steps += 1;
  stats.seconds += step.seconds;
  stats.traffic.add_all(step.traffic);
  return step.tokens[0];
}

GenerateResult Session::generate(const GenerateRequest& request) {
  check_request(request, engine_);
  GenerateResult result;
  result.reason = FinishReason::kCancelled;
  Sampler sampler(request.sampling);
  sampler.observe_prompt(request.prompt);
  AnswerText answer(engine_.tokenizer(), request.stop);
  const auto show = [&](TokenId token, std::string_view piece) {
    result.text += piece;
    if (request.on_token) request.on_token(token, piece);
  };

  TokenId next = request.prompt.back();
  std::span<const float> logits = prefill(request, result);
  if (!logits.empty()) next = sampler.sample(logits);
  std::optional<Decoder> decoder;
  if (!logits.empty()) {
    decoder.emplace(engine_, std::vector{&hold_}, std::vector{next}, std::vector{&sampler});
  }
  while (!logits.empty() && !cancelled(request)) {
    result.tokens.push_back(next);
    if (!request.ignore_eos && engine_.is_end_token(next)) {
      result.reason = FinishReason::kEos;
      break;
    }
    const AnswerText::Step step = answer.push(next);
    show(next, step.text);
    if (step.stopped) {
      result.reason = FinishReason::kStopString;
      return result;
    }
    if (request.max_tokens > 0 && std::ssize(result.tokens) == request.max_tokens) {
      result.reason = FinishReason::kMaxTokens;
      break;
    }
    if (std::ssize(tokens_) == engine_.context()) {
      result.reason = FinishReason::kContextFull;
      break;
    }
    tokens_.push_back(next);
    next = decode(*decoder, result.decode);
  }
  decoder.reset();
  show(next, answer.finish().text);
  return result;
}

}  // namespace dak
