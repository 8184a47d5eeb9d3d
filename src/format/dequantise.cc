// Each formula is evaluated in the order of the `gguf` Python package, so that results are bitwise
// equal to its `dequantize`: products first, then the minimum, no fused multiply-add.
#include "format/dequantise.h"

#include <array>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace dak {
namespace {

static_assert(std::endian::native == std::endian::little, "model files are little-endian");

// Sub-blocks of a K-quant's 256 values.
constexpr int kSubBlocks = 8;
constexpr int kSubBlockElements = 32;

uint16_t load_u16(const uint8_t* in) {
  uint16_t bits = 0;
  std::memcpy(&bits, in, sizeof(bits));
  return bits;
}

float load_f16(const uint8_t* in) { return f16_to_f32(load_u16(in)); }

// f16_to_f32 without branches, which the compiler turns into vector code: a subnormal's mantissa
// is placed under the exponent of 2^-14, and that 2^-14 is subtracted again (exact).
float f16_to_f32_select(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  const uint32_t special = (half & 0x7c00u) == 0x7c00u ? 112u << 23 : 0u;
  const uint32_t normal = magnitude + (112u << 23) + special;
  const float subnormal = std::bit_cast<float>(magnitude + (113u << 23)) - 0x1p-14f;
  const uint32_t bits = (half & 0x7c00u) == 0 ? std::bit_cast<uint32_t>(subnormal) : normal;
  return std::bit_cast<float>(bits | sign);
}

void dequantise_f16(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t i = 0; i < elements; ++i) out[i] = f16_to_f32_select(load_u16(in + 2 * i));
}

void dequantise_bf16(const uint8_t* in, int64_t elements, float* out) {
  for (int64_t i = 0; i < elements; ++i) out[i] = bf16_to_f32(load_u16(in + 2 * i));
}

// {f16 d; i8 q[32]}: d q
void dequantise_q8_0(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const auto* q = reinterpret_cast<const int8_t*>(in + 2);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * d;
}

// {f16 d; u8 q[16]}: d (q - 8); low nibbles are the first 16 values
void dequantise_q4_0(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const uint8_t* q = in + 2;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((q[i] & 0xf) - 8);
    out[i + 16] = d * static_cast<float>((q[i] >> 4) - 8);
  }
}

// {f16 d; f16 m; u8 q[16]}: d q + m
void dequantise_q4_1(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const float m = load_f16(in + 2);
  const uint8_t* q = in + 4;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(q[i] & 0xf) + m;
    out[i + 16] = d * static_cast<float>(q[i] >> 4) + m;
  }
}

struct ScaleAndMinimum {
  std::array<float, kSubBlocks> scale;
  std::array<float, kSubBlocks> minimum;
};

// Q4_K and Q5_K pack eight 6-bit scales and eight 6-bit minima into 12 bytes: four bytes of scales,
// four of minima, whose two high bits belong to sub-blocks 4..7, and four of the low nibbles of
// those.
ScaleAndMinimum unpack_scales(const uint8_t* in) {
  const float d = load_f16(in);
  const float d_min = load_f16(in + 2);
  const uint8_t* scales = in + 4;
  const uint8_t* minima = in + 8;
  const uint8_t* low = in + 12;
  ScaleAndMinimum result{};
  for (size_t i = 0; i < 4; ++i) {
    result.scale[i] = d * static_cast<float>(scales[i] & 0x3f);
    result.scale[i + 4] = d * static_cast<float>((low[i] & 0xf) | ((scales[i] >> 2) & 0x30));
    result.minimum[i] = d_min * static_cast<float>(minima[i] & 0x3f);
    result.minimum[i + 4] = d_min * static_cast<float>((low[i] >> 4) | ((minima[i] >> 2) & 0x30));
  }
  return result;
}

// {f16 d, d_min; u8 scales[12]; u8 q[128]}: d scale q - d_min minimum; each 32 bytes hold two
// sub-blocks, low nibbles first
void dequantise_q4_k(const uint8_t* in, float* out) {
  const ScaleAndMinimum s = unpack_scales(in);
  const uint8_t* q = in + 16;
  for (size_t pair = 0; pair < kSubBlocks / 2; ++pair, q += 32, out += 64) {
    const float low_scale = s.scale[2 * pair];
    const float low_minimum = s.minimum[2 * pair];
    const float high_scale = s.scale[2 * pair + 1];
    const float high_minimum = s.minimum[2 * pair + 1];
    for (int i = 0; i < kSubBlockElements; ++i) {
      out[i] = low_scale * static_cast<float>(q[i] & 0xf) - low_minimum;
      out[i + 32] = high_scale * static_cast<float>(q[i] >> 4) - high_minimum;
    }
  }
}

