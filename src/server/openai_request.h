// Bodies of the OpenAI API as plain structs. Every field is checked; one that dak does not know is
// refused, and so is one that it knows and cannot honour: nothing is ignored that would change the
// answer. Beside OpenAI's fields: top_k, min_p, repetition_penalty, ignore_eos,
// chat_template_kwargs, as other servers have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/sampler.h"
#include "server/api_error.h"
#include "server/response_format.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace dak {

struct RequestLimits {
  int64_t choices = 16;       // n, times the number of prompts
  int64_t prompt_tokens = 0;  // 0: the context
  int64_t messages = 4096;
  int64_t stop_strings = 16;
  int64_t stop_bytes = 1024;  // of each
};

// What chats and completions have in common.
struct GenerationFields {
  std::string model;  // empty: whichever there is
  SamplingParams sampling{.temperature = 1.0f};
  bool seed_given = false;
  int64_t max_tokens = 0;  // 0: until the context is full
  int n = 1;
  std::vector<std::string> stop;
  int top_logprobs = -1;  // -1: none, 0: the chosen token's alone
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;     // a last chunk with the usage
  bool continuous_usage = false;  // each chunk with the usage so far
};

enum class ToolChoice : uint8_t { kAuto, kNone, kRequired };

struct ChatRequest {
  GenerationFields fields;
  ChatInput input;
  ResponseFormat format;
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;         // kRequired: this one; empty: any
  bool parallel_tools = true;    // more than one call in an answer
  std::string reasoning_effort;  // empty: not given
};

struct CompletionRequest {
  GenerationFields fields;
  std::vector<std::variant<std::string, std::vector<TokenId>>> prompts;  // one or more
  ResponseFormat format;
  bool echo = false;
};

struct TokenizeRequest {
  std::string text;
  ChatInput input;  // instead of the text, if it has messages
  bool add_special_tokens = true;
};

// Throw ApiError (400) naming the field.
ChatRequest parse_chat_request(std::string_view body, const RequestLimits& limits);
CompletionRequest parse_completion_request(std::string_view body, const RequestLimits& limits);
TokenizeRequest parse_tokenize_request(std::string_view body, const RequestLimits& limits);
std::vector<TokenId> parse_detokenize_request(std::string_view body);

}  // namespace dak
