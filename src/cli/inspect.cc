#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/key_tables.h"
#include "cli/output.h"
#include "engine/model_files.h"

namespace dak {
namespace {

struct InspectFlags {
  std::string model;
  std::string keys;
  bool json = false;
  bool tensors = false;
};

struct TypeTotal {
  int64_t tensors = 0;
  int64_t bytes = 0;
};

std::map<std::string, TypeTotal> totals_by_type(const Checkpoint& checkpoint) {
  std::map<std::string, TypeTotal> totals;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    TypeTotal& total = totals[std::string(tensor.type_name())];
    total.tensors += 1;
    total.bytes += tensor.size_bytes;
  }
  return totals;
}

int64_t parameters(const Checkpoint& checkpoint) {
  int64_t total = 0;
  for (const StoredTensor& tensor : checkpoint.tensors()) total += tensor.rows() * tensor.cols();
  return total;
}

nlohmann::json to_json(const ModelFiles& files) {
  const ModelConfig& config = files.config;
  nlohmann::json json = {{"path", files.path.string()},
                         {"name", config.name},
                         {"format", files.format},
                         {"family", config.family},
                         {"layers", config.layers},
                         {"hidden", config.hidden},
                         {"heads", config.heads},
                         {"kv_heads", config.kv_heads},
                         {"head_size", config.head_size},
                         {"intermediate", config.intermediate},
                         {"vocabulary", config.vocabulary},
                         {"context_length", config.context_length},
                         {"sliding_window", config.sliding_window},
                         {"tied_embeddings", config.tied_embeddings},
                         {"stored_dtype", name(config.stored_dtype)},
                         {"eos_tokens", config.eos_tokens}};
  if (!files.checkpoint) return json;
  json["parameters"] = parameters(*files.checkpoint);
  for (const auto& [type, total] : totals_by_type(*files.checkpoint)) {
    json["types"][type] = {{"tensors", total.tensors}, {"bytes", total.bytes}};
  }
  for (const StoredTensor& tensor : files.checkpoint->tensors()) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"dtype", tensor.type_name()},
                               {"shape", tensor.shape},
                               {"bytes", tensor.size_bytes},
                               {"file", files.checkpoint->file_of(tensor)},
                               {"offset", tensor.offset}});
  }
  return json;
}

void print_text(const ModelFiles& files, bool tensors) {
  const ModelConfig& c = files.config;
  const auto row = [](std::string_view key, const std::string& value) {
    print_out("{:<12} {}\n", key, value);
  };
  row("model", c.name);
  row("format", files.format);
  row("family", c.family);
  row("layers",
      fmt::format("{} of {} hidden, {} intermediate", c.layers, c.hidden, c.intermediate));
  row("attention",
      fmt::format("{} heads of {}, {} KV heads{}", c.heads, c.head_size, c.kv_heads,
                  c.sliding_window > 0 ? fmt::format(", window {}", c.sliding_window) : ""));
  row("vocabulary", fmt::format("{}{}", c.vocabulary, c.tied_embeddings ? ", tied" : ""));
  row("context", fmt::format("{} tokens", c.context_length));
  if (!files.checkpoint) return;
  row("parameters",
      fmt::format("{:.1f} million", static_cast<double>(parameters(*files.checkpoint)) / 1e6));
  for (const auto& [type, total] : totals_by_type(*files.checkpoint)) {
    row(type, fmt::format("{} tensors, {}", total.tensors, format_bytes(total.bytes)));
  }
  if (!tensors) return;
  for (const StoredTensor& tensor : files.checkpoint->tensors()) {
    print_out("{:<48} {:<6} {:>8} x {:<8} {:>10}\n", printable(tensor.name), tensor.type_name(),
              tensor.rows(), tensor.cols(), format_bytes(tensor.size_bytes));
  }
}

}  // namespace

Command add_inspect(CLI::App& app) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* command = add_command(app, "inspect", "Show what a model file or folder holds");
  CLI::Option* model =
      command->add_option("MODEL", flags->model, "Model folder, .gguf or config.json");
  command
      ->add_option(
          "--keys", flags->keys,
          "List what becomes of each key: of config.json of a family (llama, mistral, qwen2, "
          "qwen3, opt), or of generation_config, tokenizer_config, gguf")
      ->excludes(model);
  command->add_flag("--tensors", flags->tensors, "List every tensor");
  command->add_flag("--json", flags->json, "Print JSON, every tensor included");
  return [flags] {
    if (!flags->keys.empty()) {
      print_keys(flags->keys, flags->json);
      return 0;
    }
    if (flags->model.empty()) {
      throw_invalid("MODEL", {}, {}, "is missing", "give a model folder, .gguf or config.json");
    }
    const ModelFiles files = open_model(flags->model, /*need_weights=*/false);
    if (flags->json) {
      print_out("{}\n",
                to_json(files).dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    } else {
      print_text(files, flags->tensors);
    }
    return 0;
  };
}

}  // namespace dak
