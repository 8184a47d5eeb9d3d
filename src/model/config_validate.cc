#include "model/config.h"

namespace dak {
namespace {

struct Range {
  const char* field;
  int64_t value;
  int64_t least;
  int64_t most;
};

}  // namespace

// The upper bounds are far beyond any model there is; their product still fits 63 bits.
void validate(const ModelConfig& config, std::string_view where) {
  const Range ranges[] = {
      {"vocab_size", config.vocabulary, 1, int64_t{1} << 24},
      {"hidden_size", config.hidden, 1, int64_t{1} << 20},
      {"num_hidden_layers", config.layers, 1, 4096},
      {"num_attention_heads", config.heads, 1, 65536},
      {"num_key_value_heads", config.kv_heads, 1, config.heads},
      {"head_dim", config.head_size, 8, 1024},
      {"intermediate_size", config.intermediate, 1, int64_t{1} << 22},
      {"max_position_embeddings", config.context_length, 1, int64_t{1} << 30},
  };
  for (const Range& range : ranges) {
    if (range.value < range.least || range.value > range.most) {
      throw_invalid(where, range.field, std::to_string(range.value),
                    fmt::format("is outside {} to {}", range.least, range.most),
                    "check the model's configuration");
    }
  }
  if (config.heads % config.kv_heads != 0) {
    throw_invalid(where, "num_key_value_heads", std::to_string(config.kv_heads),
                  fmt::format("does not divide num_attention_heads {}", config.heads));
  }
  if (config.head_size % 8 != 0) {
    throw_unsupported(where, "head_dim", std::to_string(config.head_size),
                      "is not a multiple of 8");
  }
  const RopeConfig& rope = config.rope;
  if (rope.rotary_dims < 0 || rope.rotary_dims % 2 != 0 || rope.rotary_dims > config.head_size) {
    throw_invalid(where, "rope dimensions", std::to_string(rope.rotary_dims),
                  fmt::format("must be even and at most head_dim {}", config.head_size));
  }
  require(rope.theta > 0 && rope.factor > 0, "RoPE was read without a check");
  if (!(config.norm_epsilon >= 0) || config.norm_epsilon > 1) {
    throw_invalid(where, "norm epsilon", fmt::format("{}", config.norm_epsilon),
                  "is outside 0 to 1");
  }
  if (config.sliding_window < 0) {
    throw_invalid(where, "sliding_window", std::to_string(config.sliding_window),
                  "must be positive");
  }
}

}  // namespace dak
