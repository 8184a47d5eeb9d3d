#include "server/openai_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>
#include <mutex>
#include <random>

#include "server/json_text.h"
#include "text/utf8.h"

namespace dak {
namespace {

constexpr float kLeastLogprob = -9999.0f;  // JSON has no infinity; OpenAI's own stand-in

std::string number(float logprob) {
  return fmt::format("{}", std::isfinite(logprob) ? logprob : kLeastLogprob);
}

void append_bytes(std::string& out, std::string_view bytes) {
  out += "\"bytes\":[";
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i > 0) out += ',';
    out += std::to_string(static_cast<unsigned char>(bytes[i]));
  }
  out += ']';
}

}  // namespace

size_t characters(std::string_view utf8) {
  return static_cast<size_t>(
      std::ranges::count_if(utf8, [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyz";
  static std::mutex mutex;
  static std::mt19937_64 random = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  const std::lock_guard lock(mutex);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kLetters[random() % kLetters.size()];
  return id;
}

std::string usage_json(const Usage& usage) {
  return fmt::format(
      R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}},"completion_tokens_details":{{"reasoning_tokens":{}}}}})",
      usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens + usage.completion_tokens,
      usage.cached_tokens, usage.reasoning_tokens);
}

AnswerWriter::AnswerWriter(Kind kind, std::string model,
                           const std::vector<std::string>& token_texts)
    : kind_(kind),
      id_(random_id(kind == Kind::kChat ? "chatcmpl-" : "cmpl-")),
      created_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      model_(std::move(model)),
      token_texts_(token_texts),
      chunk_head_("data: " + head(true) + R"({"index":)"),
      text_end_(text_end()) {}

void AnswerWriter::show_usage() {
  usage_ = true;
  text_end_ = text_end();
}

// Without log-probabilities.
std::string AnswerWriter::text_end() const {
  std::string out = kind_ == Kind::kChat ? R"(},"logprobs":null,)" : R"(,"logprobs":null,)";
  close(out, {}, nullptr);
  return out;
}

std::string AnswerWriter::head(bool chunk) const {
  std::string_view object = "text_completion";
  if (kind_ == Kind::kChat) object = chunk ? "chat.completion.chunk" : "chat.completion";
  return fmt::format(R"({{"id":"{}","object":"{}","created":{},"model":{},"choices":[)", id_,
                     object, created_, json_string(model_));
}

std::string_view AnswerWriter::bytes_of(TokenId token) const {
  const auto index = static_cast<size_t>(token);
  return index < token_texts_.size() ? std::string_view(token_texts_[index]) : std::string_view();
}

void AnswerWriter::open(std::string& out, int choice) const {
  out += chunk_head_;
  fmt::format_to(std::back_inserter(out), "{},", choice);
}

void AnswerWriter::close(std::string& out, std::string_view reason, const Usage* so_far) const {
  if (reason.empty()) {
    out += R"("finish_reason":null}])";
  } else {
    fmt::format_to(std::back_inserter(out), R"("finish_reason":"{}"}}])", reason);
  }
  if (so_far != nullptr) {
    out += ",\"usage\":" + usage_json(*so_far);
  } else if (usage_) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

void AnswerWriter::chat_logprobs(std::string& out, std::span<const TokenPiece> pieces) const {
  const auto entry = [&](TokenId token, float logprob) {
    out += "{\"token\":";
    append_json_string(out, replace_malformed_utf8(bytes_of(token)));
    out += ",\"logprob\":" + number(logprob) + ",";
    append_bytes(out, bytes_of(token));
  };
  out += R"("logprobs":{"content":[)";
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) out += ',';
    entry(pieces[i].token, pieces[i].logprob);
    out += R"(,"top_logprobs":[)";
    for (size_t k = 0; k < pieces[i].top.size(); ++k) {
      if (k > 0) out += ',';
      entry(pieces[i].top[k].token, pieces[i].top[k].logprob);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null},";
}

void AnswerWriter::completion_logprobs(std::string& out, std::span<const TokenPiece> pieces,
                                       size_t text_at) const {
  std::string tokens, values, tops, offsets;
  for (const TokenPiece& piece : pieces) {
    const std::string_view comma = tokens.empty() ? "" : ",";
    tokens += comma;
    append_json_string(tokens, replace_malformed_utf8(bytes_of(piece.token)));
    values += fmt::format("{}{}", comma, number(piece.logprob));
    offsets += fmt::format("{}{}", comma, text_at);
    text_at += characters(bytes_of(piece.token));
    tops += comma;
    tops += '{';
    for (size_t k = 0; k < piece.top.size(); ++k) {
      if (k > 0) tops += ',';
      append_json_string(tops, replace_malformed_utf8(bytes_of(piece.top[k].token)));
      tops += ":" + number(piece.top[k].logprob);
    }
    tops += '}';
  }
  fmt::format_to(
      std::back_inserter(out),
      R"("logprobs":{{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}},)",
      tokens, values, tops, offsets);
}

