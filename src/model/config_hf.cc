#include <algorithm>
#include <map>

#include "model/config.h"
#include "model/family.h"

namespace dak {
namespace {

Activation parse_activation(const std::string& text, std::string_view where) {
  static const std::map<std::string, Activation> kNames{
      {"silu", Activation::kSilu},         {"swish", Activation::kSilu},
      {"relu", Activation::kRelu},         {"gelu", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh}, {"gelu_pytorch_tanh", Activation::kGeluTanh},
  };
  const auto found = kNames.find(text);
  if (found == kNames.end()) {
    throw_unsupported(where, "hidden_act", text, "is not an activation dak knows",
                      "known: silu, relu, gelu, gelu_new, gelu_pytorch_tanh");
  }
  return found->second;
}

// Up to transformers 4: rope_theta and rope_scaling; from 5: rope_parameters with everything.
RopeConfig parse_rope(const HfConfig& json, int64_t head_size, int64_t context_length) {
  RopeConfig rope;
  rope.theta = json.number_or("rope_theta", 10000.0);
  rope.original_context = static_cast<double>(context_length);
  rope.rotary_dims = static_cast<int64_t>(static_cast<double>(head_size) *
                                          json.number_or("partial_rotary_factor", 1.0));
  const nlohmann::json* nested = json.find("rope_parameters");
  if (nested == nullptr) nested = json.find("rope_scaling");
  if (nested == nullptr) return rope;

  const HfConfig scaling(*nested, json.where());
  rope.theta = scaling.number_or("rope_theta", rope.theta);
  const std::string type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  rope.factor = scaling.number_or("factor", 1.0);
  rope.original_context =
      scaling.number_or("original_max_position_embeddings", static_cast<double>(context_length));
  if (type == "default") {
    rope.factor = 1.0;
  } else if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.low_freq_factor = scaling.number_or("low_freq_factor", 1.0);
    rope.high_freq_factor = scaling.number_or("high_freq_factor", 4.0);
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.beta_fast = scaling.number_or("beta_fast", 32.0);
    rope.beta_slow = scaling.number_or("beta_slow", 1.0);
    rope.attention_factor = scaling.number_or("attention_factor", 0.0);
  } else {
    throw_unsupported(json.where(), "rope_type", type, "is not a RoPE scaling dak knows",
                      "known: default, linear, llama3, yarn");
  }
  return rope;
}

DType parse_stored_dtype(const HfConfig& json) {
  const std::string text = json.text_or("dtype", json.text_or("torch_dtype", "float32"));
  if (text == "bfloat16") return DType::kBF16;
  if (text == "float16") return DType::kF16;
  if (text == "float32") return DType::kF32;
  throw_unsupported(json.where(), "torch_dtype", text, "is not a dtype dak reads",
                    "known: float32, float16, bfloat16");
}

std::vector<int32_t> parse_tokens(const HfConfig& json, const char* field) {
  const nlohmann::json* value = json.find(field);
  std::vector<int32_t> tokens;
  if (value == nullptr) return tokens;
  const auto add = [&](const nlohmann::json& token) {
    if (!token.is_number_integer() || token < 0 || token > INT32_MAX) {
      throw_corrupt(json.where(), field, token.dump(-1, ' ', true), "must be token ids");
    }
    tokens.push_back(token.get<int32_t>());
  };
  if (value->is_array()) {
    std::ranges::for_each(*value, add);
  } else {
    add(*value);
  }
  return tokens;
}

const Family& family_of(const HfConfig& json) {
  const nlohmann::json* list = json.find("architectures");
  if (list == nullptr || !list->is_array() || list->empty() || !list->front().is_string()) {
    throw_corrupt(json.where(), "architectures", {}, "must be a list with one name",
                  "known: " + known_hf_architectures());
  }
  const auto architecture = list->front().get<std::string>();
  for (const Family* family : families()) {
    if (family->hf_architecture == architecture) return *family;
  }
  throw_unsupported(json.where(), "architectures", architecture, "is not an architecture dak runs",
                    "known: " + known_hf_architectures());
}

}  // namespace

ModelConfig parse_hf_config(const nlohmann::json& json, std::string_view where) {
  const HfConfig fields(json, where);
  const Family& family = family_of(fields);
  if (fields.has("quantization_config")) {
    throw_unsupported(where, "quantization_config", {}, "quantised safetensors are not read",
                      "use the unquantised model or a GGUF");
  }
  ModelConfig config;
  config.family = family.name;
  config.vocabulary = fields.integer("vocab_size");
  config.hidden = fields.integer("hidden_size");
  config.layers = fields.integer("num_hidden_layers");
  config.heads = fields.integer("num_attention_heads");
  config.kv_heads = fields.integer_or("num_key_value_heads", config.heads);
  config.head_size =
      fields.integer_or("head_dim", config.heads > 0 ? config.hidden / config.heads : 0);
  config.context_length = fields.integer("max_position_embeddings");
  config.norm_epsilon = static_cast<float>(fields.number_or("rms_norm_eps", 1e-5));
  config.activation = parse_activation(
      fields.text_or("hidden_act", fields.text_or("activation_function", "silu")), where);
  config.rope = parse_rope(fields, config.head_size, config.context_length);
  config.tied_embeddings = fields.flag_or("tie_word_embeddings", false);
  config.stored_dtype = parse_stored_dtype(fields);
  config.eos_tokens = parse_tokens(fields, "eos_token_id");
  config.bos_tokens = parse_tokens(fields, "bos_token_id");
  family.read_hf(fields, config);
  validate(config, where);
  return config;
}

void apply_generation_config(const nlohmann::json& json, std::string_view where,
                             ModelConfig& config) {
  const HfConfig fields(json, where);
  if (fields.has("eos_token_id")) config.eos_tokens = parse_tokens(fields, "eos_token_id");
  if (fields.has("bos_token_id")) config.bos_tokens = parse_tokens(fields, "bos_token_id");
}

}  // namespace dak
