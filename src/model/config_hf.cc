#include <algorithm>
#include <map>

#include "base/error.h"
#include "model/config.h"
#include "model/config_keys.h"
#include "model/family.h"
#include "model/rope_hf.h"

namespace dak {
namespace {

Activation parse_activation(const HfConfig& json, std::string_view field) {
  static const std::map<std::string, Activation> kNames{
      {"silu", Activation::kSilu},         {"swish", Activation::kSilu},
      {"relu", Activation::kRelu},         {"gelu", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
  };
  const auto found = kNames.find(json.text(field));
  if (found == kNames.end()) {
    json.unsupported(field, "is not an activation that dak knows",
                     "known: silu, relu, gelu, gelu_new, gelu_pytorch_tanh");
  }
  return found->second;
}

// Null and a missing field: float32, as transformers has it.
DType parse_stored_dtype(const HfConfig& json) {
  const char* field = json.value("dtype").is_null() ? "torch_dtype" : "dtype";
  const std::string text = json.optional_text(field).value_or("float32");
  if (text == "bfloat16") return DType::kBF16;
  if (text == "float16") return DType::kF16;
  if (text == "float32") return DType::kF32;
  json.unsupported(field, "is not a dtype that dak reads", "known: float32, float16, bfloat16");
}

// A number, a list, or null: none.
std::vector<int32_t> parse_tokens(const HfConfig& json, std::string_view field) {
  const Json& value = json.value(field);
  std::vector<int32_t> tokens;
  const auto add = [&](const Json& token) {
    if (!token.is_number_integer() || token < 0 || token > INT32_MAX) {
      json.wrong(field, "must be token ids");
    }
    tokens.push_back(token.get<int32_t>());
  };
  if (value.is_array()) {
    std::ranges::for_each(value, add);
  } else if (!value.is_null()) {
    add(value);
  }
  return tokens;
}

// Of a configuration that dak does not run, the experts are the likelier reason to name.
std::string experts_of(const Json& json) {
  for (const char* field : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    const auto found = json.find(field);
    if (found != json.end() && !is_switched_off(*found)) {
      return fmt::format("is a mixture of experts ({} {}), which dak does not run", field,
                         printable(json_text(*found)));
    }
  }
  return "is not an architecture that dak runs";
}

const Family* family_of_type(const std::string& model_type) {
  for (const Family* family : families()) {
    if (family->hf_model_type == model_type) return family;
  }
  return nullptr;
}

// architectures names the class that the weights are of, model_type the configuration's: a model
// where they contradict each other would be another one in transformers than it says.
const Family& family_of(const Json& json, std::string_view where) {
  const HfConfig fields(json, common_hf_keys(), where);
  const std::string model_type = fields.optional_text("model_type").value_or("");
  const Json& list = fields.value("architectures");
  const bool named = list.is_array() && !list.empty();
  if (!list.is_null() && (!list.is_array() || (named && !list.front().is_string()))) {
    fields.wrong("architectures", "must be a list with one name");
  }
  const Family* by_type = family_of_type(model_type);
  if (!named) {
    if (by_type != nullptr) return *by_type;
    if (!model_type.empty()) {
      throw_unsupported(where, "model_type", model_type, experts_of(json),
                        "known: " + known_hf_architectures());
    }
    throw_corrupt(where, "architectures", {}, "is missing, and so is model_type",
                  "known: " + known_hf_architectures());
  }
  const auto architecture = list.front().get<std::string>();
  for (const Family* family : families()) {
    if (family->hf_architecture != architecture) continue;
    if (!model_type.empty() && model_type != family->hf_model_type) {
      throw_unsupported(where, "model_type", model_type,
                        fmt::format("contradicts architectures, which names {}", architecture),
                        "correct the one that is wrong");
    }
    return *family;
  }
  throw_unsupported(where, "architectures", architecture, experts_of(json),
                    "known: " + known_hf_architectures());
}

// For the case that the weights have other ones: then the missing field is the reason.
std::vector<std::string> defaulted_sizes(const HfConfig& json, const ConfigKeys& keys) {
  std::vector<std::string> sizes;
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "ffn_dim", "head_dim",
                            "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                            "max_position_embeddings", "tie_word_embeddings", "attention_bias"}) {
    const ConfigKey* key = find_key(keys, field);
    if (key == nullptr || key->use != KeyUse::kUsed || json.has(field)) continue;
    sizes.push_back(fmt::format("{} {}", field, key->values));
  }
  return sizes;
}

}  // namespace

ConfigKeys hf_keys_of(const Family& family) {
  ConfigKeys keys = family.hf_keys();
  keys.insert(keys.end(), common_hf_keys().begin(), common_hf_keys().end());
  return keys;
}

void read_layer_types(const HfConfig& json, ModelConfig& config) {
  const Json& list = json.value("layer_types");
  if (list.is_null()) return;
  if (!list.is_array()) json.wrong("layer_types", "must be a list");
  if (static_cast<int64_t>(list.size()) != config.layers) {
    throw_corrupt(json.where(), "layer_types", fmt::format("of {} layers", list.size()),
                  fmt::format("must name the kind of each of the {} layers", config.layers));
  }
  std::vector<bool> full;
  for (const Json& kind : list) {
    const std::string text = kind.is_string() ? kind.get<std::string>() : json_text(kind);
    if (text != "full_attention" && text != "sliding_attention") {
      throw_unsupported(json.where(), "layer_types", printable(text),
                        "is not a kind of layer that dak runs",
                        "known: full_attention, sliding_attention");
    }
    full.push_back(text == "full_attention");
  }
  config.full_layers = std::move(full);
}

int64_t read_window(const HfConfig& json) {
  const auto window = json.optional_integer("sliding_window");
  if (window && *window < 1) json.wrong("sliding_window", "must be at least 1, or null for none");
  return window.value_or(0);
}

void read_qwen_windows(const HfConfig& json, ModelConfig& config) {
  const int64_t first = json.integer("max_window_layers");
  read_layer_types(json, config);  // checked even where no layer has a window
  if (!json.flag("use_sliding_window")) {
    config.full_layers.clear();
    return;
  }
  config.sliding_window = read_window(json);
  if (!config.full_layers.empty()) return;
  for (int64_t i = 0; i < config.layers && i < 4096; ++i) config.full_layers.push_back(i < first);
}

ModelConfig parse_hf_config(const Json& json, std::string_view where) {
  if (!json.is_object()) throw_corrupt(where, {}, {}, "is not a JSON object");
  const Family& family = family_of(json, where);
  const ConfigKeys keys = hf_keys_of(family);
  check_keys(keys, json, where);
  const HfConfig fields(json, keys, where);
  ModelConfig config;
  config.family = family.name;
  config.vocabulary = fields.integer("vocab_size");
  config.hidden = fields.integer("hidden_size");
  config.layers = fields.integer("num_hidden_layers");
  config.heads = fields.integer("num_attention_heads");
  config.kv_heads = config.heads;
  config.head_size = config.heads > 0 ? config.hidden / config.heads : 0;
  config.context_length = fields.integer("max_position_embeddings");
  config.activation = parse_activation(fields, family.hf_activation);
  config.tied_embeddings = fields.flag("tie_word_embeddings");
  config.stored_dtype = parse_stored_dtype(fields);
  config.eos_tokens = parse_tokens(fields, "eos_token_id");
  config.bos_tokens = parse_tokens(fields, "bos_token_id");
  family.read_hf(fields, config);
  config.defaulted = defaulted_sizes(fields, keys);
  validate(config, where);
  return config;
}

void read_gated_hf(const HfConfig& json, ModelConfig& config) {
  config.intermediate = json.integer("intermediate_size");
  config.kv_heads = json.optional_integer("num_key_value_heads").value_or(config.heads);
  config.head_size = json.optional_integer("head_dim").value_or(config.head_size);
  config.norm_epsilon = static_cast<float>(json.number("rms_norm_eps"));
  config.rope = parse_hf_rope(json, config.head_size, config.context_length);
}

void apply_generation_config(const Json& json, std::string_view where, ModelConfig& config) {
  const HfConfig fields(json, generation_keys(), where);
  check_keys(generation_keys(), json, where);
  if (!fields.value("eos_token_id").is_null()) {
    config.eos_tokens = parse_tokens(fields, "eos_token_id");
  }
  if (!fields.value("bos_token_id").is_null()) {
    config.bos_tokens = parse_tokens(fields, "bos_token_id");
  }
  config.sampling = sampling_defaults(fields);
}

}  // namespace dak
