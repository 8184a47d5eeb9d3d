#include "server/answer.h"

#include <algorithm>
#include <utility>

#include "base/seconds.h"
#include "text/utf8.h"

namespace dak {
namespace {

constexpr int kClientLeft = 499;  // nginx's

}  // namespace

Answer::Answer(AnswerWriter writer, AnswerOptions options, std::shared_ptr<Exchange> exchange,
               Generator& generator, ThreadMetrics& metrics, Clock::time_point received,
               std::function<void(const AnswerReport&)> report)
    : writer_(std::move(writer)),
      options_(std::move(options)),
      exchange_(std::move(exchange)),
      generator_(generator),
      metrics_(metrics),
      received_(received),
      report_(std::move(report)) {
  writer_.show_logprobs(options_.logprobs());
  if (options_.include_usage || options_.continuous_usage) writer_.show_usage();
}

void Answer::start(std::vector<ServingRequest> requests) {
  choices_.resize(requests.size());
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (options_.tool_form != nullptr) {
      choices_[i].tools.emplace(*options_.tool_form, *options_.tools);
    }
  }
  // On the thread that is told of it. The exchange keeps this answer until one of the two has gone.
  exchange_->post([self = shared_from_this()] {
    self->exchange_->watch([self] { self->drain(); }, [self] { self->client_gone(); });
    self->drain();  // what came before had nobody to tell
  });
  for (size_t i = 0; i < requests.size(); ++i) {
    {
      const std::lock_guard lock(mutex_);
      if (over_) return;
    }
    requests[i].on_event = [self = shared_from_this(), i](const ServingEvent& event) {
      self->on_event(i, event);
    };
    try {
      const RequestId id = generator_.submit(std::move(requests[i]));
      bool over = false;
      {
        const std::lock_guard lock(mutex_);
        ids_.push_back(id);
        over = over_;
      }
      if (over) generator_.cancel(id);
    } catch (const Error& error) {
      exchange_->post(
          [self = shared_from_this(), failure = api_error(error)] { self->fail(failure); });
      return;
    }
  }
}

void Answer::on_event(size_t choice, const ServingEvent& event) {
  Event kept{.choice = choice,
             .kind = event.kind,
             .at = Clock::now(),
             .piece = {.token = event.token, .logprob = event.logprob, .top = {}},
             .text = std::string(event.text),
             .reasoning = std::string(event.reasoning),
             .reason = event.reason,
             .error = {},
             .usage = {.prompt_tokens = event.prompt_tokens,
                       .cached_tokens = event.reused_tokens,
                       .completion_tokens = event.generated_tokens,
                       .reasoning_tokens = event.reasoning_tokens},
             .prompt = {event.prompt.begin(), event.prompt.end()}};
  if (options_.logprobs()) kept.piece.top.assign(event.top.begin(), event.top.end());
  if (event.error != nullptr) kept.error = std::make_unique<ApiError>(api_error(*event.error));
  {
    const std::lock_guard lock(mutex_);
    if (over_ || overflowed_) return;
    pending_.push_back(std::move(kept));
    if (options_.stream && pending_.size() > kMostPending * choices_.size()) overflowed_ = true;
    if (scheduled_) return;
    scheduled_ = true;
  }
  exchange_->notify();
}

void Answer::drain() {
  bool overflowed = false;
  {
    const std::lock_guard lock(mutex_);
    scheduled_ = false;
    overflowed = overflowed_;
    if (done_) return;
    // What waits in the socket's buffer is enough: the rest stays in the bounded queue.
    if (!overflowed && exchange_->unsent_bytes() > kMostUnsentBytes) return;
    events_.clear();
    events_.swap(pending_);
  }
  if (overflowed) {
    ++metrics_.mine().slow_readers;
    return fail(ApiError(
        408, fmt::format("the client reads too slowly: more than {} tokens waited", kMostPending),
        {}, "slow_reader"));
  }
  for (Event& event : events_) {
    if (done_) return;
    handle(event);
  }
  if (done_ || out_.empty()) return;
  exchange_->write(out_);
  out_.clear();
  const auto now = Clock::now();
  Metrics& metrics = metrics_.mine();
  for (const Event& event : events_) {
    if (event.kind == ServingEvent::Kind::kToken)
      metrics.delivery.observe(seconds_of(now - event.at));
  }
}

void Answer::handle(Event& event) {
  Choice& choice = choices_[event.choice];
  choice.usage = event.usage;
  if (options_.continuous_usage) writer_.count(total_usage());
  switch (event.kind) {
    case ServingEvent::Kind::kStarted:
      if (options_.stream && !streaming_) begin_stream();
      break;
    case ServingEvent::Kind::kPrompt:
      choice.prompt = std::move(event.prompt);
      break;
    case ServingEvent::Kind::kToken:
      token(event);
      break;
    case ServingEvent::Kind::kFinished:
      finish(event);
      break;
    case ServingEvent::Kind::kFailed:
      fail(event.error ? *event.error : ApiError(500, "the request failed"));
      break;
  }
}