// As Q4_K with {u8 high[32]} before q: bit b of high[i] is bit 4 of value i of sub-block b
void dequantise_q5_k(const uint8_t* in, float* out) {
  const ScaleAndMinimum s = unpack_scales(in);
  const uint8_t* high = in + 16;
  const uint8_t* q = in + 48;
  for (size_t pair = 0; pair < kSubBlocks / 2; ++pair, q += 32, out += 64) {
    const float low_scale = s.scale[2 * pair];
    const float low_minimum = s.minimum[2 * pair];
    const float high_scale = s.scale[2 * pair + 1];
    const float high_minimum = s.minimum[2 * pair + 1];
    for (int i = 0; i < kSubBlockElements; ++i) {
      const int bits = high[i] >> (2 * pair);
      out[i] = low_scale * static_cast<float>((q[i] & 0xf) | ((bits & 1) << 4)) - low_minimum;
      out[i + 32] = high_scale * static_cast<float>((q[i] >> 4) | ((bits & 2) << 3)) - high_minimum;
    }
  }
}

// {u8 low[128]; u8 high[64]; i8 scales[16]; f16 d}: d scale (q - 32), a scale per 16 values; each
// half of 128 values takes 64 bytes of low nibbles and 32 bytes of high bit pairs
void dequantise_q6_k(const uint8_t* in, float* out) {
  const float d = load_f16(in + 208);
  std::array<float, 16> scale{};
  for (size_t i = 0; i < scale.size(); ++i) {
    scale[i] = d * static_cast<float>(static_cast<int8_t>(in[192 + i]));
  }
  for (size_t half = 0; half < 2; ++half, out += 128) {
    const uint8_t* low = in + 64 * half;
    const uint8_t* high = in + 128 + 32 * half;
    const float* s = scale.data() + 8 * half;
    for (size_t i = 0; i < 32; ++i) {
      const size_t group = i / 16;
      const int bits = high[i];
      out[i] = s[group] * static_cast<float>(((low[i] & 0xf) | ((bits & 3) << 4)) - 32);
      out[i + 32] =
          s[group + 2] * static_cast<float>(((low[i + 32] & 0xf) | ((bits & 0xc) << 2)) - 32);
      out[i + 64] = s[group + 4] * static_cast<float>(((low[i] >> 4) | (bits & 0x30)) - 32);
      out[i + 96] =
          s[group + 6] * static_cast<float>(((low[i + 32] >> 4) | ((bits & 0xc0) >> 2)) - 32);
    }
  }
}

// Bit i of `bits` is bit 4 of value i.
int fifth_bit(uint32_t bits, int i) { return static_cast<int>((bits >> i) & 1u) << 4; }

uint32_t load_u32(const uint8_t* in) {
  uint32_t bits = 0;
  std::memcpy(&bits, in, sizeof(bits));
  return bits;
}

// {f16 d; u32 high; u8 q[16]}: d (q - 16)
void dequantise_q5_0(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const uint32_t high = load_u32(in + 2);
  const uint8_t* q = in + 6;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(((q[i] & 0xf) | fifth_bit(high, i)) - 16);
    out[i + 16] = d * static_cast<float>(((q[i] >> 4) | fifth_bit(high, i + 16)) - 16);
  }
}

// {f16 d; f16 m; u32 high; u8 q[16]}: d q + m
void dequantise_q5_1(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const float m = load_f16(in + 2);
  const uint32_t high = load_u32(in + 4);
  const uint8_t* q = in + 8;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((q[i] & 0xf) | fifth_bit(high, i)) + m;
    out[i + 16] = d * static_cast<float>((q[i] >> 4) | fifth_bit(high, i + 16)) + m;
  }
}

// {u8 high[32]; u8 low[64]; u8 scales[12]; f16 d}: d (scale - 32) q, a 6-bit scale per 16 values; q
// is a bit pair of `low`, less 4 where its bit of `high` is not set. Scale i has its low nibble in
// byte i % 8, its high pair in byte 8 + i % 4. Each half of 128 values takes 32 bytes of `low`, its
// groups of 32 values the bit pairs from the lowest on; bit b of high[i] is of value i of group b.
void dequantise_q3_k(const uint8_t* in, float* out) {
  const uint8_t* high = in;
  const uint8_t* low = in + 32;
  const uint8_t* scales = in + 96;
  const float d = load_f16(in + 108);
  std::array<float, 16> scale{};
  for (size_t i = 0; i < scale.size(); ++i) {
    const int nibble = (scales[i % 8] >> (i < 8 ? 0 : 4)) & 0xf;
    const int pair = (scales[8 + i % 4] >> (2 * (i / 4))) & 3;
    scale[i] = d * static_cast<float>((nibble | (pair << 4)) - 32);
  }
  for (size_t group = 0; group < kSubBlocks; ++group, out += kSubBlockElements) {
    const uint8_t* pairs = low + 32 * (group / 4);
    for (size_t i = 0; i < kSubBlockElements; ++i) {
      const int q = (pairs[i] >> (2 * (group % 4))) & 3;
      const int below = (high[i] >> group) & 1 ? 0 : 4;
      out[i] = scale[2 * group + i / 16] * static_cast<float>(q - below);
    }
  }
}

// Values of four bits that lie closer where weights do (ggml's kvalues_iq4nl).
constexpr std::array<float, 16> kNonLinear{-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};

// {f16 d; u8 q[16]}: d value(q)
void dequantise_iq4_nl(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const uint8_t* q = in + 2;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * kNonLinear[q[i] & 0xf];
    out[i + 16] = d * kNonLinear[q[i] >> 4];
  }
}

