// A loaded model and what makes requests for its scheduler out of API requests.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/answer.h"
#include "server/chat_forms.h"
#include "server/generator.h"
#include "server/json_constraint.h"
#include "server/openai_request.h"

namespace dak {

// Whom a request is from.
struct Caller {
  std::string client;        // for fair queueing
  std::string prefix_scope;  // whose cached prefixes it may use
  std::chrono::steady_clock::time_point received;
};

struct PreparedAnswer {
  AnswerWriter writer;
  AnswerOptions options;
  std::vector<ServingRequest> requests;
};

struct ServiceOptions {
  std::vector<std::string> names;  // what clients call the model; the first where none is asked
  RequestDefaults defaults;
  RequestLimits limits;
  std::chrono::milliseconds timeout{0};  // of a request, from its arrival; 0: none
  // Seconds that a decode step is predicted to take with so many sequences of so many tokens each;
  // unset: there is no prediction.
  std::function<double(int64_t, int64_t)> predict = {};
  // Reasoning is a field of its own; else it is text, with its tags.
  bool split_reasoning = true;
  // Of requests that do not say it.
  bool split_special_tokens = false;
};

class Service {
 public:
  // `engine` and `generator` outlive this.
  Service(const Engine& engine, Generator& generator, ServiceOptions options);

  const std::string& name() const { return options_.names.front(); }
  const std::vector<std::string>& names() const { return options_.names; }
  const ServiceOptions& options() const { return options_; }
  const Engine& engine() const { return engine_; }
  Generator& generator() const { return generator_; }
  const ChatForms& forms() const { return forms_; }

  // Any thread; throw ApiError.
  PreparedAnswer chat(std::string_view body, const Caller& caller) const;
  PreparedAnswer completion(std::string_view body, const Caller& caller) const;
  std::string tokenize(std::string_view body) const;    // the answer's body
  std::string detokenize(std::string_view body) const;  // likewise

 private:
  ChatText chat_text(const ChatInput& input) const;
  // The prompt of a conversation, or of one whose last message goes on.
  ChatText chat_text(ChatInput input, bool continue_final) const;
  // Whether special tokens in what the client sent are letters.
  bool splits(std::optional<bool> asked) const {
    return asked.value_or(options_.split_special_tokens);
  }
  // The name that the answer gives the model.
  const std::string& model_named(const std::string& model) const;
  void check_token(TokenId token, std::string_view param) const;
  void check_tokens(const GenerationFields& fields) const;
  void check_prompt(std::span<const TokenId> tokens, std::string_view param) const;
  using Grammar = std::shared_ptr<const JsonGrammar>;  // null: an answer is held to nothing
  Grammar grammar_of(const ResponseFormat& format) const;
  Grammar grammar_of(const ChatRequest& request) const;
  std::shared_ptr<TokenConstraint> constraint_of(const Grammar& grammar,
                                                 const ServingRequest& request) const;
  // `request` has its prompt, and what is to be made of the answer's special tokens.
  void add_requests(const GenerationFields& fields, ServingRequest request, const Caller& caller,
                    const Grammar& grammar, PreparedAnswer& answer) const;
  const TokenTexts& constraint_texts() const;

  const Engine& engine_;
  Generator& generator_;
  ServiceOptions options_;
  int64_t longest_prompt_;
  AnswerTokens tokens_;
  ChatForms forms_;
  mutable std::once_flag constrained_;
  mutable std::unique_ptr<const TokenTexts> constraint_texts_;  // made when first needed
};

}  // namespace dak
