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

std::string number(std::optional<float> logprob) { return logprob ? number(*logprob) : "null"; }

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

AnswerWriter::AnswerWriter(Kind kind, std::string model, const AnswerTokens& tokens)
    : kind_(kind),
      id_(random_id(kind == Kind::kChat ? "chatcmpl-" : "cmpl-")),
      created_(std::chrono::duration_cast<std::chrono::seconds>(
                   std::chrono::system_clock::now().time_since_epoch())
                   .count()),
      model_(std::move(model)),
      tokens_(tokens),
      chunk_head_("data: " + head(true) + R"({"index":)"),
      text_end_(text_end()) {}

void AnswerWriter::show_usage() {
  usage_ = true;
  text_end_ = text_end();
}

// Without log-probabilities.
std::string AnswerWriter::text_end() const {
  std::string out = kind_ == Kind::kChat ? R"(},"logprobs":null,)" : R"(,"logprobs":null,)";
  close(out, {});
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
  return index < tokens_.texts.size() ? std::string_view(tokens_.texts[index]) : std::string_view();
}

bool AnswerWriter::is_special(TokenId token) const {
  const auto index = static_cast<size_t>(token);
  return index < tokens_.special.size() && tokens_.special[index];
}

void AnswerWriter::open(std::string& out, int choice) const {
  out += chunk_head_;
  fmt::format_to(std::back_inserter(out), "{},", choice);
}

void AnswerWriter::close(std::string& out, std::string_view reason) const {
  if (reason.empty()) {
    out += R"("finish_reason":null}])";
  } else {
    fmt::format_to(std::back_inserter(out), R"("finish_reason":"{}"}}])", reason);
  }
  if (so_far_) {
    out += ",\"usage\":" + usage_json(*so_far_);
  } else if (usage_) {
    out += R"(,"usage":null)";
  }
  out += "}\n\n";
}

