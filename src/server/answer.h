// One HTTP request's answer on its way from the engine to the client. The engine's thread appends
// to a bounded queue and never waits; the connection's thread formats and writes. A client that
// reads too slowly fills the queue, and its request is cancelled.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/generator.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/openai_answer.h"
#include "server/openai_request.h"
#include "server/tools/tool_parser.h"

namespace dak {

struct AnswerOptions {
  std::string route;  // for the metrics
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  int top_logprobs = -1;     // of the answer's tokens, and of a prompt's that it begins with
  int prompt_logprobs = -1;  // of the prompt's, told apart
  // By prompt, where its log-probabilities are wanted.
  std::vector<std::vector<TokenId>> prompts;
  bool parallel_tools = true;
  const ToolForm* tool_form = nullptr;  // null: calls are not looked for
  std::shared_ptr<const ToolSignatures> tools;
  std::vector<std::string> echo;  // by prompt: what its answers begin with
  int per_prompt = 1;             // answers to each prompt, neighbours in the list of requests
  std::vector<std::pair<std::string, std::string>> headers;

  bool logprobs() const { return top_logprobs >= 0; }
};

// Told once for each answer, on its connection's thread.
struct AnswerReport {
  std::string route;
  int status = 200;  // 499: the client left
  Usage usage;
  double seconds = 0;
  double first_token_s = 0;
};

class Answer : public std::enable_shared_from_this<Answer> {
 public:
  using Clock = std::chrono::steady_clock;
  // Events that wait while the client does not read: then it is too slow.
  static constexpr size_t kMostPending = 1024;
  static constexpr size_t kMostUnsentBytes = size_t{64} << 10;

  Answer(AnswerWriter writer, AnswerOptions options, std::shared_ptr<Exchange> exchange,
         Generator& generator, ThreadMetrics& metrics, Clock::time_point received,
         std::function<void(const AnswerReport&)> report);

  // Any thread, once. A request that is refused is an error for all.
  void start(std::vector<ServingRequest> requests);

 private:
  struct Event {
    size_t choice = 0;
    ServingEvent::Kind kind{};
    Clock::time_point at;
    TokenPiece piece;
    std::string text;
    std::string reasoning;
    FinishReason reason{};
    std::unique_ptr<const ApiError> error;
    Usage usage;
    std::vector<TokenChances> prompt;
  };
  struct Choice {
    ChoiceText answer;
    std::vector<TokenChances> prompt;  // of its tokens but the first
    std::optional<ToolCallParser> tools;
    Usage usage;
    std::vector<TokenPiece> unshown;  // pieces whose text is still held back
    size_t text_chars = 0;            // shown so far
    size_t calls = 0;                 // begun
    bool begun = false;               // its role has been written
    bool cut_off = false;             // ended by us: one call was wanted
    bool finished = false;
    Clock::time_point last_token;
  };

  // The engine's thread.
  void on_event(size_t choice, const ServingEvent& event);

  // The connection's thread.
  void drain();
  void handle(Event& event);
  void token(Event& event);
  void show(size_t index, std::string_view reasoning, std::string_view text,
            std::vector<ToolEvent> events);
  void show_text(size_t index, std::string_view reasoning, std::string_view text);
  void show_call(size_t index, ToolEvent& event);
  void begin(size_t index);
  size_t prompt_of(size_t choice) const {
    return choice / static_cast<size_t>(options_.per_prompt);
  }
  std::vector<TokenPiece> echoed_pieces(size_t index) const;
  PromptChances told_prompt(size_t index);
  void cut_off(size_t index);
  std::string_view reason_of(const Choice& choice, FinishReason reason, bool inside) const;
  void finish(Event& event);
  void begin_stream();
  void fail(const ApiError& error);
  void complete();
  void client_gone();
  void cancel_all();
  void end(int status);
  Usage total_usage() const;

  AnswerWriter writer_;
  AnswerOptions options_;
  std::shared_ptr<Exchange> exchange_;
  Generator& generator_;
  ThreadMetrics& metrics_;
  Clock::time_point received_;
  std::function<void(const AnswerReport&)> report_;

  std::mutex mutex_;  // of these five
  std::vector<Event> pending_;
  std::vector<RequestId> ids_;
  bool scheduled_ = false;
  bool overflowed_ = false;
  bool over_ = false;  // nobody wants events any more

  std::vector<Event> events_;  // being handled; kept for its room
  std::vector<Choice> choices_;
  std::string out_;
  size_t finished_ = 0;
  bool streaming_ = false;
  bool done_ = false;
  std::optional<Clock::time_point> first_token_;
};

}  // namespace dak
