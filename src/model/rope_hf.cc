#include "model/rope_hf.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace dak {
namespace {

using enum KeyUse;

// Null and 0 mean the default, as Python's `or` has it.
double number_or(const HfConfig& scaling, std::string_view field, double otherwise) {
  const double value = scaling.optional_number(field).value_or(0.0);
  return value == 0 ? otherwise : value;
}

double positive(const HfConfig& scaling, std::string_view field) {
  const double value = scaling.number(field);
  if (!(value > 0)) scaling.wrong(field, "must be positive");
  return value;
}

// The factor on cosine and sine; 0: by `factor` alone.
double attention_factor_of(const HfConfig& scaling, double factor) {
  if (const auto given = scaling.optional_number("attention_factor")) {
    if (!(*given > 0)) scaling.wrong("attention_factor", "must be positive");
    return *given;
  }
  const double all = scaling.optional_number("mscale_all_dim").value_or(0.0);
  const double mscale = scaling.optional_number("mscale").value_or(0.0);
  if (all == 0 || mscale == 0) return 0;
  return yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all);
}

// A field of the configuration itself goes before that of rope_parameters, as in transformers.
double original_context_of(const HfConfig& config, const HfConfig& scaling,
                           int64_t context_length) {
  constexpr std::string_view kField = "original_max_position_embeddings";
  const HfConfig& source = config.has(kField) ? config : scaling;
  const auto original = source.optional_integer(kField);
  if (original && *original <= 0) source.wrong(kField, "must be positive");
  return static_cast<double>(original.value_or(context_length));
}

void parse_yarn(const HfConfig& scaling, int64_t context_length, RopeConfig& rope) {
  rope.scaling = RopeScaling::kYarn;
  const bool implied = scaling.value("factor").is_null();
  rope.factor = implied ? static_cast<double>(context_length) / rope.original_context
                        : positive(scaling, "factor");
  rope.beta_fast = number_or(scaling, "beta_fast", 32.0);
  rope.beta_slow = number_or(scaling, "beta_slow", 1.0);
  if (!(rope.beta_fast > 0)) scaling.wrong("beta_fast", "must be positive");
  if (!(rope.beta_slow > 0)) scaling.wrong("beta_slow", "must be positive");
  rope.attention_factor = attention_factor_of(scaling, rope.factor);
  rope.truncate = scaling.flag("truncate");
}

void parse_scaling(const HfConfig& config, const HfConfig& scaling, int64_t context_length,
                   RopeConfig& rope) {
  const std::string type = scaling.optional_text("rope_type").value_or(scaling.text("type"));
  rope.original_context = original_context_of(config, scaling, context_length);
  if (type == "default") return;
  if (type == "dynamic") {
    // It changes nothing up to max_position_embeddings, and no context here is longer.
    positive(scaling, "factor");
  } else if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = positive(scaling, "factor");
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.factor = positive(scaling, "factor");
    rope.low_freq_factor = positive(scaling, "low_freq_factor");
    rope.high_freq_factor = positive(scaling, "high_freq_factor");
  } else if (type == "yarn") {
    parse_yarn(scaling, context_length, rope);
  } else {
    throw_unsupported(scaling.where(), scaling.path("rope_type"), type,
                      "is a RoPE scaling that dak does not compute",
                      "known: default, linear, dynamic, llama3, yarn");
  }
}

