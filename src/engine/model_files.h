// What MODEL on the command line can be: a Hugging Face folder, a .gguf file, or, for planning and
// synthetic weights, a config.json alone (or its folder).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "format/checkpoint.h"
#include "format/gguf.h"
#include "model/config.h"
#include "model/weights.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace dak {

struct ModelFiles {
  std::filesystem::path path;
  std::string format;  // "gguf v3", "safetensors", "config.json alone"
  ModelConfig config;
  Naming naming = Naming::kHuggingFace;
  std::optional<Checkpoint> checkpoint = {};  // none: config.json alone
  std::optional<GgufMetadata> metadata = {};  // GGUF only
  std::vector<std::string> notices = {};      // sentences for the user

  // Whether load_tokenizer would find one; a config.json alone needs none.
  bool has_tokenizer() const;
  // Throw kNotFound naming the file that would hold it.
  Tokenizer load_tokenizer() const;
  // nullopt: the model has none and cannot chat. One that cannot be used says why when it renders:
  // raw prompts need none.
  std::optional<ChatTemplate> load_chat_template() const;
  // Where conversations with tools have one of their own.
  std::optional<ChatTemplate> load_tool_template() const;
};

// What a model is called that says nothing of it: the folder's or the file's name, less .gguf and
// the number of a part. Not where a link leads to: caches name files by their contents.
std::string default_model_name(const std::filesystem::path& path);

// Reads headers only. With `need_weights`, a config.json alone is refused and every tensor the
// configuration asks for is checked. Throws dak::Error naming file, field, value and fix.
ModelFiles open_model(const std::filesystem::path& path, bool need_weights);

}  // namespace dak