void AnswerWriter::chat_logprobs(std::string& out, std::span<const TokenPiece> pieces) const {
  const auto entry = [&](TokenId token, std::optional<float> logprob) {
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

// As OpenAI spells tokens: their text, or the bytes of a token that is a part of a character.
std::string AnswerWriter::spelled(TokenId token) const {
  const std::string_view bytes = bytes_of(token);
  if (is_valid_utf8(bytes)) return std::string(bytes);
  std::string out = "bytes:";
  for (const char byte : bytes) out += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
  return out;
}

// An object from texts to log-probabilities, with the token itself. Another token of the same text
// is named by its number, so that no name comes twice.
void AnswerWriter::top_of(std::string& out, const TokenPiece& piece) const {
  if (!piece.logprob) {
    out += "null";
    return;
  }
  std::vector<TokenLogprob> all = piece.top;
  const auto is_own = [&piece](const TokenLogprob& one) { return one.token == piece.token; };
  if (std::ranges::none_of(all, is_own)) all.push_back({piece.token, *piece.logprob});
  std::vector<std::string> names{spelled(piece.token)};
  out += '{';
  for (size_t k = 0; k < all.size(); ++k) {
    if (k > 0) out += ',';
    std::string name = spelled(all[k].token);
    if (!is_own(all[k])) {
      if (std::ranges::find(names, name) != names.end()) {
        name = fmt::format("token_id:{}", all[k].token);
      }
      names.push_back(name);
    }
    append_json_string(out, name);
    out += ":" + number(all[k].logprob);
  }
  out += '}';
}

void AnswerWriter::completion_logprobs(std::string& out, std::span<const TokenPiece> pieces,
                                       size_t text_at) const {
  std::string tokens, values, tops, offsets;
  for (const TokenPiece& piece : pieces) {
    const std::string_view comma = tokens.empty() ? "" : ",";
    tokens += comma;
    append_json_string(tokens, spelled(piece.token));
    values += fmt::format("{}{}", comma, number(piece.logprob));
    offsets += fmt::format("{}{}", comma, text_at);
    if (!is_special(piece.token)) text_at += characters(bytes_of(piece.token));
    tops += comma;
    top_of(tops, piece);
  }
  fmt::format_to(
      std::back_inserter(out),
      R"("logprobs":{{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}},)",
      tokens, values, tops, offsets);
}

// [null, {"ID": {"logprob": ..., "rank": ..., "decoded_token": ...}, ...}, ...]: the prompt's token
// and the most likely ones.
void AnswerWriter::prompt(std::string& out, const PromptChances& prompt) const {
  out += R"("prompt_logprobs":[null)";
  const auto entry = [&](TokenId token, float logprob, int64_t rank) {
    fmt::format_to(std::back_inserter(out), R"("{}":{{"logprob":{},"rank":{},"decoded_token":)",
                   token, number(logprob), rank);
    append_json_string(out, replace_malformed_utf8(bytes_of(token)));
    out += '}';
  };
  for (size_t i = 0; i < prompt.chances.size(); ++i) {
    const TokenChances& chances = prompt.chances[i];
    const TokenId own = prompt.tokens[i + 1];
    out += ",{";
    entry(own, chances.logprob, chances.rank);
    for (size_t k = 0; k < chances.top.size(); ++k) {
      if (chances.top[k].token == own) continue;
      out += ',';
      entry(chances.top[k].token, chances.top[k].logprob, static_cast<int64_t>(k) + 1);
    }
    out += '}';
  }
  out += ']';
}

void AnswerWriter::role(std::string& out, int choice) const {
  if (kind_ != Kind::kChat) return;
  open(out, choice);
  out += R"("delta":{"role":"assistant","content":""},"logprobs":null,)";
  close(out, {});
}

void AnswerWriter::text(std::string& out, int choice, std::string_view text,
                        std::span<const TokenPiece> pieces, size_t text_at) const {
  open(out, choice);
  out += kind_ == Kind::kChat ? R"("delta":{"content":)" : R"("text":)";
  append_json_string(out, text);
  delta_end(out, pieces, text_at);
}

void AnswerWriter::reasoning(std::string& out, int choice, std::string_view text,
                             std::span<const TokenPiece> pieces) const {
  open(out, choice);
  out += R"("delta":{"reasoning_content":)";
  append_json_string(out, text);
  delta_end(out, pieces, 0);
}

void AnswerWriter::delta_end(std::string& out, std::span<const TokenPiece> pieces,
                             size_t text_at) const {
  if (!logprobs_ && !so_far_) {
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
  close(out, {});
}

void AnswerWriter::call(std::string& out, int choice, size_t number, const ToolCall& call) const {
  open(out, choice);
  fmt::format_to(
      std::back_inserter(out),
      R"("delta":{{"tool_calls":[{{"index":{},"id":"{}","type":"function","function":{{"name":{},"arguments":""}}}}]}},"logprobs":null,)",
      number, call.id, json_string(call.name));
  close(out, {});
}

void AnswerWriter::arguments(std::string& out, int choice, size_t number,
                             std::string_view more) const {
  open(out, choice);
  fmt::format_to(std::back_inserter(out),
                 R"("delta":{{"tool_calls":[{{"index":{},"function":{{"arguments":)", number);
  append_json_string(out, more);
  out += R"(}}]},"logprobs":null,)";
  close(out, {});
}

void AnswerWriter::end(std::string& out, int choice, std::string_view reason) const {
  open(out, choice);
  out += kind_ == Kind::kChat ? R"("delta":{},"logprobs":null,)" : R"("text":"","logprobs":null,)";
  close(out, reason);
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
    if (kind_ == Kind::kCompletion && choice.prompt) {
      prompt(out, *choice.prompt);
      out += ',';
    }
    fmt::format_to(std::back_inserter(out), R"("finish_reason":"{}"}})", choice.reason);
  }
  out += "],";
  // Of all choices of a chat the same.
  if (kind_ == Kind::kChat && choices.front().prompt) {
    prompt(out, *choices.front().prompt);
    out += ',';
  }
  return out + "\"usage\":" + usage_json(usage) + "}";
}

}  // namespace dak