// rope_parameters, or one for each kind of layer when all are the same.
std::pair<const Json*, std::string> find_parameters(const HfConfig& config) {
  std::string field = "rope_parameters";
  // transformers takes rope_scaling where both are there.
  if (!is_switched_off(config.value("rope_scaling"))) field = "rope_scaling";
  const Json& all = config.value(field);
  if (all.is_null()) return {nullptr, field};
  if (!all.is_object()) config.wrong(field, "must be an object");
  const Json* nested = nullptr;
  for (const auto& [kind, parameters] : all.items()) {
    if (!kind.ends_with("_attention")) continue;
    if (nested != nullptr && *nested != parameters) {
      throw_unsupported(config.where(), fmt::format("{}.{}", field, printable(kind)), {},
                        "RoPE that differs between kinds of layers is not supported");
    }
    nested = &parameters;
  }
  if (nested == nullptr) return {&all, field};
  for (const auto& [key, value] : all.items()) {
    if (key.ends_with("_attention") || value.is_null()) continue;
    throw_unsupported(config.where(), fmt::format("{}.{}", field, printable(key)),
                      printable(json_text(value)), "stands beside parameters for kinds of layers");
  }
  if (!nested->is_object()) {
    throw_unsupported(config.where(), field, {}, "layers without RoPE are not supported");
  }
  return {nested, field + ".*_attention"};
}

}  // namespace

const ConfigKeys& hf_rope_keys() {
  static const ConfigKeys keys{
      {"rope_type", kUsed, "null", "null: type", true},
      {"type", kUsed, "\"default\"", "older name of rope_type"},
      {"rope_theta", kUsed, "null", "null: rope_theta of the configuration", true},
      {"partial_rotary_factor", kUsed, "null", "null: that of the configuration", true},
      {"factor", kUsed, {}, "null, in yarn: max_position_embeddings / the original", true},
      {"original_max_position_embeddings", kUsed, "null", "null: max_position_embeddings", true},
      {"attention_factor", kUsed, "null", "of yarn; null: by mscale or factor", true},
      {"beta_fast", kUsed, "32", "of yarn; null: 32", true},
      {"beta_slow", kUsed, "1", "of yarn; null: 1", true},
      {"mscale", kUsed, "null", "of yarn, with mscale_all_dim", true},
      {"mscale_all_dim", kUsed, "null", "of yarn, with mscale", true},
      {"truncate", kUsed, "true", "of yarn: whole dimensions"},
      {"low_freq_factor", kUsed, {}, "of llama3"},
      {"high_freq_factor", kUsed, {}, "of llama3"},
      {"short_factor", kIgnored, {}, "of longrope, which is refused"},
      {"long_factor", kIgnored, {}, "of longrope, which is refused"},
      {"mrope_section", kIgnored, {}, "positions of text are the same in every section"},
      {"finetuned", kIgnored, {}, "bookkeeping"},
  };
  return keys;
}

RopeConfig parse_hf_rope(const HfConfig& config, int64_t head_size, int64_t context_length) {
  RopeConfig rope;
  rope.theta = config.number("rope_theta");
  rope.original_context = static_cast<double>(context_length);
  double rotated = config.optional_number("partial_rotary_factor").value_or(1.0);
  std::string where_rotated = config.path("partial_rotary_factor");
  const auto [parameters, field] = find_parameters(config);
  std::string where_theta = config.path("rope_theta");
  if (parameters != nullptr) {
    const HfConfig scaling(*parameters, hf_rope_keys(), config.where(), field + ".");
    for (const auto& [key, value] : parameters->items()) {
      if (find_key(hf_rope_keys(), key) != nullptr || is_switched_off(value)) continue;
      throw_unsupported(config.where(), scaling.path(printable(key)), printable(json_text(value)),
                        "is not a parameter of RoPE that dak knows");
    }
    if (const auto theta = scaling.optional_number("rope_theta")) {
      rope.theta = *theta;
      where_theta = scaling.path("rope_theta");
    }
    if (const auto partial = scaling.optional_number("partial_rotary_factor")) {
      rotated = *partial;
      where_rotated = scaling.path("partial_rotary_factor");
    }
    parse_scaling(config, scaling, context_length, rope);
  }
  if (!(rope.theta > 0)) {
    throw_corrupt(config.where(), where_theta, fmt::format("{}", rope.theta), "must be positive");
  }
  if (!(rotated >= 0) || rotated > 1) {
    throw_corrupt(config.where(), where_rotated, fmt::format("{}", rotated), "is outside 0 to 1");
  }
  rope.rotary_dims = static_cast<int64_t>(static_cast<double>(head_size) * rotated);
  return rope;
}

}  // namespace dak
