#include "base/dtype.h"

#include <array>

#include "base/choice.h"
#include "base/error.h"

namespace dak {
namespace {

// Block sizes: GGUF specification, ggml-common block layouts.
constexpr std::array<DTypeTraits, 16> kTraits{{
    {DType::kF32, "f32", 1, 4},
    {DType::kF16, "f16", 1, 2},
    {DType::kBF16, "bf16", 1, 2},
    {DType::kQ8_0, "q8_0", 32, 34},
    {DType::kQ4_0, "q4_0", 32, 18},
    {DType::kQ4_1, "q4_1", 32, 20},
    {DType::kQ4_K, "q4_k", 256, 144},
    {DType::kQ5_K, "q5_k", 256, 176},
    {DType::kQ6_K, "q6_k", 256, 210},
    {DType::kQ5_0, "q5_0", 32, 22},
    {DType::kQ5_1, "q5_1", 32, 24},
    {DType::kQ3_K, "q3_k", 256, 110},
    {DType::kIQ4_NL, "iq4_nl", 32, 18},
    {DType::kIQ4_XS, "iq4_xs", 256, 136},
    {DType::kMXFP4, "mxfp4", 32, 17},
    {DType::kNVFP4, "nvfp4", 64, 36},
}};

constexpr bool in_order_of_types() {
  for (size_t i = 0; i < kTraits.size(); ++i) {
    if (static_cast<size_t>(kTraits[i].dtype) != i) return false;
  }
  return true;
}
static_assert(in_order_of_types());

}  // namespace

const DTypeTraits& traits(DType dtype) {
  const auto i = static_cast<size_t>(dtype);
  if (i >= kTraits.size()) [[unlikely]] {
    throw_internal(fmt::format("number {} names no type of values", i));
  }
  return kTraits[i];
}

void refuse_dtype(std::string_view where, DType dtype, std::string_view known) {
  throw_unsupported(where, "dtype", name(dtype), "is not a type that it takes",
                    fmt::format("it takes {}", known));
}

void refuse_part_of_block(DType dtype, int64_t elements) {
  throw_internal(fmt::format("{} values of {} are not whole blocks, which have {}", elements,
                             name(dtype), traits(dtype).block_elements));
}

Element element_of(DType dtype, std::string_view where) {
  switch (dtype) {
    case DType::kF32:
      return Element::kF32;
    case DType::kF16:
      return Element::kF16;
    case DType::kBF16:
      return Element::kBF16;
    default:
      refuse_dtype(where, dtype);
  }
}

DType parse_compute_dtype(std::string_view text, std::string_view where) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (text == name(dtype)) return dtype;
  }
  throw_unknown(where, text, "not a dtype dak computes with", {"f32", "f16", "bf16"});
}

}  // namespace dak
