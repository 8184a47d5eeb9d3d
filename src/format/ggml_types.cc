#include "format/ggml_types.h"

#include <array>

namespace dak {
namespace {

struct GgmlType {
  std::string_view name;
  GgmlBlock block;  // of 0 elements: withdrawn, or of a layout that changed
};

// Position is ggml's number (enum ggml_type in ggml.h); those withdrawn keep their names. Sizes:
// GGML_QUANT_SIZES of gguf-py.
constexpr std::array<GgmlType, 42> kTypes{{
    {"F32", {1, 4}},        {"F16", {1, 2}},        {"Q4_0", {32, 18}},     {"Q4_1", {32, 20}},
    {"Q4_2", {0, 0}},       {"Q4_3", {0, 0}},       {"Q5_0", {32, 22}},     {"Q5_1", {32, 24}},
    {"Q8_0", {32, 34}},     {"Q8_1", {0, 0}},       {"Q2_K", {256, 84}},    {"Q3_K", {256, 110}},
    {"Q4_K", {256, 144}},   {"Q5_K", {256, 176}},   {"Q6_K", {256, 210}},   {"Q8_K", {256, 292}},
    {"IQ2_XXS", {256, 66}}, {"IQ2_XS", {256, 74}},  {"IQ3_XXS", {256, 98}}, {"IQ1_S", {256, 50}},
    {"IQ4_NL", {32, 18}},   {"IQ3_S", {256, 110}},  {"IQ2_S", {256, 82}},   {"IQ4_XS", {256, 136}},
    {"I8", {1, 1}},         {"I16", {1, 2}},        {"I32", {1, 4}},        {"I64", {1, 8}},
    {"F64", {1, 8}},        {"IQ1_M", {256, 56}},   {"BF16", {1, 2}},       {"Q4_0_4_4", {0, 0}},
    {"Q4_0_4_8", {0, 0}},   {"Q4_0_8_8", {0, 0}},   {"TQ1_0", {256, 54}},   {"TQ2_0", {256, 66}},
    {"IQ4_NL_4_4", {0, 0}}, {"IQ4_NL_4_8", {0, 0}}, {"IQ4_NL_8_8", {0, 0}}, {"MXFP4", {32, 17}},
    {"NVFP4", {64, 36}},    {"Q1_0", {128, 18}},
}};

}  // namespace

std::string_view ggml_type_name(uint32_t type) {
  return type < kTypes.size() ? kTypes[type].name : std::string_view{};
}

std::optional<GgmlBlock> block_of_ggml_type(uint32_t type) {
  if (type >= kTypes.size() || kTypes[type].block.elements == 0) return std::nullopt;
  return kTypes[type].block;
}

std::optional<DType> dtype_of_ggml_type(uint32_t type) {
  switch (type) {
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 2:
      return DType::kQ4_0;
    case 3:
      return DType::kQ4_1;
    case 8:
      return DType::kQ8_0;
    case 12:
      return DType::kQ4_K;
    case 13:
      return DType::kQ5_K;
    case 14:
      return DType::kQ6_K;
    case 30:
      return DType::kBF16;
    case 6:
      return DType::kQ5_0;
    case 7:
      return DType::kQ5_1;
    case 11:
      return DType::kQ3_K;
    case 20:
      return DType::kIQ4_NL;
    case 23:
      return DType::kIQ4_XS;
    case 39:
      return DType::kMXFP4;
    case 40:
      return DType::kNVFP4;
    default:
      return std::nullopt;
  }
}

}  // namespace dak