void Answer::begin_stream() {
  streaming_ = true;
  HttpResponse head{.content_type = "text/event-stream; charset=utf-8",
                    .headers = options_.headers};
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.headers.emplace_back("X-Accel-Buffering", "no");  // nginx would wait for more
  exchange_->start_stream(std::move(head), ": still at work\n\n");
}

void Answer::token(Event& event) {
  Choice& choice = choices_[event.choice];
  if (choice.cut_off) return;
  if (!first_token_) {
    first_token_ = event.at;
    metrics_.mine().first_token.observe(seconds_of(event.at - received_));
  }
  if (choice.last_token != Clock::time_point()) {
    metrics_.mine().between_tokens.observe(seconds_of(event.at - choice.last_token));
  }
  choice.last_token = event.at;
  if (options_.logprobs()) choice.unshown.push_back(std::move(event.piece));
  if (!choice.tools) return show(event.choice, event.reasoning, event.text, {});
  show(event.choice, event.reasoning, {}, choice.tools->push(event.text));
}

// Reasoning first, then text, or what the text was divided into.
void Answer::show(size_t index, std::string_view reasoning, std::string_view text,
                  std::vector<ToolEvent> events) {
  Choice& choice = choices_[index];
  if (options_.stream) begin(index);
  if (events.empty()) return show_text(index, reasoning, text);
  if (!reasoning.empty()) show_text(index, reasoning, {});
  for (ToolEvent& event : events) {
    if (event.kind == ToolEvent::Kind::kText) {
      show_text(index, {}, event.text);
    } else {
      show_call(index, event);
    }
    if (choice.cut_off) break;
  }
}

void Answer::begin(size_t index) {
  Choice& choice = choices_[index];
  if (choice.begun) return;
  choice.begun = true;
  const int number = static_cast<int>(index);
  writer_.role(out_, number);
  if (prompt_of(index) < options_.echo.size()) {
    const std::string& echo = options_.echo[prompt_of(index)];
    writer_.text(out_, number, echo, echoed_pieces(index), 0);
    choice.text_chars = characters(echo);
  }
}

// The prompt's tokens as the answer begins with them.
std::vector<TokenPiece> Answer::echoed_pieces(size_t index) const {
  std::vector<TokenPiece> pieces;
  if (!options_.logprobs() || options_.echo.empty()) return pieces;
  const std::vector<TokenChances>& chances = choices_[index].prompt;
  for (const TokenId token : options_.prompts[prompt_of(index)]) {
    if (pieces.empty()) {
      pieces.push_back({.token = token, .logprob = std::nullopt, .top = {}});
      continue;
    }
    const TokenChances& one = chances.at(pieces.size() - 1);
    const auto most = std::min(one.top.size(), static_cast<size_t>(options_.top_logprobs));
    pieces.push_back({.token = token,
                      .logprob = one.logprob,
                      .top = {one.top.begin(), one.top.begin() + static_cast<ptrdiff_t>(most)}});
  }
  return pieces;
}

PromptChances Answer::told_prompt(size_t index) {
  PromptChances told{.tokens = options_.prompts[prompt_of(index)],
                     .chances = std::move(choices_[index].prompt)};
  for (TokenChances& one : told.chances) {
    one.top.resize(std::min(one.top.size(), static_cast<size_t>(options_.prompt_logprobs)));
  }
  return told;
}

void Answer::show_text(size_t index, std::string_view reasoning, std::string_view text) {
  Choice& choice = choices_[index];
  if (!options_.stream) {
    choice.answer.text += text;
    choice.answer.reasoning += reasoning;
    std::ranges::move(choice.unshown, std::back_inserter(choice.answer.pieces));
    choice.unshown.clear();
    return;
  }
  const int number = static_cast<int>(index);
  if (!reasoning.empty()) {
    writer_.reasoning(out_, number, reasoning, choice.unshown);
    choice.unshown.clear();
  }
  if (text.empty() && choice.unshown.empty()) return;
  writer_.text(out_, number, text, choice.unshown, choice.text_chars);
  choice.unshown.clear();
  choice.text_chars += characters(text);
}

void Answer::show_call(size_t index, ToolEvent& event) {
  Choice& choice = choices_[index];
  const int number = static_cast<int>(index);
  if (!choice.unshown.empty()) show_text(index, {}, {});  // the call's tokens
  switch (event.kind) {
    case ToolEvent::Kind::kText:
      break;
    case ToolEvent::Kind::kCall: {
      ToolCall call{.id = random_id("call_"), .name = std::move(event.text), .arguments = {}};
      if (options_.stream) {
        writer_.call(out_, number, choice.calls, call);
      } else {
        choice.answer.calls.push_back(std::move(call));
      }
      ++choice.calls;
      break;
    }
    case ToolEvent::Kind::kArguments:
      if (options_.stream) {
        writer_.arguments(out_, number, choice.calls - 1, event.text);
      } else {
        choice.answer.calls.back().arguments += event.text;
      }
      break;
    case ToolEvent::Kind::kEnd:
      if (!options_.parallel_tools) cut_off(index);
      break;
  }
}

