#include "base/dtype.h"

#include <array>

#include "base/error.h"

namespace dak {
namespace {

// Block sizes: GGUF specification, ggml-common block layouts.
constexpr std::array<DTypeTraits, 9> kTraits{{
    {DType::kF32, "f32", 1, 4},
    {DType::kF16, "f16", 1, 2},
    {DType::kBF16, "bf16", 1, 2},
    {DType::kQ8_0, "q8_0", 32, 34},
    {DType::kQ4_0, "q4_0", 32, 18},
    {DType::kQ4_1, "q4_1", 32, 20},
    {DType::kQ4_K, "q4_k", 256, 144},
    {DType::kQ5_K, "q5_k", 256, 176},
    {DType::kQ6_K, "q6_k", 256, 210},
}};

}  // namespace

const DTypeTraits& traits(DType dtype) { return kTraits[static_cast<size_t>(dtype)]; }

DType parse_compute_dtype(std::string_view text, std::string_view where) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    if (text == name(dtype)) return dtype;
  }
  throw_invalid(where, {}, text, "not a dtype dak computes with", "use f32, f16 or bf16");
}

}  // namespace dak
