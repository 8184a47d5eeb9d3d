#include "server/service.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <random>

#include "server/json_text.h"
#include "text/token_bytes.h"

namespace dak {
namespace {

uint64_t random_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

AnswerOptions options_of(const GenerationFields& fields, std::string route) {
  return {.route = std::move(route),
          .stream = fields.stream,
          .include_usage = fields.include_usage,
          .continuous_usage = fields.continuous_usage,
          .logprobs = fields.top_logprobs >= 0,
          .per_prompt = fields.n};
}

std::vector<std::string> names_of(const OrderedJson& tools) {
  std::vector<std::string> names;
  for (const OrderedJson& tool : tools) {
    names.push_back(tool.at("function").at("name").get<std::string>());
  }
  return names;
}

}  // namespace

Service::Service(const Engine& engine, Generator& generator, ServiceOptions options)
    : engine_(engine),
      generator_(generator),
      options_(std::move(options)),
      longest_prompt_(engine.context() - 1),
      token_texts_(token_bytes(engine.tokenizer())) {
  const int64_t most = options_.limits.prompt_tokens;
  if (most > 0) longest_prompt_ = std::min(longest_prompt_, most);
  if (engine.chat_template() != nullptr) tools_ = tool_format_of(*engine.chat_template());
}

void Service::check_model(const std::string& model) const {
  if (model.empty() || model == options_.name) return;
  throw ApiError(
      404,
      fmt::format("the model '{}' is not here; there is '{}'", printable(model), options_.name),
      "model", "model_not_found");
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
  for (const TokenId token : tokens) {
    if (token < engine_.config().vocabulary) continue;
    throw ApiError(400,
                   fmt::format("the token {} is outside the model's vocabulary of {}", token,
                               engine_.config().vocabulary),
                   std::string(param));
  }
}

std::vector<TokenId> Service::chat_tokens(const ChatInput& input) const {
  if (engine_.chat_template() == nullptr) {
    throw ApiError(
        400, fmt::format("the model '{}' has no chat template: use /v1/completions", options_.name),
        "messages", "unsupported");
  }
  try {
    return engine_.chat_prompt(input);
  } catch (const Error& error) {
    throw ApiError(400, "the model's chat template refuses this: " + error.info().problem,
                   "messages");
  }
}

void Service::check_tools(const ChatRequest& request) const {
  if (request.input.tools.is_null() || tools_ != ToolFormat::kNone) return;
  throw ApiError(400,
                 fmt::format("the chat template of '{}' takes no tools, or shows calls in a form "
                             "that dak does not read",
                             options_.name),
                 "tools", "unsupported");
}

const TokenTexts& Service::constraint_texts() const {
  std::call_once(constrained_, [this] {
    std::vector<bool> special(token_texts_.size());
    std::vector<TokenId> ends;
    for (size_t id = 0; id < special.size(); ++id) {
      const auto token = static_cast<TokenId>(id);
      special[id] = engine_.tokenizer().is_special(token);
      if (engine_.is_end_token(token)) ends.push_back(token);
    }
    constraint_texts_ = std::make_unique<const TokenTexts>(token_texts_, special, std::move(ends));
  });
  return *constraint_texts_;
}

Service::Hold Service::hold_of(const ResponseFormat& format) const {
  switch (format.kind) {
    case ResponseFormat::Kind::kText:
      break;
    case ResponseFormat::Kind::kJsonObject:
      return {.grammar = std::make_shared<JsonGrammar>(JsonGrammar::object()), .opening = {}};
    case ResponseFormat::Kind::kJsonSchema:
      return {.grammar = std::make_shared<JsonGrammar>(
                  JsonGrammar::of_schema(format.schema, format.param)),
              .opening = {}};
  }
  return {};
}

Service::Hold Service::hold_of(const ChatRequest& request) const {
  if (!request.input.tools.is_null() && request.format.kind != ResponseFormat::Kind::kText) {
    throw ApiError(400, "an answer in this format has no room for tool calls; use one of the two",
                   "response_format", "unsupported");
  }
  const bool required = request.tool_choice == ToolChoice::kRequired;
  return required ? call_of(request) : hold_of(request.format);
}

// `check_tools` has passed.
Service::Hold Service::call_of(const ChatRequest& request) const {
  CallForm form{.key = "arguments", .before = {}, .after = {}};
  Hold hold;
  switch (tools_) {
    case ToolFormat::kHermes:
      form.before = "<tool_call>\n";
      form.after = "\n</tool_call>";
      break;
    case ToolFormat::kLlama:
      form.key = "parameters";
      break;
    case ToolFormat::kMistral: {
      // A function that is named is to be called once.
      const bool one = !request.parallel_tools || !request.tool_name.empty();
      form.most = one ? 1 : INT64_MAX;
      const std::optional<TokenId> token = engine_.tokenizer().token_id(kMistralOpening);
      if (token && engine_.tokenizer().is_special(*token)) {
        hold.opening = token;
      } else {
        form.before = kMistralOpening;
      }
      break;
    }
    case ToolFormat::kNone:
      require(false, "a call in no form");
  }
  hold.grammar = std::make_shared<JsonGrammar>(
      JsonGrammar::of_calls(request.input.tools, request.tool_name, form, "tools"));
  return hold;
}

void Service::add_requests(const GenerationFields& fields, const std::vector<TokenId>& prompt,
                           const Caller& caller, const Hold& hold, PreparedAnswer& answer) const {
  ServingRequest request{.prompt = prompt,
                         .sampling = fields.sampling,
                         .max_tokens = fields.max_tokens,
                         .stop = fields.stop,
                         .ignore_eos = fields.ignore_eos,
                         .top_logprobs = fields.top_logprobs,
                         .constraint = nullptr,
                         .client = caller.client,
                         .prefix_scope = caller.prefix_scope};
  if (!fields.seed_given) request.sampling.seed = random_seed();
  if (options_.timeout.count() > 0) request.deadline = caller.received + options_.timeout;
  for (int i = 0; i < fields.n; ++i) {
    if (hold.grammar) {
      request.constraint =
          std::make_shared<JsonConstraint>(hold.grammar, constraint_texts(), hold.opening);
    }
    answer.requests.push_back(request);
    ++request.sampling.seed;
  }
}

PreparedAnswer Service::chat(std::string_view body, const Caller& caller) const {
  const ChatRequest request = parse_chat_request(body, options_.limits);
  check_model(request.fields.model);
  check_tools(request);
  const std::vector<TokenId> prompt = chat_tokens(request.input);
  check_prompt(prompt, "messages");
  PreparedAnswer answer{
      .writer = AnswerWriter(AnswerWriter::Kind::kChat, options_.name, token_texts_),
      .options = options_of(request.fields, "/v1/chat/completions")};
  if (!request.input.tools.is_null()) {
    answer.options.tools = tools_;
    answer.options.tool_names = names_of(request.input.tools);
    answer.options.parallel_tools = request.parallel_tools;
  }
  add_requests(request.fields, prompt, caller, hold_of(request), answer);
  return answer;
}

PreparedAnswer Service::completion(std::string_view body, const Caller& caller) const {
  const CompletionRequest request = parse_completion_request(body, options_.limits);
  check_model(request.fields.model);
  PreparedAnswer answer{
      .writer = AnswerWriter(AnswerWriter::Kind::kCompletion, options_.name, token_texts_),
      .options = options_of(request.fields, "/v1/completions")};
  const Hold hold = hold_of(request.format);
  for (const auto& one : request.prompts) {
    const std::string* text = std::get_if<std::string>(&one);
    const std::vector<TokenId> prompt =
        text != nullptr ? engine_.tokenizer().encode(*text) : std::get<std::vector<TokenId>>(one);
    check_prompt(prompt, "prompt");
    if (request.echo) {
      answer.options.echo.push_back(text != nullptr ? *text : engine_.tokenizer().decode(prompt));
    }
    add_requests(request.fields, prompt, caller, hold, answer);
  }
  return answer;
}

std::string Service::tokenize(std::string_view body) const {
  const TokenizeRequest request = parse_tokenize_request(body, options_.limits);
  const std::vector<TokenId> tokens =
      request.input.messages.empty()
          ? engine_.tokenizer().encode(request.text,
                                       {.add_special_tokens = request.add_special_tokens})
          : chat_tokens(request.input);
  return fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}]}})", tokens.size(),
                     engine_.context(), fmt::join(tokens, ","));
}

std::string Service::detokenize(std::string_view body) const {
  const std::vector<TokenId> tokens = parse_detokenize_request(body);
  return R"({"prompt":)" + json_string(engine_.tokenizer().decode(tokens, false)) + "}";
}

}  // namespace dak