void AnswerWriter::role(std::string& out, int choice) const {
  if (kind_ != Kind::kChat) return;
  open(out, choice);
  out += R"("delta":{"role":"assistant","content":""},"logprobs":null,)";
  close(out, {}, nullptr);
}

void AnswerWriter::text(std::string& out, int choice, std::string_view text,
                        std::span<const TokenPiece> pieces, size_t text_at,
                        const Usage* so_far) const {
  open(out, choice);
  out += kind_ == Kind::kChat ? R"("delta":{"content":)" : R"("text":)";
  append_json_string(out, text);
  delta_end(out, pieces, text_at, so_far);
}

void AnswerWriter::reasoning(std::string& out, int choice, std::string_view text,
                             std::span<const TokenPiece> pieces, const Usage* so_far) const {
  open(out, choice);
  out += R"("delta":{"reasoning_content":)";
  append_json_string(out, text);
  delta_end(out, pieces, 0, so_far);
}

void AnswerWriter::delta_end(std::string& out, std::span<const TokenPiece> pieces, size_t text_at,
                             const Usage* so_far) const {
  if (!logprobs_ && so_far == nullptr) {
    out += text_end_;
    return;
  }
  if (kind_ == Kind::kChat) out += '}';
  out += ',';
  if (!logprobs_) {
    out += R"("logprobs":null,)";
  } else if (kind_ == Kind::kChat) {
    chat_logprobs(out, pieces);
  } else {
    completion_logprobs(out, pieces, text_at);
  }
  close(out, {}, so_far);
}

void AnswerWriter::call(std::string& out, int choice, size_t number, const ToolCall& call) const {
  open(out, choice);
  fmt::format_to(
      std::back_inserter(out),
      R"("delta":{{"tool_calls":[{{"index":{},"id":"{}","type":"function","function":{{"name":{},"arguments":""}}}}]}},"logprobs":null,)",
      number, call.id, json_string(call.name));
  close(out, {}, nullptr);
}

void AnswerWriter::arguments(std::string& out, int choice, size_t number,
                             std::string_view more) const {
  open(out, choice);
  fmt::format_to(std::back_inserter(out),
                 R"("delta":{{"tool_calls":[{{"index":{},"function":{{"arguments":)", number);
  append_json_string(out, more);
  out += R"(}}]},"logprobs":null,)";
  close(out, {}, nullptr);
}

void AnswerWriter::end(std::string& out, int choice, std::string_view reason) const {
  open(out, choice);
  out += kind_ == Kind::kChat ? R"("delta":{},"logprobs":null,)" : R"("text":"","logprobs":null,)";
  close(out, reason, nullptr);
}

void AnswerWriter::usage(std::string& out, const Usage& usage) const {
  out += "data: " + head(true) + "],\"usage\":" + usage_json(usage) + "}\n\n";
}

void AnswerWriter::done(std::string& out) { out += "data: [DONE]\n\n"; }

void AnswerWriter::message(std::string& out, const ChoiceText& choice) const {
  out += R"("message":{"role":"assistant","content":)";
  out += choice.text.empty() && !choice.calls.empty() ? "null" : json_string(choice.text);
  out += R"(,"refusal":null)";
  if (!choice.reasoning.empty()) {
    out += R"(,"reasoning_content":)";
    append_json_string(out, choice.reasoning);
  }
  for (size_t k = 0; k < choice.calls.size(); ++k) {
    const ToolCall& call = choice.calls[k];
    out += k == 0 ? R"(,"tool_calls":[)" : ",";
    fmt::format_to(std::back_inserter(out),
                   R"({{"id":"{}","type":"function","function":{{"name":{},"arguments":{}}}}})",
                   call.id, json_string(call.name), json_string(call.arguments));
  }
  out += choice.calls.empty() ? "}," : "]},";
}

std::string AnswerWriter::whole(std::span<const ChoiceText> choices, const Usage& usage) const {
  std::string out = head(false);
  for (size_t i = 0; i < choices.size(); ++i) {
    const ChoiceText& choice = choices[i];
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), R"({{"index":{},)", i);
    if (kind_ == Kind::kCompletion) {
      out += "\"text\":" + json_string(choice.text) + ",";
    } else {
      message(out, choice);
    }
    if (!logprobs_) {
      out += R"("logprobs":null,)";
    } else if (kind_ == Kind::kChat) {
      chat_logprobs(out, choice.pieces);
    } else {
      completion_logprobs(out, choice.pieces, 0);
    }
    fmt::format_to(std::back_inserter(out), R"("finish_reason":"{}"}})", choice.reason);
  }
  return out + "],\"usage\":" + usage_json(usage) + "}";
}

}  // namespace dak
