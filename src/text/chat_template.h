// Chat templates: the model's own Jinja source turns messages into a prompt.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace dak {

// Insertion order matters to templates that print tools with `tojson`.
using OrderedJson = nlohmann::ordered_json;

struct ChatInput {
  // Numbers that lose digits as 64 bits or a double may be parse_exact_json's.
  OrderedJson messages = OrderedJson::array();  // [{"role": ..., "content": ..., ...}, ...]
  OrderedJson tools;                            // null: none given
  bool add_generation_prompt = true;
  // Special tokens that strings of the input spell are letters (chat_text.h).
  bool split_special_tokens = false;
  std::string bos_token;
  std::string eos_token;
  OrderedJson extra = OrderedJson::object();  // further variables, e.g. {"enable_thinking": false}
};

class ChatTemplate {
 public:
  // Parses once; throws dak::Error naming `where`, the line and what is wrong, or that `source` is
  // empty.
  ChatTemplate(std::string_view source, std::string where);
  // One that cannot be used: render throws `reason`.
  explicit ChatTemplate(const Error& reason);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Throws kInvalidArgument with the template's own message for raise_exception(), and with the
  // line for anything the template does wrong at run time. Bounded: output beyond 64 MiB, more than
  // 10 million steps or recursion deeper than 200 is an error.
  std::string render(const ChatInput& input) const;
  // Whether its source has a variable of this name: one that it does not have changes nothing.
  bool reads(std::string_view variable) const;
  // Whether its source has the word as a name, an attribute's or a string.
  bool mentions(std::string_view word) const;

  // Why render cannot work whatever the input; nullptr: it can.
  const Error* fault() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dak
