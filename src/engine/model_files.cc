#include "engine/model_files.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "engine/tool_template.h"
#include "format/model_json.h"
#include "format/safetensors.h"
#include "model/declared_model.h"
#include "model/loader.h"

namespace dak {
namespace {

namespace fs = std::filesystem;

ModelFiles open_config(const fs::path& config_path) {
  ModelFiles files{.path = config_path, .format = "config.json alone", .config = {}};
  files.config = parse_hf_config(read_model_json(config_path), config_path.string());
  const fs::path generation = config_path.parent_path() / "generation_config.json";
  if (fs::exists(generation)) {
    apply_generation_config(read_model_json(generation), generation.string(), files.config);
  }
  files.config.name = fs::absolute(config_path).parent_path().filename().string();
  return files;
}

// A folder with an adapter beside a model, or with nothing but one.
void refuse_adapter(const fs::path& folder) {
  const fs::path config = folder / "adapter_config.json";
  if (!fs::exists(config)) return;
  const Json json = read_model_json(config);
  const auto base = json.is_object() ? json.find("base_model_name_or_path") : json.end();
  const std::string of = json.is_object() && base != json.end() && base->is_string()
                             ? fmt::format(" of {}", printable(base->get<std::string>()))
                             : std::string();
  throw_unsupported(folder.string(), "adapter_config.json", {},
                    fmt::format("the folder holds an adapter{}, and dak applies none", of),
                    "merge it into its model (merge_and_unload of peft does)");
}

ModelFiles open_folder(const fs::path& folder, bool need_weights) {
  refuse_adapter(folder);
  const fs::path config = folder / "config.json";
  if (!fs::exists(config)) {
    std::string fix = "give a Hugging Face model folder or a .gguf file";
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".gguf") fix = "give the .gguf file in it";
    }
    throw Error(ErrorCode::kNotFound, {.where = folder.string(),
                                       .field = {},
                                       .value = {},
                                       .problem = "has no config.json",
                                       .fix = fix});
  }
  ModelFiles files = open_config(config);
  files.path = folder;
  const bool has_weights = fs::exists(folder / "model.safetensors") ||
                           fs::exists(folder / "model.safetensors.index.json");
  if (has_weights || need_weights) {
    files.checkpoint = open_safetensors(folder);
    files.format = "safetensors";
    const std::string notice = settle_tied_embeddings(*files.checkpoint, files.config);
    if (!notice.empty()) files.notices.push_back(notice);
  }
  return files;
}

ModelFiles open_gguf_model(const fs::path& path) {
  GgufFile gguf = open_gguf(path);
  ModelFiles files{.path = path,
                   .format = fmt::format("gguf v{}", gguf.version),
                   .config = parse_gguf_config(gguf.metadata, gguf.checkpoint),
                   .naming = Naming::kGguf};
  if (files.config.name.empty()) files.config.name = gguf_stem(path);
  files.checkpoint = std::move(gguf.checkpoint);
  files.metadata = std::move(gguf.metadata);
  return files;
}

// chat_template in tokenizer_config.json: a string, or a list of named ones of which "default" is
// meant. Newer folders keep it in chat_template.jinja.
std::optional<ChatTemplate> folder_chat_template(const fs::path& folder) {
  const fs::path own_file = folder / "chat_template.jinja";
  if (fs::exists(own_file)) {
    const std::string source = read_text_file(own_file);
    if (!source.empty()) refuse_stand_in(source, own_file.string());
    return ChatTemplate(source, own_file.string());
  }
  const fs::path config_path = folder / "tokenizer_config.json";
  if (!fs::exists(config_path)) return std::nullopt;
  const Json config = read_model_json(config_path);
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
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
  throw_corrupt(config_path.string(), "chat_template", {},
                "is neither a string nor a list that names a default");
}

// A template that cannot be read says so when it is used.
template <typename Load>
std::optional<ChatTemplate> usable_or_fault(Load load) {
  try {
    return load();
  } catch (const Error& error) {
    return ChatTemplate(error);
  }
}

// That the weights are those of the configuration. Where they are not, a field that config.json
// leaves to its class is a likely reason.
void check_weights(const ModelFiles& files) {
  const Program program = program_of(files.config, files.naming);
  try {
    check_checkpoint(program, *files.checkpoint, files.path.string());
  } catch (const Error& error) {
    if (files.config.defaulted.empty()) throw;
    ErrorInfo info = error.info();
    info.fix += fmt::format("; config.json lacks fields, for which its class has {}",
                            fmt::join(files.config.defaulted, ", "));
    throw Error(error.code(), info);
  }
}

[[noreturn]] void throw_no_tokenizer(const fs::path& folder) {
  std::string found;
  for (const char* other : {"tokenizer.model", "vocab.json", "tekken.json", "tiktoken.model"}) {
    if (!found.empty() || !fs::exists(folder / other)) continue;
    found = fmt::format(
        "; {} is there, which AutoTokenizer.from_pretrained and save_pretrained turn "
        "into a tokenizer.json",
        other);
  }
  throw Error(ErrorCode::kNotFound,
              {.where = folder.string(),
               .field = "tokenizer.json",
               .value = {},
               .problem = "is missing: the model has no tokenizer that dak reads" + found,
               .fix = "fetch tokenizer.json and tokenizer_config.json of the same model"});
}

}  // namespace

bool ModelFiles::has_tokenizer() const { return metadata || fs::exists(path / "tokenizer.json"); }

Tokenizer ModelFiles::load_tokenizer() const {
  if (metadata) return load_gguf_tokenizer(*metadata);
  if (!has_tokenizer()) throw_no_tokenizer(path);
  return load_tokenizer_json(path);
}

std::optional<ChatTemplate> ModelFiles::load_chat_template() const {
  return usable_or_fault([this]() -> std::optional<ChatTemplate> {
    if (!metadata) return folder_chat_template(path);
    const std::string* source = metadata->string("tokenizer.chat_template");
    if (source == nullptr) return std::nullopt;
    return ChatTemplate(*source, metadata->file() + ": tokenizer.chat_template");
  });
}

std::optional<ChatTemplate> ModelFiles::load_tool_template() const {
  return usable_or_fault(
      [this] { return metadata ? gguf_tool_template(*metadata) : folder_tool_template(path); });
}

std::string default_model_name(const fs::path& path) {
  fs::path whole = fs::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  return whole.extension() == ".gguf" ? gguf_stem(whole) : whole.filename().string();
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
    check_weights(files);
  }
  return files;
}

}  // namespace dak
