// Answers of the OpenAI API: whole, or chunk by chunk as server-sent events.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/scheduler.h"

namespace dak {

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt
  int64_t completion_tokens = 0;
  int64_t reasoning_tokens = 0;  // among these
};
std::string usage_json(const Usage& usage);

// A token of the answer, or of a prompt that it begins with, with what was asked to be known of it.
struct TokenPiece {
  TokenId token = -1;
  std::optional<float> logprob = 0.0f;  // nullopt: a prompt's first token
  std::vector<TokenLogprob> top;
};

// What a model says of a prompt, as vLLM's prompt_logprobs tells it.
struct PromptChances {
  std::vector<TokenId> tokens;
  std::vector<TokenChances> chances;  // of all but the first
};

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON text; of a call that was cut off its beginning
};

// One answer of several.
struct ChoiceText {
  std::string text;  // echo included
  std::string reasoning;
  std::vector<TokenPiece> pieces;
  std::optional<PromptChances> prompt;
  std::vector<ToolCall> calls;
  std::string reason;  // stop, length, tool_calls
};

// A model's tokens, by id.
struct AnswerTokens {
  std::vector<std::string> texts;  // bytes
  std::vector<bool> special;       // no part of the text
};

class AnswerWriter {
 public:
  enum class Kind : uint8_t { kChat, kCompletion };

  // `tokens` outlives this.
  AnswerWriter(Kind kind, std::string model, const AnswerTokens& tokens);

  const std::string& id() const { return id_; }
  void show_logprobs(bool show) { logprobs_ = show; }
  // Chunks have "usage": null, or the usage that was counted last.
  void show_usage();
  void count(const Usage& so_far) { so_far_ = so_far; }

  // Server-sent events, appended to `out`. `text_at`: characters of the choice's text
  // before.
  void role(std::string& out, int choice) const;
  void text(std::string& out, int choice, std::string_view text, std::span<const TokenPiece> pieces,
            size_t text_at) const;
  void reasoning(std::string& out, int choice, std::string_view text,
                 std::span<const TokenPiece> pieces) const;
  // A call's beginning, without arguments, and then these as they come.
  void call(std::string& out, int choice, size_t number, const ToolCall& call) const;
  void arguments(std::string& out, int choice, size_t number, std::string_view more) const;
  void end(std::string& out, int choice, std::string_view reason) const;
  void usage(std::string& out, const Usage& usage) const;
  static void done(std::string& out);

  // A whole answer's body.
  std::string whole(std::span<const ChoiceText> choices, const Usage& usage) const;

 private:
  std::string head(bool chunk) const;
  void open(std::string& out, int choice) const;
  std::string text_end() const;
  void close(std::string& out, std::string_view reason) const;
  void chat_logprobs(std::string& out, std::span<const TokenPiece> pieces) const;
  void completion_logprobs(std::string& out, std::span<const TokenPiece> pieces,
                           size_t text_at) const;
  void top_of(std::string& out, const TokenPiece& piece) const;
  void prompt(std::string& out, const PromptChances& prompt) const;
  void message(std::string& out, const ChoiceText& choice) const;
  void delta_end(std::string& out, std::span<const TokenPiece> pieces, size_t text_at) const;
  std::string_view bytes_of(TokenId token) const;
  bool is_special(TokenId token) const;
  std::string spelled(TokenId token) const;

  Kind kind_;
  std::string id_;
  int64_t created_;
  std::string model_;
  const AnswerTokens& tokens_;
  bool logprobs_ = false;
  bool usage_ = false;
  std::optional<Usage> so_far_;
  // What most chunks of a stream have in common: a token's text stands between the two.
  std::string chunk_head_;  // up to the choice's number
  std::string text_end_;
};

size_t characters(std::string_view utf8);

// `prefix` and random letters and digits.
std::string random_id(std::string_view prefix);

}  // namespace dak
