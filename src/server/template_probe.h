// Conversations that a chat template is tried with, to see what it writes.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "text/chat_template.h"

namespace dak {

inline constexpr std::string_view kProbeQuestion = "dak_question";

inline ChatInput probe_question() {
  ChatInput input;
  input.messages.push_back({{"role", "user"}, {"content", std::string(kProbeQuestion)}});
  return input;
}

// Empty where the template refuses it.
inline std::string probe_render(const ChatTemplate& chat_template, const ChatInput& input) {
  try {
    return chat_template.render(input);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace dak