// {f16 d; u16 high; u8 low[4]; u8 q[128]}: d (scale - 32) value(q), a scale per 32 values: a nibble
// of `low`, a bit pair of `high`
void dequantise_iq4_xs(const uint8_t* in, float* out) {
  const float d = load_f16(in);
  const uint32_t high = load_u16(in + 2);
  const uint8_t* low = in + 4;
  const uint8_t* q = in + 8;
  for (size_t block = 0; block < kSubBlocks; ++block, q += 16, out += kSubBlockElements) {
    const int nibble = (low[block / 2] >> (4 * (block % 2))) & 0xf;
    const auto pair = static_cast<int>((high >> (2 * block)) & 3u);
    const float scale = d * static_cast<float>((nibble | (pair << 4)) - 32);
    for (size_t i = 0; i < 16; ++i) {
      out[i] = scale * kNonLinear[q[i] & 0xf];
      out[i + 16] = scale * kNonLinear[q[i] >> 4];
    }
  }
}

// E2M1 (OCP Microscaling Formats 1.0, 5.3.3), twice its values.
constexpr std::array<float, 16> kE2M1Twice{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// 2^(e - 128): E8M0, half of its value.
float half_of_e8m0(uint32_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

// {u8 e; u8 q[16]}: 2^(e - 127) E2M1(q)
void dequantise_mxfp4(const uint8_t* in, float* out) {
  const float d = half_of_e8m0(in[0]);
  const uint8_t* q = in + 1;
  for (int i = 0; i < 16; ++i) {
    out[i] = d * kE2M1Twice[q[i] & 0xf];
    out[i + 16] = d * kE2M1Twice[q[i] >> 4];
  }
}

// Unsigned E4M3, half of its value; ggml takes the pattern of NaN for 0. Exact.
float half_of_e4m3(uint32_t bits) {
  const uint32_t exponent = (bits >> 3) & 0xf;
  const auto mantissa = static_cast<float>(bits & 7);
  if (bits == 0x7f) return 0;
  if (exponent == 0) return mantissa * 0x1p-10f;
  return (8 + mantissa) * std::bit_cast<float>((exponent + 127 - 11) << 23);
}

// {u8 scale[4]; u8 q[32]}: E4M3(scale) E2M1(q), a scale per 16 values, whose 8 bytes hold the first
// 8 in their low nibbles
void dequantise_nvfp4(const uint8_t* in, float* out) {
  const uint8_t* q = in + 4;
  for (size_t block = 0; block < 4; ++block, q += 8, out += 16) {
    const float d = half_of_e4m3(in[block]);
    for (size_t i = 0; i < 8; ++i) {
      out[i] = d * kE2M1Twice[q[i] & 0xf];
      out[i + 8] = d * kE2M1Twice[q[i] >> 4];
    }
  }
}

template <typename Block>
void each_block(DType dtype, const uint8_t* in, int64_t elements, float* out, Block block) {
  const DTypeTraits& t = traits(dtype);
  for (int64_t i = 0; i < elements; i += t.block_elements) {
    block(in, out);
    in += t.block_bytes;
    out += t.block_elements;
  }
}

}  // namespace

void dequantise(DType dtype, const std::byte* in, int64_t elements, float* out) {
  require(elements % traits(dtype).block_elements == 0, "dequantise: part of a block");
  if (elements == 0) return;
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, in, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      return dequantise_f16(bytes, elements, out);
    case DType::kBF16:
      return dequantise_bf16(bytes, elements, out);
    case DType::kQ8_0:
      return each_block(dtype, bytes, elements, out, dequantise_q8_0);
    case DType::kQ4_0:
      return each_block(dtype, bytes, elements, out, dequantise_q4_0);
    case DType::kQ4_1:
      return each_block(dtype, bytes, elements, out, dequantise_q4_1);
    case DType::kQ4_K:
      return each_block(dtype, bytes, elements, out, dequantise_q4_k);
    case DType::kQ5_K:
      return each_block(dtype, bytes, elements, out, dequantise_q5_k);
    case DType::kQ6_K:
      return each_block(dtype, bytes, elements, out, dequantise_q6_k);
    case DType::kQ5_0:
      return each_block(dtype, bytes, elements, out, dequantise_q5_0);
    case DType::kQ5_1:
      return each_block(dtype, bytes, elements, out, dequantise_q5_1);
    case DType::kQ3_K:
      return each_block(dtype, bytes, elements, out, dequantise_q3_k);
    case DType::kIQ4_NL:
      return each_block(dtype, bytes, elements, out, dequantise_iq4_nl);
    case DType::kIQ4_XS:
      return each_block(dtype, bytes, elements, out, dequantise_iq4_xs);
    case DType::kMXFP4:
      return each_block(dtype, bytes, elements, out, dequantise_mxfp4);
    case DType::kNVFP4:
      return each_block(dtype, bytes, elements, out, dequantise_nvfp4);
  }
  throw_internal("dequantise: a type that it does not know");
}

}  // namespace dak
