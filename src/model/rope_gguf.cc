#include "model/rope_gguf.h"

namespace dak {
namespace {

double factor_of(const GgufFields& fields) {
  const char* field = "rope.scaling.factor";
  std::optional<double> factor = fields.find_number(field);
  if (!factor) factor = fields.find_number(field = "rope.scale_linear");
  if (factor && *factor < 0) {
    throw_corrupt(fields.metadata().file(), fields.key(field), fmt::format("{}", *factor),
                  "must be positive");
  }
  return factor.value_or(0) == 0 ? 1.0 : *factor;
}

RopeScaling scaling_of(const GgufFields& fields) {
  const std::string key = fields.key("rope.scaling.type");
  const std::string* type = fields.metadata().string(key);
  if (type == nullptr || *type == "linear") return RopeScaling::kLinear;
  if (*type == "none") return RopeScaling::kNone;
  if (*type == "yarn") return RopeScaling::kYarn;
  throw_unsupported(fields.metadata().file(), key, *type,
                    "is a RoPE scaling that dak does not compute", "known: none, linear, yarn");
}

// yarn_ext_factor mixes YaRN into the other types, or takes part of it away.
void check_mix(const GgufFields& fields, RopeScaling scaling) {
  const double mix = fields.number_or("rope.scaling.yarn_ext_factor", -1.0);
  const double expected = scaling == RopeScaling::kYarn ? 1.0 : 0.0;
  if (mix < 0 || mix == expected) return;
  throw_unsupported(fields.metadata().file(), fields.key("rope.scaling.yarn_ext_factor"),
                    fmt::format("{}", mix),
                    fmt::format("must be {} for this type of scaling", expected));
}

// On cosine and sine: attn_factor multiplies whatever the type of scaling gives.
double magnitude_of(const GgufFields& fields, const RopeConfig& rope) {
  double magnitude = fields.positive_or("rope.scaling.yarn_attn_factor", 1.0);
  if (rope.scaling == RopeScaling::kYarn) magnitude = yarn_magnitude(rope.factor);
  return magnitude * fields.positive_or("rope.scaling.attn_factor", 1.0);
}

void read_divisors(const GgufFields& fields, const Checkpoint& checkpoint, RopeConfig& rope) {
  const StoredTensor* factors = checkpoint.find("rope_freqs.weight");
  if (factors == nullptr) return;
  const std::string& file = fields.metadata().file();
  if (fields.key("") != "llama.") {
    throw_unsupported(file, "rope_freqs.weight", {}, "scales RoPE in llama only");
  }
  if (factors->rows() != 1 || factors->cols() != rope.rotary_dims / 2) {
    throw_corrupt(file, "rope_freqs.weight", std::to_string(factors->cols()),
                  fmt::format("must hold {} values", rope.rotary_dims / 2));
  }
  rope.frequency_divisors.resize(static_cast<size_t>(factors->cols()));
  checkpoint.read_rows(*factors, 0, 1, rope.frequency_divisors);
  for (const float divisor : rope.frequency_divisors) {
    if (std::isfinite(divisor) && divisor > 0) continue;
    throw_corrupt(file, "rope_freqs.weight", fmt::format("{}", divisor), "must be positive");
  }
}

}  // namespace

RopeConfig parse_gguf_rope(const GgufFields& fields, const Checkpoint& checkpoint,
                           int64_t head_size, int64_t context_length) {
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (checkpoint.find(name) == nullptr) continue;
    throw_unsupported(fields.metadata().file(), name, {}, "LongRoPE is not supported");
  }
  RopeConfig rope;
  rope.theta = fields.positive_or("rope.freq_base", 10000.0);
  rope.rotary_dims = fields.integer_or("rope.dimension_count", head_size);
  rope.original_context = fields.positive_or("rope.scaling.original_context_length",
                                             static_cast<double>(context_length));
  rope.scaling = scaling_of(fields);
  check_mix(fields, rope.scaling);
  rope.factor = rope.scaling == RopeScaling::kNone ? 1.0 : factor_of(fields);
  rope.beta_fast = fields.positive_or("rope.scaling.yarn_beta_fast", 32.0);
  rope.beta_slow = fields.positive_or("rope.scaling.yarn_beta_slow", 1.0);
  rope.attention_factor = magnitude_of(fields, rope);
  if (rope.scaling == RopeScaling::kLinear && rope.factor == 1.0) {
    rope.scaling = RopeScaling::kNone;
  }
  read_divisors(fields, checkpoint, rope);
  return rope;
}

}  // namespace dak
