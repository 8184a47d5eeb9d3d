#include "server/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "server/openai_messages.h"
#include "server/openai_tools.h"
#include "server/request_body.h"

namespace dak {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 31;
constexpr int64_t kMostLogprobs = 20;
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

// A field that would change the answer if it were anything but what dak does anyway.
void expect_absent(const JsonField& body, std::string_view key, std::string_view fix) {
  const auto field = body.find(key);
  if (field && !(field->value().is_structured() && field->value().empty())) {
    field->unsupported("is not supported", fix);
  }
}

SamplingParams sampling_of(const JsonField& body, bool& seed_given) {
  SamplingParams sampling;
  sampling.temperature = number_or(body, "temperature", 0, 2, 1);
  // 0 is valid to OpenAI: the most likely token alone.
  sampling.top_p = std::max(number_or(body, "top_p", 0, 1, 1), std::numeric_limits<float>::min());
  sampling.min_p = number_or(body, "min_p", 0, 1, 0);
  // -1 is off for others.
  sampling.top_k =
      static_cast<int>(std::max<int64_t>(0, integer_or(body, "top_k", -1, 1 << 30, 0)));
  sampling.presence_penalty = number_or(body, "presence_penalty", -2, 2, 0);
  sampling.frequency_penalty = number_or(body, "frequency_penalty", -2, 2, 0);
  sampling.repetition_penalty = number_or(body, "repetition_penalty", 0.01, 100, 1);
  const auto seed = body.find("seed");
  seed_given = seed.has_value();
  if (seed) sampling.seed = static_cast<uint64_t>(seed->integer(INT64_MIN, INT64_MAX));
  expect_absent(body, "logit_bias", "omit it");
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

GenerationFields generation_of(const JsonField& body, const RequestLimits& limits) {
  GenerationFields fields;
  if (const auto model = body.find("model")) fields.model = model->string();
  fields.sampling = sampling_of(body, fields.seed_given);
  fields.n = static_cast<int>(integer_or(body, "n", 1, limits.choices, 1));
  fields.max_tokens = integer_or(body, "max_tokens", 1, kMostTokens, 0);
  fields.stop = stop_of(body, limits);
  fields.ignore_eos = body.boolean_or("ignore_eos", false);
  fields.stream = body.boolean_or("stream", false);
  if (const auto options = body.find("stream_options")) {
    options->expect_only({"include_usage", "continuous_usage_stats", "include_obfuscation"});
    if (!fields.stream) options->corrupt("is for streams", "set \"stream\": true");
    fields.include_usage = options->boolean_or("include_usage", false);
    fields.continuous_usage = options->boolean_or("continuous_usage_stats", false);
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
constexpr std::string_view kHarmless[] = {"user",         "metadata",         "store",
                                          "service_tier", "prompt_cache_key", "safety_identifier"};

void expect_known(const JsonField& body, std::initializer_list<std::string_view> own) {
  constexpr std::string_view kShared[] = {
      "model",      "temperature",        "top_p",  "min_p",
      "top_k",      "presence_penalty",   "seed",   "frequency_penalty",
      "logit_bias", "repetition_penalty", "n",      "max_tokens",
      "stop",       "ignore_eos",         "stream", "stream_options",
      "logprobs"};
  for (const auto& [key, value] : body.value().items()) {
    const auto is_key = [&key = key](std::string_view known) { return known == key; };
    if (std::ranges::any_of(kShared, is_key) || std::ranges::any_of(kHarmless, is_key) ||
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

ChatRequest chat_of(const JsonField& body, std::string_view text, const RequestLimits& limits) {
  expect_known(body, {"messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice",
                      "parallel_tool_calls", "chat_template_kwargs", "modalities", "functions",
                      "function_call", "reasoning_effort", "enable_thinking", "verbosity"});
  ChatRequest request;
  request.fields = generation_of(body, limits);
  if (const auto tokens = body.find("max_completion_tokens")) {
    const int64_t most = tokens->integer(1, kMostTokens);
    if (request.fields.max_tokens != 0 && request.fields.max_tokens != most) {
      tokens->corrupt("differs from max_tokens", "give one of them");
    }
    request.fields.max_tokens = most;
  }
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

std::vector<TokenId> tokens_of(const JsonField& field) {
  std::vector<TokenId> tokens;
  for (const JsonField& item : field.items()) {
    tokens.push_back(static_cast<TokenId>(item.integer(0, std::numeric_limits<TokenId>::max())));
  }
  return tokens;
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
                                const RequestLimits& limits) {
  constexpr int64_t kDefaultTokens = 16;  // OpenAI's
  expect_known(body, {"prompt", "echo", "best_of", "suffix"});
  CompletionRequest request;
  request.fields = generation_of(body, limits);
  if (!body.find("max_tokens")) request.fields.max_tokens = kDefaultTokens;
  if (const auto logprobs = body.find("logprobs")) {
    request.fields.top_logprobs = static_cast<int>(logprobs->integer(0, kMostLogprobs));
  }
  if (const auto best = body.find("best_of");
      best && best->integer(1, 1 << 20) != request.fields.n) {
    best->unsupported("must be n, if it is given", "omit it");
  }
  expect_absent(body, "suffix", "put it into the prompt as the model expects it");
  request.echo = body.boolean_or("echo", false);
  if (request.echo && request.fields.top_logprobs >= 0) {
    body.find("logprobs")
        ->unsupported("are not given for the prompt", "leave out echo or logprobs");
  }
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

ChatRequest parse_chat_request(std::string_view body, const RequestLimits& limits) {
  return parsed_body<ChatRequest>(
      body, [&](const JsonField& field) { return chat_of(field, body, limits); });
}

CompletionRequest parse_completion_request(std::string_view body, const RequestLimits& limits) {
  return parsed_body<CompletionRequest>(
      body, [&](const JsonField& field) { return completion_of(field, body, limits); });
}

TokenizeRequest parse_tokenize_request(std::string_view body, const RequestLimits& limits) {
  return parsed_body<TokenizeRequest>(body, [&](const JsonField& field) {
    field.expect_only({"model", "prompt", "messages", "add_special_tokens"});
    TokenizeRequest request;
    request.add_special_tokens = field.boolean_or("add_special_tokens", true);
    const auto messages = field.find("messages");
    if (messages) {
      ExactBody exact(body);
      request.input.messages = messages_of(*messages, exact, limits.messages);
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
