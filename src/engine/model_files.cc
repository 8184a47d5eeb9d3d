#include "engine/model_files.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "engine/tool_template.h"
#include "format/safetensors.h"
#include "model/families.h"
#include "model/loader.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

Json read_json(const fs::path& path) { return parse_json(read_text_file(path), path.string()); }

ModelFiles open_config(const fs::path& config_path) {
  ModelFiles files{.path = config_path, .format = "config.json alone", .config = {}};
  files.config = parse_hf_config(read_json(config_path), config_path.string());
  const fs::path generation = config_path.parent_path() / "generation_config.json";
  if (fs::exists(generation)) {
    apply_generation_config(read_json(generation), generation.string(), files.config);
  }
  files.config.name = fs::absolute(config_path).parent_path().filename().string();
  return files;
}

ModelFiles open_folder(const fs::path& folder, bool need_weights) {
  const fs::path config = folder / "config.json";
  if (!fs::exists(config)) {
    throw Error(ErrorCode::kNotFound, {.where = folder.string(),
                                       .field = {},
                                       .value = {},
                                       .problem = "has no config.json",
                                       .fix = "give a Hugging Face model folder or a .gguf file"});
  }
  ModelFiles files = open_config(config);
  files.path = folder;
  const bool has_weights = fs::exists(folder / "model.safetensors") ||
                           fs::exists(folder / "model.safetensors.index.json");
  if (has_weights || need_weights) {
    files.checkpoint = open_safetensors(folder);
    files.format = "safetensors";
  }
  return files;
}

ModelFiles open_gguf_model(const fs::path& path) {
  GgufFile gguf = open_gguf(path);
  ModelFiles files{.path = path,
                   .format = fmt::format("gguf v{}", gguf.version),
                   .config = parse_gguf_config(gguf.metadata, gguf.checkpoint),
                   .naming = Naming::kGguf};
  if (files.config.name.empty()) files.config.name = path.stem().string();
  files.checkpoint = std::move(gguf.checkpoint);
  files.metadata = std::move(gguf.metadata);
  return files;
}

// chat_template in tokenizer_config.json: a string, or a list of named ones of which "default" is
// meant. Newer folders keep it in chat_template.jinja.
std::optional<ChatTemplate> folder_chat_template(const fs::path& folder) {
  const fs::path own_file = folder / "chat_template.jinja";
  if (fs::exists(own_file)) return ChatTemplate(read_text_file(own_file), own_file.string());
  const fs::path config_path = folder / "tokenizer_config.json";
  if (!fs::exists(config_path)) return std::nullopt;
  const Json config = read_json(config_path);
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::nullopt;
  const std::string where = config_path.string() + ": chat_template";
  if (found->is_string()) return ChatTemplate(found->get<std::string>(), where);
  if (found->is_array()) {
    for (const Json& entry : *found) {
      if (entry.is_object() && entry.value("name", "") == "default" && entry.contains("template") &&
          entry["template"].is_string()) {
        return ChatTemplate(entry["template"].get<std::string>(), where);
      }
    }
  }
  throw_corrupt(config_path.string(), "chat_template", {}, "is neither a string nor a named list");
}

}  // namespace

bool ModelFiles::has_tokenizer() const { return metadata || fs::exists(path / "tokenizer.json"); }

Tokenizer ModelFiles::load_tokenizer() const {
  if (metadata) return load_gguf_tokenizer(*metadata);
  return load_tokenizer_json(path);
}

std::optional<ChatTemplate> ModelFiles::load_chat_template() const {
  if (!metadata) return folder_chat_template(path);
  const std::string* source = metadata->string("tokenizer.chat_template");
  if (source == nullptr) return std::nullopt;
  return ChatTemplate(*source, metadata->file() + ": tokenizer.chat_template");
}

std::optional<ChatTemplate> ModelFiles::load_tool_template() const {
  return metadata ? gguf_tool_template(*metadata) : folder_tool_template(path);
}

ModelFiles open_model(const fs::path& path, bool need_weights) {
  std::error_code status;
  const fs::file_status found = fs::status(path, status);
  if (!fs::exists(found)) {
    throw Error(ErrorCode::kNotFound, {.where = path.string(),
                                       .field = {},
                                       .value = {},
                                       .problem = "no such file or folder",
                                       .fix = "give a model folder, a .gguf or a config.json"});
  }
  ModelFiles files = [&] {
    if (fs::is_directory(found)) return open_folder(path, need_weights);
    if (path.extension() != ".json") return open_gguf_model(path);
    if (need_weights) {
      throw_invalid(path.string(), {}, {}, "is a configuration without weights",
                    "give the folder that holds it, or use --synthetic or `dak plan`");
    }
    return open_config(path);
  }();
  if (files.checkpoint) {
    const Family& family = family_named(files.config.family);
    check_checkpoint(family.weights(files.config, files.naming), *files.checkpoint, path.string());
  }
  return files;
}

}  // namespace dak
