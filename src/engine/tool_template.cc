#include "engine/tool_template.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "format/model_json.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "tool_use";

std::string text_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

std::optional<ChatTemplate> folder_tool_template(const fs::path& folder) {
  const fs::path own_file = folder / "additional_chat_templates" / "tool_use.jinja";
  if (fs::exists(own_file)) return ChatTemplate(text_of(own_file), own_file.string());
  // Templates in files are instead of those in the configuration.
  const fs::path config_path = folder / "tokenizer_config.json";
  if (fs::exists(folder / "chat_template.jinja") || !fs::exists(config_path)) return std::nullopt;
  const Json config = read_model_json(config_path);
  if (!config.is_object()) return std::nullopt;
  const auto named = config.find("chat_template");
  if (named == config.end() || !named->is_array()) return std::nullopt;
  for (const Json& entry : *named) {
    const bool is_it = entry.is_object() && entry.contains("name") && entry["name"] == kName &&
                       entry.contains("template") && entry["template"].is_string();
    if (!is_it) continue;
    return ChatTemplate(entry["template"].get<std::string>(),
                        config_path.string() + ": chat_template tool_use");
  }
  return std::nullopt;
}

std::optional<ChatTemplate> gguf_tool_template(const GgufMetadata& metadata) {
  const std::string* source = metadata.string("tokenizer.chat_template.tool_use");
  if (source == nullptr) return std::nullopt;
  return ChatTemplate(*source, metadata.file() + ": tokenizer.chat_template.tool_use");
}

}  // namespace dak
