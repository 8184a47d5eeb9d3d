#include "server/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "scheduler/logprobs.h"
#include "server/openai_messages.h"
#include "server/openai_tools.h"
#include "server/request_body.h"

namespace dak {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 31;
constexpr int64_t kMostLogprobs = kMostTopLogprobs;
constexpr double kMostBias = 100;
constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium", "high", "xhigh"};

float number_or(const JsonField& body, std::string_view key, double low, double high,
                float otherwise) {
  const auto field = body.find(key);
  return field ? static_cast<float>(field->number(low, high)) : otherwise;
}

int64_t integer_or(const JsonField& body, std::string_view key, int64_t low, int64_t high,
                   int64_t otherwise) {
  const auto field = body.find(key);
  return field ? field->integer(low, high) : otherwise;
}

std::optional<bool> boolean_of(const JsonField& body, std::string_view key) {
  const auto field = body.find(key);
  return field ? std::optional(field->boolean()) : std::nullopt;
}

// A field that would change the answer if it were anything but what dak does anyway.
void expect_absent(const JsonField& body, std::string_view key, std::string_view fix) {
  const auto field = body.find(key);
  if (field && !(field->value().is_structured() && field->value().empty())) {
    field->unsupported("is not supported", fix);
  }
}

TokenId token_id_of(const JsonField& field) {
  return static_cast<TokenId>(field.integer(0, std::numeric_limits<TokenId>::max()));
}

std::vector<TokenId> tokens_of(const JsonField& field) {
  std::vector<TokenId> tokens;
  for (const JsonField& item : field.items()) tokens.push_back(token_id_of(item));
  return tokens;
}

// {"50256": -100}; an object's names are texts.
std::vector<TokenBias> biases_of(const JsonField& field) {
  if (!field.value().is_object()) field.corrupt("must be an object from token ids to numbers");
  std::vector<TokenBias> biases;
  for (const auto& [key, value] : field.value().items()) {
    TokenId token = -1;
    const char* end = key.data() + key.size();
    const auto [stop, status] = std::from_chars(key.data(), end, token);
    if (status != std::errc() || stop != end || token < 0) {
      field.corrupt(fmt::format("has '{}', which is no token id", printable(key)),
                    "names are ids of tokens, as texts");
    }
    const JsonField number(value, fmt::format("{}.{}", field.path(), token), "");
    biases.push_back(
        {.token = token, .bias = static_cast<float>(number.number(-kMostBias, kMostBias))});
  }
  std::ranges::sort(biases, {}, &TokenBias::token);  // a body may have very many
  const auto twice = std::ranges::adjacent_find(biases, {}, &TokenBias::token);
  if (twice != biases.end()) {
    field.corrupt(fmt::format("names the token {} twice", twice->token));
  }
  return biases;
}

SamplingParams sampling_of(const JsonField& body, const SamplingParams& defaults,
                           bool& seed_given) {
  SamplingParams sampling;
  sampling.temperature = number_or(body, "temperature", 0, 2, defaults.temperature);
  // 0 is valid to OpenAI: the most likely token alone.
  sampling.top_p =
      std::max(number_or(body, "top_p", 0, 1, defaults.top_p), std::numeric_limits<float>::min());
  sampling.min_p = number_or(body, "min_p", 0, 1, defaults.min_p);
  // -1 is off for others.
  sampling.top_k = static_cast<int>(
      std::max<int64_t>(0, integer_or(body, "top_k", -1, 1 << 30, defaults.top_k)));
  sampling.presence_penalty = number_or(body, "presence_penalty", -2, 2, defaults.presence_penalty);
  sampling.frequency_penalty =
      number_or(body, "frequency_penalty", -2, 2, defaults.frequency_penalty);
  sampling.repetition_penalty =
      number_or(body, "repetition_penalty", 0.01, 100, defaults.repetition_penalty);
  const auto seed = body.find("seed");
  seed_given = seed.has_value();
  if (seed) sampling.seed = static_cast<uint64_t>(seed->integer(INT64_MIN, INT64_MAX));
  if (const auto bias = body.find("logit_bias")) sampling.logit_bias = biases_of(*bias);
  return sampling;
}

std::vector<std::string> stop_of(const JsonField& body, const RequestLimits& limits) {
  std::vector<std::string> stops;
  const auto field = body.find("stop");
  if (!field) return stops;
  const auto add = [&](const JsonField& one) {
    stops.push_back(one.string());
    if (stops.back().empty()) one.corrupt("is empty");
    if (std::ssize(stops.back()) > limits.stop_bytes) {
      one.corrupt(fmt::format("is longer than {} bytes", limits.stop_bytes));
    }
  };
  if (!field->value().is_array()) {
    add(*field);
    return stops;
  }
  if (std::ssize(field->value()) > limits.stop_strings) {
    field->corrupt(fmt::format("has more than {} strings", limits.stop_strings));
  }
  for (const JsonField& one : field->items()) add(one);
  return stops;
}

// -1: until the context is full; 0: none.
std::optional<int64_t> most_tokens_of(const JsonField& field) {
  const int64_t most = field.integer(-1, kMostTokens);
  return most < 0 ? std::nullopt : std::optional(most);
}

void read_max_tokens(const JsonField& body, int64_t otherwise, GenerationFields& fields) {
  const auto tokens = body.find("max_tokens");
  const auto newer = body.find("max_completion_tokens");  // of chats
  if (otherwise > 0) fields.max_tokens = otherwise;
  if (tokens) fields.max_tokens = most_tokens_of(*tokens);
  if (!newer) return;
  const std::optional<int64_t> most = most_tokens_of(*newer);
  if (tokens && most != fields.max_tokens) {
    newer->corrupt("differs from max_tokens", "give one of them");
  }
  fields.max_tokens = most;
}

void read_ends(const JsonField& body, GenerationFields& fields) {
  fields.ignore_eos = body.boolean_or("ignore_eos", false);
  if (const auto stop = body.find("stop_token_ids")) fields.stop_tokens = tokens_of(*stop);
  const auto least = body.find("min_tokens");
  if (!least) return;
  fields.min_tokens = least->integer(0, kMostTokens);
  if (fields.max_tokens && fields.min_tokens > *fields.max_tokens) {
    least->corrupt(fmt::format("is more than max_tokens, {}", *fields.max_tokens));
  }
}

GenerationFields generation_of(const JsonField& body, const RequestLimits& limits,
                               const RequestDefaults& defaults, int64_t default_tokens) {
  GenerationFields fields;
  if (const auto model = body.find("model")) fields.model = model->string();
  fields.sampling = sampling_of(body, defaults.sampling, fields.seed_given);
  fields.n = static_cast<int>(integer_or(body, "n", 1, limits.choices, 1));
  read_max_tokens(body, default_tokens, fields);
  fields.stop = stop_of(body, limits);
  read_ends(body, fields);
  fields.split_special_tokens = boolean_of(body, "split_special_tokens");
  fields.stream = body.boolean_or("stream", false);
  if (const auto options = body.find("stream_options")) {
    options->expect_only({"include_usage", "continuous_usage_stats", "include_obfuscation"});
    if (!fields.stream) options->corrupt("is for streams", "set \"stream\": true");
    fields.include_usage = options->boolean_or("include_usage", false);
    fields.continuous_usage = options->boolean_or("continuous_usage_stats", false);
  }
  if (const auto prompt = body.find("prompt_logprobs")) {
    fields.prompt_logprobs = static_cast<int>(prompt->integer(0, kMostLogprobs));
    if (fields.stream) prompt->unsupported("are not given in streams", "set \"stream\": false");
  }
  return fields;
}

void chat_logprobs(const JsonField& body, GenerationFields& fields) {
  const bool wanted = body.boolean_or("logprobs", false);
  const auto top = body.find("top_logprobs");
  if (top && !wanted) top->corrupt("needs \"logprobs\": true");
  if (wanted) fields.top_logprobs = top ? static_cast<int>(top->integer(0, kMostLogprobs)) : 0;
}

// Fields that change nothing in the answer of a server with one model and one class of service.
constexpr std::string_view kHarmless[] = {"user",
                                          "metadata",
                                          "store",
                                          "service_tier",
                                          "prompt_cache_key",
                                          "prompt_cache_retention",
                                          "safety_identifier"};

void expect_known(const JsonField& body, std::initializer_list<std::string_view> own) {
  constexpr std::string_view kShared[] = {"model",
                                          "temperature",
                                          "top_p",
                                          "min_p",
                                          "top_k",
                                          "presence_penalty",
                                          "seed",
                                          "frequency_penalty",
                                          "logit_bias",
                                          "repetition_penalty",
                                          "n",
                                          "max_tokens",
                                          "min_tokens",
                                          "stop",
                                          "stop_token_ids",
                                          "ignore_eos",
                                          "stream",
                                          "stream_options",
                                          "logprobs",
                                          "prompt_logprobs",
                                          "split_special_tokens"};
  for (const auto& [key, value] : body.value().items()) {
    const auto is_key = [&key = key](std::string_view known) { return known == key; };
    if (value.is_null() ||  // absent, as libraries of clients say it
        std::ranges::any_of(kShared, is_key) || std::ranges::any_of(kHarmless, is_key) ||
        std::ranges::any_of(own, is_key) || std::ranges::any_of(format_fields(), is_key)) {
      continue;
    }
    JsonField(value, printable(key), "").unsupported("is not a field of this request");
  }
}

// Where the order of members matters, or there is nothing of the kind.
OrderedJson ordered_body(const JsonField& body, std::string_view text) {
  const auto is_given = [&body](std::string_view key) { return body.find(key).has_value(); };
  return std::ranges::any_of(format_fields(), is_given) ? parse_ordered(text) : OrderedJson();
}

// How the prompt of a conversation ends. Returns whether the answer goes on with its last message.
bool read_prompt_end(const JsonField& body, ChatInput& input) {
  const auto generation = body.find("add_generation_prompt");
  const auto final_message = body.find("continue_final_message");
  const bool continues = final_message && final_message->boolean();
  if (continues && generation && generation->boolean()) {
    final_message->corrupt("goes on with a message, and add_generation_prompt begins one",
                           "give one of them");
  }
  input.add_generation_prompt = !continues && (!generation || generation->boolean());
  if (!continues) return false;
  const bool of_assistant =
      !input.messages.empty() && input.messages.back().value("role", std::string()) == "assistant";
  if (!of_assistant) {
    final_message->corrupt("needs a last message of the assistant", "omit it, or add the message");
  }
  return true;
}

// Fields of texts in a request that has messages, or of messages in one that has a text, would
// change nothing.
void check_either(const JsonField& body, bool has_messages) {
  if (!has_messages) {
    for (const std::string_view key : {"add_generation_prompt", "continue_final_message"}) {
      if (const auto other = body.find(key)) other->corrupt("is for messages", "omit it");
    }
    return;
  }
  if (const auto prompt = body.find("prompt")) {
    prompt->corrupt("stands beside messages", "give one of them");
  }
  const auto special = body.find("add_special_tokens");
  if (special && special->boolean()) {
    special->corrupt("is for a prompt: the chat template writes the special tokens of messages",
                     "omit it");
  }
}

ChatRequest chat_of(const JsonField& body, std::string_view text, const RequestLimits& limits,
                    const RequestDefaults& defaults) {
  expect_known(body, {"messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice",
                      "parallel_tool_calls", "chat_template_kwargs", "modalities", "functions",
                      "function_call", "reasoning_effort", "enable_thinking", "verbosity",
                      "add_generation_prompt", "continue_final_message"});
  ChatRequest request;
  request.fields = generation_of(body, limits, defaults, defaults.max_tokens);
  chat_logprobs(body, request.fields);
  expect_absent(body, "functions", "use tools");
  expect_absent(body, "function_call", "use tool_choice");
  if (const auto effort = body.find("reasoning_effort")) {
    request.reasoning_effort = effort->string();
    if (std::ranges::find(kEfforts, request.reasoning_effort) == std::end(kEfforts)) {
      effort->corrupt(fmt::format("is none of {}", fmt::join(kEfforts, ", ")));
    }
  }
  expect_absent(body, "verbosity", "say it in a message");
  if (const auto modalities = body.find("modalities")) {
    for (const JsonField& one : modalities->items()) {
      if (one.string() != "text") one.unsupported("dak gives text alone");
    }
  }
  const OrderedJson ordered = ordered_body(body, text);
  request.format = response_format_of(body, ordered);
  ExactBody exact(text);
  request.input.messages = messages_of(body.at("messages"), exact, limits.messages);
  request.continue_final = read_prompt_end(body, request.input);
  if (const auto extra = body.find("chat_template_kwargs")) {
    if (!extra->value().is_object()) extra->corrupt("must be an object");
    for (const std::string_view own :
         {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "documents"}) {
      if (const auto taken = extra->find(own)) taken->corrupt("is set by the server");
    }
    request.input.extra = exact.get().at("chat_template_kwargs");
  }
  if (const auto thinking = body.find("enable_thinking")) {
    if (request.input.extra.contains("enable_thinking")) thinking->corrupt("is given twice");
    request.input.extra["enable_thinking"] = thinking->boolean();
  }
  read_tools(body, exact, request);
  return request;
}

// A string, token ids, or an array of either.
void read_prompts(const JsonField& field, CompletionRequest& request) {
  if (field.value().is_string()) {
    request.prompts.emplace_back(field.string());
    return;
  }
  const auto items = field.items();
  if (items.empty()) field.corrupt("is empty");
  if (items.front().value().is_number()) {
    request.prompts.emplace_back(tokens_of(field));
    return;
  }
  for (const JsonField& item : items) {
    if (item.value().is_string()) {
      request.prompts.emplace_back(item.string());
    } else {
      request.prompts.emplace_back(tokens_of(item));
    }
  }
}

CompletionRequest completion_of(const JsonField& body, std::string_view text,
                                const RequestLimits& limits, const RequestDefaults& defaults) {
  constexpr int64_t kDefaultTokens = 16;  // OpenAI's
  expect_known(body, {"prompt", "echo", "best_of", "suffix"});
  CompletionRequest request;
  request.fields = generation_of(body, limits, defaults, kDefaultTokens);
  if (const auto logprobs = body.find("logprobs")) {
    request.fields.top_logprobs = static_cast<int>(logprobs->integer(0, kMostLogprobs));
  }
  if (const auto best = body.find("best_of");
      best && best->integer(1, 1 << 20) != request.fields.n) {
    best->unsupported("must be n, if it is given", "omit it");
  }
  expect_absent(body, "suffix", "put it into the prompt as the model expects it");
  request.echo = body.boolean_or("echo", false);
  request.format = response_format_of(body, ordered_body(body, text));
  const JsonField prompt = body.at("prompt");
  read_prompts(prompt, request);
  const auto choices = std::ssize(request.prompts) * request.fields.n;
  if (choices > limits.choices) {
    prompt.corrupt(
        fmt::format("asks for {} answers in all, more than {}", choices, limits.choices));
  }
  return request;
}

}  // namespace

