#include "memory/random_values.h"

#include "base/error.h"
#include "base/half.h"
#include "memory/random_bits.h"

namespace dak {
namespace {

template <typename Stored, typename Convert>
void fill_as(Stored* out, const RandomValues& values, Convert convert) {
  const RandomKeys keys = random_keys(values.seed);
  const float scale = random_scale(values.half_width);
  const auto first = static_cast<uint64_t>(values.first_index);
  for (int64_t i = 0; i < values.count; ++i) {
    const int32_t step = random_step(keys, first + static_cast<uint64_t>(i));
    const float offset = static_cast<float>(step) * scale;
    out[i] = convert(values.centre + offset);
  }
}

}  // namespace

void fill_random_cpu(std::byte* at, const RandomValues& values) {
  switch (values.dtype) {
    case DType::kF32:
      return fill_as(reinterpret_cast<float*>(at), values, [](float v) { return v; });
    case DType::kF16:
      return fill_as(reinterpret_cast<uint16_t*>(at), values, f32_to_f16);
    case DType::kBF16:
      return fill_as(reinterpret_cast<uint16_t*>(at), values, f32_to_bf16);
    default:
      refuse_dtype("random values", values.dtype);
  }
}

}  // namespace dak
