// The chat template that a model folder or a GGUF file has for conversations with tools, beside the
// one for all others: named "tool_use", as transformers wants it.
#pragma once

#include <filesystem>
#include <optional>

#include "format/gguf.h"
#include "text/chat_template.h"

namespace dak {

// chat_template in tokenizer_config.json as a list of named ones, or
// additional_chat_templates/tool_use.jinja. nullopt: the default is for tools too.
std::optional<ChatTemplate> folder_tool_template(const std::filesystem::path& folder);

// tokenizer.chat_template.tool_use.
std::optional<ChatTemplate> gguf_tool_template(const GgufMetadata& metadata);

}  // namespace dak