ChatRequest parse_chat_request(std::string_view body, const RequestLimits& limits,
                               const RequestDefaults& defaults) {
  return parsed_body<ChatRequest>(
      body, [&](const JsonField& field) { return chat_of(field, body, limits, defaults); });
}

CompletionRequest parse_completion_request(std::string_view body, const RequestLimits& limits,
                                           const RequestDefaults& defaults) {
  return parsed_body<CompletionRequest>(
      body, [&](const JsonField& field) { return completion_of(field, body, limits, defaults); });
}

TokenizeRequest parse_tokenize_request(std::string_view body, const RequestLimits& limits) {
  return parsed_body<TokenizeRequest>(body, [&](const JsonField& field) {
    field.expect_only({"model", "prompt", "messages", "add_special_tokens", "add_generation_prompt",
                       "continue_final_message", "split_special_tokens"});
    TokenizeRequest request;
    request.add_special_tokens = field.boolean_or("add_special_tokens", true);
    request.split_special_tokens = boolean_of(field, "split_special_tokens");
    const auto messages = field.find("messages");
    check_either(field, messages.has_value());
    if (messages) {
      ExactBody exact(body);
      request.input.messages = messages_of(*messages, exact, limits.messages);
      request.continue_final = read_prompt_end(field, request.input);
    } else {
      request.text = field.at("prompt").string();
    }
    return request;
  });
}

std::vector<TokenId> parse_detokenize_request(std::string_view body) {
  return parsed_body<std::vector<TokenId>>(body, [](const JsonField& field) {
    field.expect_only({"model", "tokens"});
    return tokens_of(field.at("tokens"));
  });
}

}  // namespace dak