// One call was wanted and is there.
void Answer::cut_off(size_t index) {
  choices_[index].cut_off = true;
  std::optional<RequestId> id;
  {
    const std::lock_guard lock(mutex_);
    if (index < ids_.size()) id = ids_[index];
  }
  if (id) generator_.cancel(*id);
}

// Calls are what the answer ended for only where all that was begun is there: an answer that was
// cut off may have been about to call more. `inside`: a call was not whole.
std::string_view Answer::reason_of(const Choice& choice, FinishReason reason, bool inside) const {
  if (choice.cut_off) return "tool_calls";
  if (reason == FinishReason::kMaxTokens || reason == FinishReason::kContextFull) return "length";
  return choice.calls > 0 && !inside ? "tool_calls" : "stop";
}

void Answer::finish(Event& event) {
  Choice& choice = choices_[event.choice];
  if (event.reason == FinishReason::kCancelled && !choice.cut_off) {
    return fail(ApiError(503, "the request was cancelled", {}, "cancelled"));
  }
  if (options_.stream && !streaming_) begin_stream();
  bool inside = false;
  if (!choice.cut_off && choice.tools) {
    const bool cut = event.reason != FinishReason::kEos;
    std::vector<ToolEvent> events = choice.tools->push(event.text);
    inside = cut && choice.tools->inside();
    std::ranges::move(choice.tools->finish(cut), std::back_inserter(events));
    inside = inside || choice.tools->inside();
    show(event.choice, event.reasoning, {}, std::move(events));
  } else if (!choice.cut_off) {
    show(event.choice, event.reasoning, event.text, {});
  }
  choice.answer.reason = reason_of(choice, event.reason, inside);
  if (options_.stream) writer_.end(out_, static_cast<int>(event.choice), choice.answer.reason);
  choice.finished = true;
  if (++finished_ == choices_.size()) complete();
}

Usage Answer::total_usage() const {
  Usage usage;
  for (size_t i = 0; i < choices_.size(); ++i) {
    usage.completion_tokens += choices_[i].usage.completion_tokens;
    usage.reasoning_tokens += choices_[i].usage.reasoning_tokens;
    if (i % static_cast<size_t>(options_.per_prompt) != 0) continue;  // the prompt counts once
    usage.prompt_tokens += choices_[i].usage.prompt_tokens;
    usage.cached_tokens += choices_[i].usage.cached_tokens;
  }
  return usage;
}

void Answer::complete() {
  if (options_.stream) {
    if (options_.include_usage) writer_.usage(out_, total_usage());
    AnswerWriter::done(out_);
    exchange_->end_stream(out_);
  } else {
    std::vector<ChoiceText> whole;
    for (size_t i = 0; i < choices_.size(); ++i) {
      ChoiceText& text = whole.emplace_back(std::move(choices_[i].answer));
      if (prompt_of(i) < options_.echo.size()) {
        const std::vector<TokenPiece> pieces = echoed_pieces(i);
        text.text.insert(0, options_.echo[prompt_of(i)]);
        text.pieces.insert(text.pieces.begin(), pieces.begin(), pieces.end());
      }
      if (options_.prompt_logprobs >= 0) text.prompt = told_prompt(i);
    }
    exchange_->respond({.headers = options_.headers, .body = writer_.whole(whole, total_usage())});
  }
  metrics_.mine().whole.observe(seconds_of(Clock::now() - received_));
  end(200);
}

void Answer::fail(const ApiError& error) {
  if (done_) return;
  // Before the answer: who reads it finds that nothing runs on.
  cancel_all();
  if (streaming_) {
    exchange_->end_stream(out_ + "data: " + error.json() + "\n\n");
  } else {
    HttpResponse response{.status = error.status(), .headers = options_.headers};
    if (error.status() == 429 || error.status() == 503) {
      response.headers.emplace_back("Retry-After", "1");
    }
    response.body = error.json();
    exchange_->respond(std::move(response));
  }
  end(error.status());
}

void Answer::client_gone() {
  if (done_) return;
  ++metrics_.mine().clients_gone;
  end(kClientLeft);
  cancel_all();
}

// Not under the mutex: the engine may hold its own while it tells of events.
void Answer::cancel_all() {
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    ids = ids_;
  }
  for (const RequestId id : ids) generator_.cancel(id);
}

void Answer::end(int status) {
  done_ = true;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    pending_.clear();
  }
  metrics_.mine().count_request(options_.route, status);
  if (report_) {
    report_({.route = options_.route,
             .status = status,
             .usage = total_usage(),
             .seconds = seconds_of(Clock::now() - received_),
             .first_token_s = first_token_ ? seconds_of(*first_token_ - received_) : 0});
  }
}

}  // namespace dak
