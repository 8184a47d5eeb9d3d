#include "model/sampling_defaults.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "model/hf_config.h"

namespace dak {
namespace {

constexpr double kEnormous = 1e6;
constexpr double kLeast = std::numeric_limits<float>::min();

// `number`: of a field, nullopt where it is not given; `wrong` throws.
template <typename Number, typename Wrong>
std::optional<float> real(std::string_view field, double low, double high, const Number& number,
                          const Wrong& wrong) {
  const std::optional<double> value = number(field);
  if (!value) return std::nullopt;
  if (!(*value >= low && *value <= high)) {
    wrong(field, low == kLeast ? fmt::format("must be above 0 and at most {}", high)
                               : fmt::format("must be a number from {} to {}", low, high));
  }
  return static_cast<float>(*value);
}

template <typename Number, typename Wrong>
std::optional<int64_t> whole(std::string_view field, int64_t low, int64_t high,
                             const Number& number, const Wrong& wrong) {
  const std::optional<double> value = number(field);
  if (!value) return std::nullopt;
  if (*value != std::floor(*value) || *value < static_cast<double>(low) ||
      *value > static_cast<double>(high)) {
    wrong(field, fmt::format("must be a whole number from {} to {}", low, high));
  }
  return static_cast<int64_t>(*value);
}

std::optional<int> as_int(std::optional<int64_t> value) {
  return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

}  // namespace

SamplingDefaults sampling_defaults(const HfConfig& generation) {
  const auto number = [&](std::string_view field) { return generation.optional_number(field); };
  const auto wrong = [&](std::string_view field, std::string_view problem) {
    generation.wrong(field, problem);
  };
  SamplingDefaults defaults{
      .temperature = real("temperature", 0, kEnormous, number, wrong),
      .top_k = as_int(whole("top_k", 0, INT32_MAX, number, wrong)),
      .top_p = real("top_p", kLeast, 1, number, wrong),
      .min_p = real("min_p", 0, 1, number, wrong),
      .repetition_penalty = real("repetition_penalty", kLeast, kEnormous, number, wrong),
      .max_tokens = whole("max_new_tokens", 1, int64_t{1} << 40, number, wrong)};
  if (generation.has("do_sample") && !generation.value("do_sample").is_null() &&
      !generation.flag("do_sample")) {
    defaults.temperature = 0.0f;
  }
  return defaults;
}

SamplingDefaults sampling_defaults(const GgufMetadata& metadata) {
  const auto key = [](std::string_view field) { return fmt::format("general.sampling.{}", field); };
  const auto number = [&](std::string_view field) { return metadata.number(key(field)); };
  const auto wrong = [&](std::string_view field, std::string_view problem) {
    throw_corrupt(metadata.file(), key(field), fmt::format("{}", *number(field)), problem);
  };
  return {.temperature = real("temp", 0, kEnormous, number, wrong),
          .top_k = as_int(whole("top_k", 0, INT32_MAX, number, wrong)),
          .top_p = real("top_p", kLeast, 1, number, wrong),
          .min_p = real("min_p", 0, 1, number, wrong),
          .repetition_penalty = real("penalty_repeat", kLeast, kEnormous, number, wrong),
          .max_tokens = {}};
}

}  // namespace dak
