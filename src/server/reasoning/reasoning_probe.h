// Whether a model reasons before it answers, and between which tags: its chat template says so.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "text/chat_template.h"
#include "text/reasoning_text.h"

namespace dak {

struct ReasoningForm {
  std::string_view open;
  std::string_view close;
};

std::span<const ReasoningForm> reasoning_forms();

// null: the template shows no reasoning in a form that dak knows. Never throws.
const ReasoningForm* probe_reasoning(const ChatTemplate& chat_template);

// The tags for an answer to `prompt`, which may end with the first one.
ReasoningTags reasoning_tags(const ReasoningForm& form, std::string_view prompt);

}  // namespace dak
