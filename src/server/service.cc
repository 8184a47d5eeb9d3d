#include "server/service.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/continued_message.h"
#include "server/json_text.h"
#include "server/reasoning/after_reasoning.h"
#include "server/tools/tool_grammar.h"
#include "text/exact_json.h"
#include "text/token_bytes.h"

namespace dak {
namespace {

uint64_t random_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

AnswerTokens tokens_of(const Tokenizer& tokenizer) {
  AnswerTokens tokens{.texts = token_bytes(tokenizer), .special = {}};
  for (size_t id = 0; id < tokens.texts.size(); ++id) {
    tokens.special.push_back(tokenizer.is_special(static_cast<TokenId>(id)));
  }
  return tokens;
}

AnswerOptions options_of(const GenerationFields& fields, std::string route) {
  return {.route = std::move(route),
          .stream = fields.stream,
          .include_usage = fields.include_usage,
          .continuous_usage = fields.continuous_usage,
          .top_logprobs = fields.top_logprobs,
          .prompt_logprobs = fields.prompt_logprobs,
          .per_prompt = fields.n};
}

}  // namespace

Service::Service(const Engine& engine, Generator& generator, ServiceOptions options)
    : engine_(engine),
      generator_(generator),
      options_(std::move(options)),
      longest_prompt_(engine.context() - 1),
      tokens_(tokens_of(engine.tokenizer())),
      forms_(engine, name()) {
  const int64_t most = options_.limits.prompt_tokens;
  if (most > 0) longest_prompt_ = std::min(longest_prompt_, most);
}

const std::string& Service::model_named(const std::string& model) const {
  if (model.empty()) return name();
  const auto found = std::ranges::find(names(), model);
  if (found != names().end()) return *found;
  throw ApiError(404,
                 fmt::format("the model '{}' is not here; there is '{}'", printable(model),
                             fmt::join(names(), "', '")),
                 "model", "model_not_found");
}

void Service::check_token(TokenId token, std::string_view param) const {
  if (token < engine_.config().vocabulary) return;
  throw ApiError(400,
                 fmt::format("the token {} is outside the model's vocabulary of {}", token,
                             engine_.config().vocabulary),
                 std::string(param));
}

void Service::check_tokens(const GenerationFields& fields) const {
  for (const TokenId token : fields.stop_tokens) check_token(token, "stop_token_ids");
  for (const TokenBias& bias : fields.sampling.logit_bias) check_token(bias.token, "logit_bias");
}

void Service::check_prompt(std::span<const TokenId> tokens, std::string_view param) const {
  if (tokens.empty()) throw ApiError(400, "the prompt is empty", std::string(param));
  if (std::ssize(tokens) > longest_prompt_) {
    throw ApiError(400,
                   fmt::format("the prompt has {} tokens, more than the {} that this server takes "
                               "(the context is {} tokens)",
                               tokens.size(), longest_prompt_, engine_.context()),
                   std::string(param), "context_length_exceeded");
  }
  for (const TokenId token : tokens) check_token(token, param);
}

ChatText Service::chat_text(const ChatInput& input) const {
  const ChatTemplate* by =
      input.tools.is_null() ? engine_.chat_template() : engine_.tool_template();
  if (by == nullptr) {
    throw ApiError(400,
                   fmt::format("the model '{}' has no chat template: use /v1/completions", name()),
                   "messages", "unsupported");
  }
  if (const Error* fault = by->fault()) {
    const bool tools_alone = by != engine_.chat_template();
    throw ApiError(400,
                   fmt::format("the {} template of '{}' cannot be used: {}; {}",
                               tools_alone ? "tool_use" : "chat", name(), fault->info().problem,
                               tools_alone ? "conversations without tools need none"
                                           : "/v1/completions needs none"),
                   tools_alone ? "tools" : "messages", "unsupported");
  }
  try {
    return engine_.chat_text(input);
  } catch (const Error& error) {
    if (error.info().field == kSplitField) {
      throw ApiError(400, error.what(), std::string(kSplitField), "unsupported");
    }
    throw ApiError(400, "the model's chat template refuses this: " + error.info().problem,
                   "messages");
  }
}

ChatText Service::chat_text(ChatInput input, bool continue_final) const {
  if (!continue_final) return chat_text(input);
  mark_last_message(input);
  ChatText text = chat_text(input);
  text.text = cut_at_mark(std::move(text.text));
  std::erase_if(text.letters,
                [&text](const TextSpan& span) { return span.begin >= text.text.size(); });
  return text;
}

const TokenTexts& Service::constraint_texts() const {
  std::call_once(constrained_, [this] {
    std::vector<bool> special = tokens_.special;
    std::vector<TokenId> ends;
    std::vector<std::string> texts = tokens_.texts;
    for (size_t id = 0; id < special.size(); ++id) {
      const auto token = static_cast<TokenId>(id);
      if (engine_.is_end_token(token)) ends.push_back(token);
    }
    const SpecialMarks& marks = forms_.marks();
    for (size_t i = 0; i < marks.tokens().size(); ++i) {
      const auto id = static_cast<size_t>(marks.tokens()[i]);
      texts.at(id) = marks.code(i);
      special.at(id) = false;
    }
    constraint_texts_ = std::make_unique<const TokenTexts>(texts, special, std::move(ends));
  });
  return *constraint_texts_;
}

Service::Grammar Service::grammar_of(const ResponseFormat& format) const {
  switch (format.kind) {
    case ResponseFormat::Kind::kText:
      break;
    case ResponseFormat::Kind::kJsonObject:
      return std::make_shared<JsonGrammar>(JsonGrammar::object());
    case ResponseFormat::Kind::kJsonSchema:
      return std::make_shared<JsonGrammar>(JsonGrammar::of_schema(format.schema, format.param));
  }
  return nullptr;
}

Service::Grammar Service::grammar_of(const ChatRequest& request) const {
  if (!request.input.tools.is_null() && request.format.kind != ResponseFormat::Kind::kText) {
    throw ApiError(400, "an answer in this format has no room for tool calls; use one of the two",
                   "response_format", "unsupported");
  }
  if (request.tool_choice != ToolChoice::kRequired) return grammar_of(request.format);
  // A function that is named is to be called once.
  const ToolSupport& tools = forms_.tools();
  const bool several = request.parallel_tools && tools.several && request.tool_name.empty();
  return std::make_shared<JsonGrammar>(
      grammar_of_calls(*tools.form, without_digits(request.input.tools),
                       {.name = request.tool_name, .several = several}, forms_.marks()));
}

// What an answer is held to; behind its reasoning, if there may be any.
std::shared_ptr<TokenConstraint> Service::constraint_of(const Grammar& grammar,
                                                        const ServingRequest& request) const {
  if (!grammar) return nullptr;
  const TokenTexts& texts = constraint_texts();
  const auto make = [grammar, &texts] { return std::make_shared<JsonConstraint>(grammar, texts); };
  if (!request.reasoning) return make();
  ReasoningTags tags = *request.reasoning;
  tags.open = forms_.marks().coded(tags.open);
  tags.close = forms_.marks().coded(tags.close);
  return std::make_shared<AfterReasoning>(std::move(tags), texts, make);
}

void Service::add_requests(const GenerationFields& fields, ServingRequest request,
                           const Caller& caller, const Grammar& grammar,
                           PreparedAnswer& answer) const {
  request.sampling = fields.sampling;
  request.prompt_only = fields.max_tokens == 0;
  request.max_tokens = fields.max_tokens.value_or(0);
  request.min_tokens = fields.min_tokens;
  request.stop = fields.stop;
  request.stop_tokens = fields.stop_tokens;
  request.ignore_eos = fields.ignore_eos;
  request.top_logprobs = fields.top_logprobs;
  request.client = caller.client;
  request.prefix_scope = caller.prefix_scope;
  if (!fields.seed_given) request.sampling.seed = random_seed();
  if (options_.timeout.count() > 0) request.deadline = caller.received + options_.timeout;
  for (int i = 0; i < fields.n; ++i) {
    request.constraint = constraint_of(grammar, request);
    answer.requests.push_back(request);
    ++request.sampling.seed;
  }
}

PreparedAnswer Service::chat(std::string_view body, const Caller& caller) const {
  const ChatRequest request = parse_chat_request(body, options_.limits, options_.defaults);
  const std::string& model = model_named(request.fields.model);
  check_tokens(request.fields);
  const bool tools = !request.input.tools.is_null();
  ChatInput input = forms_.input(request);
  input.split_special_tokens = splits(request.fields.split_special_tokens);
  const ChatText text = chat_text(std::move(input), request.continue_final);
  ServingRequest asked{.prompt = engine_.chat_tokens(text)};
  check_prompt(asked.prompt, "messages");
  const ReasoningForm* reasoning = forms_.reasoning(tools);
  if (reasoning != nullptr) {
    asked.shown = forms_.marks().tokens();
    if (options_.split_reasoning) asked.reasoning = reasoning_tags(*reasoning, text.text);
  }
  PreparedAnswer answer{.writer = AnswerWriter(AnswerWriter::Kind::kChat, model, tokens_),
                        .options = options_of(request.fields, "/v1/chat/completions")};
  if (request.fields.prompt_logprobs >= 0) {
    asked.prompt_logprobs = request.fields.prompt_logprobs;
    answer.options.prompts = {asked.prompt};
  }
  if (tools) {
    asked.shown = forms_.marks().tokens();
    answer.options.tool_form = forms_.tools().form;
    answer.options.tools =
        std::make_shared<const ToolSignatures>(without_digits(request.input.tools));
    answer.options.parallel_tools = request.parallel_tools;
  }
  add_requests(request.fields, std::move(asked), caller, grammar_of(request), answer);
  return answer;
}

PreparedAnswer Service::completion(std::string_view body, const Caller& caller) const {
  const CompletionRequest request =
      parse_completion_request(body, options_.limits, options_.defaults);
  const std::string& model = model_named(request.fields.model);
  check_tokens(request.fields);
  PreparedAnswer answer{.writer = AnswerWriter(AnswerWriter::Kind::kCompletion, model, tokens_),
                        .options = options_of(request.fields, "/v1/completions")};
  const Grammar grammar = grammar_of(request.format);
  const GenerationFields& fields = request.fields;
  const int told = std::max(fields.prompt_logprobs, request.echo ? fields.top_logprobs : -1);
  const EncodeOptions encoding{.parse_special_tokens = !splits(fields.split_special_tokens)};
  for (const auto& one : request.prompts) {
    const std::string* text = std::get_if<std::string>(&one);
    const std::vector<TokenId> prompt = text != nullptr
                                            ? engine_.tokenizer().encode(*text, encoding)
                                            : std::get<std::vector<TokenId>>(one);
    check_prompt(prompt, "prompt");
    if (request.echo) {
      answer.options.echo.push_back(text != nullptr ? *text : engine_.tokenizer().decode(prompt));
    }
    if (told >= 0) answer.options.prompts.push_back(prompt);
    add_requests(fields, {.prompt = prompt, .prompt_logprobs = told}, caller, grammar, answer);
  }
  return answer;
}

std::string Service::tokenize(std::string_view body) const {
  const TokenizeRequest request = parse_tokenize_request(body, options_.limits);
  const bool split = splits(request.split_special_tokens);
  const auto tokens_of = [&] {
    if (request.input.messages.empty()) {
      return engine_.tokenizer().encode(
          request.text,
          {.add_special_tokens = request.add_special_tokens, .parse_special_tokens = !split});
    }
    ChatInput input = forms_.input({.input = request.input});
    input.split_special_tokens = split;
    return engine_.chat_tokens(chat_text(std::move(input), request.continue_final));
  };
  const std::vector<TokenId> tokens = tokens_of();
  return fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}]}})", tokens.size(),
                     engine_.context(), fmt::join(tokens, ","));
}

std::string Service::detokenize(std::string_view body) const {
  const std::vector<TokenId> tokens = parse_detokenize_request(body);
  return R"({"prompt":)" + json_string(engine_.tokenizer().decode(tokens, false)) + "}";
}

}  // namespace dak
