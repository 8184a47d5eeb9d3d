#include "text/turn_ends.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/tokenizer_impl.h"

namespace dak {
namespace {

constexpr std::string_view kAnswer = "Dak-Answer-7";  // in no template

// Spellings of ends of turns, texts and messages.
constexpr std::array<std::string_view, 15> kEnds{
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "<turn|>",
    "<|return|>",
    "<|call|>",
    "<|endofprompt|>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"};

void sort_unique(std::vector<TokenId>& tokens) {
  std::ranges::sort(tokens);
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
}

// `more` is what follows the answer: an end may be written only between turns, or only at the end.
std::string render(const ChatTemplate& chat, const Tokenizer& tokenizer, bool more) {
  ChatInput input;
  const auto say = [&input](const char* role, std::string_view content) {
    input.messages.push_back({{"role", role}, {"content", content}});
  };
  say("user", "q");
  say("assistant", kAnswer);
  if (more) say("user", "r");
  input.add_generation_prompt = false;
  const auto spelling = [&tokenizer](std::optional<TokenId> token) {
    return token ? tokenizer.token_text(*token).value_or("") : std::string();
  };
  input.bos_token = spelling(tokenizer.bos_token());
  input.eos_token = spelling(tokenizer.eos_token());
  try {
    return chat.render(input);
  } catch (const Error&) {
    return {};  // some take no such conversation
  }
}

// The added token that `text` begins with after white space; nothing where text comes first.
std::optional<TokenId> first_added(const Tokenizer& tokenizer, std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return std::nullopt;
  text = text.substr(begin, 256);
  const std::vector<TokenId> tokens = tokenizer.encode(text, {.add_special_tokens = false});
  if (tokens.empty()) return std::nullopt;
  const AddedToken* added = tokenizer.impl().added->find(tokens.front());
  if (added == nullptr || !text.starts_with(added->content)) return std::nullopt;
  return added->id;
}

}  // namespace

std::vector<TokenId> turn_ends_of(const ChatTemplate& chat, const Tokenizer& tokenizer) {
  std::vector<TokenId> ends;
  if (chat.fault() != nullptr) return ends;
  for (const bool more : {true, false}) {
    const std::string text = render(chat, tokenizer, more);
    const size_t at = text.rfind(kAnswer);
    if (at == text.npos) continue;
    const auto end = first_added(tokenizer, std::string_view(text).substr(at + kAnswer.size()));
    // A turn that begins with BOS does not show what ended the one before it.
    if (end && end != tokenizer.bos_token()) ends.push_back(*end);
  }
  sort_unique(ends);
  return ends;
}

std::vector<TokenId> ends_by_name(const Tokenizer& tokenizer) {
  std::vector<TokenId> ends;
  // In Harmony <|end|> ends a message of an answer that goes on.
  const bool harmony = tokenizer.token_id("<|return|>") && tokenizer.token_id("<|call|>");
  for (const std::string_view name : kEnds) {
    if (harmony && name == "<|end|>") continue;
    if (const auto token = tokenizer.token_id(name)) ends.push_back(*token);
  }
  sort_unique(ends);
  return ends;
}

}  // namespace dak
