// Bodies of the OpenAI API as plain structs. Every field is checked; one that dak does not know is
// refused, and so is one that it knows and cannot honour: nothing is ignored that would change the
// answer. Beside OpenAI's fields, as other servers have them: top_k, min_p, repetition_penalty,
// ignore_eos, min_tokens, stop_token_ids, prompt_logprobs, chat_template_kwargs,
// add_generation_prompt, continue_final_message; as transformers has it, split_special_tokens.
#pragma once

#include <cstdint>
#include <optional>
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
  int64_t choices = 1024;     // n, times the number of prompts
  int64_t prompt_tokens = 0;  // 0: the context
  int64_t messages = 4096;
  int64_t stop_strings = 16;
  int64_t stop_bytes = 1024;  // of each
};

// What a request means that does not say.
struct RequestDefaults {
  SamplingParams sampling{.temperature = 1.0f};
  int64_t max_tokens = 0;  // 0: until the context is full; 16 in completions, as OpenAI has it
};

// What chats and completions have in common.
struct GenerationFields {
  std::string model;  // empty: whichever there is
  SamplingParams sampling;
  bool seed_given = false;
  std::optional<int64_t> max_tokens;  // nullopt: until the context is full; 0: the prompt alone
  int64_t min_tokens = 0;
  int n = 1;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_tokens;
  int top_logprobs = -1;     // -1: none, 0: the chosen token's alone
  int prompt_logprobs = -1;  // likewise, of the prompt's tokens; not in streams
  bool ignore_eos = false;
  std::optional<bool> split_special_tokens;  // special tokens in the client's text are letters
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
  bool continue_final = false;   // the answer goes on with the last message, the assistant's
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
  bool continue_final = false;
  std::optional<bool> split_special_tokens;
};

// Throw ApiError (400) naming the field.
ChatRequest parse_chat_request(std::string_view body, const RequestLimits& limits,
                               const RequestDefaults& defaults = {});
CompletionRequest parse_completion_request(std::string_view body, const RequestLimits& limits,
                                           const RequestDefaults& defaults = {});
TokenizeRequest parse_tokenize_request(std::string_view body, const RequestLimits& limits);
std::vector<TokenId> parse_detokenize_request(std::string_view body);

}  // namespace dak
