#include <array>
#include <cmath>

#include "model/config.h"
#include "model/config_keys.h"
#include "model/family.h"
#include "model/gguf_fields.h"
#include "model/rope_gguf.h"

namespace dak {
namespace {

const Family& family_of(const GgufMetadata& metadata) {
  const std::string* architecture = metadata.string("general.architecture");
  if (architecture == nullptr) {
    throw_corrupt(metadata.file(), "general.architecture", {}, "is missing");
  }
  for (const Family* family : families()) {
    if (family->gguf_architecture == *architecture) return *family;
  }
  const auto experts = metadata.values().find(*architecture + ".expert_count");
  const bool moe = experts != metadata.values().end() && experts->second != GgufValue(int64_t{0});
  throw_unsupported(metadata.file(), "general.architecture", *architecture,
                    moe ? "is a mixture of experts (MoE), which dak does not run"
                        : "is not an architecture that dak runs",
                    "known: " + known_gguf_architectures());
}

// The type that holds most of the bytes: what the file is known by.
DType dominant_dtype(const Checkpoint& checkpoint) {
  std::array<int64_t, 16> bytes{};
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    if (tensor.readable()) bytes[static_cast<size_t>(tensor.dtype)] += tensor.size_bytes;
  }
  size_t largest = 0;
  for (size_t i = 1; i < bytes.size(); ++i) {
    if (bytes[i] > bytes[largest]) largest = i;
  }
  return static_cast<DType>(largest);
}

int64_t vocabulary_of(const GgufMetadata& metadata, const GgufFields& keys) {
  if (const auto* tokens = metadata.strings("tokenizer.ggml.tokens"); tokens != nullptr) {
    return static_cast<int64_t>(tokens->size());
  }
  return keys.integer("vocab_size");
}

std::vector<int32_t> token_of(const GgufMetadata& metadata, std::string_view key) {
  const std::optional<int64_t> token = metadata.integer(key);
  if (!token) return {};
  if (*token < 0 || *token > INT32_MAX) {
    throw_corrupt(metadata.file(), key, std::to_string(*token), "is not a token id");
  }
  return {static_cast<int32_t>(*token)};
}

float norm_epsilon_of(const GgufFields& keys) {
  constexpr std::string_view kField = "attention.layer_norm_rms_epsilon";
  const auto epsilon = keys.find_number(kField);
  if (!epsilon) throw_corrupt(keys.metadata().file(), keys.key(kField), {}, "is missing");
  return static_cast<float>(*epsilon);
}

// 0 and a missing key mean 1 / sqrt(head size).
void check_scale(const GgufFields& keys, const ModelConfig& config) {
  const double scale = keys.number_or("attention.scale", 0.0);
  const double usual = 1.0 / std::sqrt(static_cast<double>(config.head_size));
  if (scale == 0 || std::abs(scale - usual) < 1e-6) return;
  throw_unsupported(
      keys.metadata().file(), keys.key("attention.scale"), fmt::format("{}", scale),
      fmt::format("a scale other than 1 / sqrt(head size), {:.6g}, is not supported", usual));
}

}  // namespace

ModelConfig parse_gguf_config(const GgufMetadata& metadata, const Checkpoint& checkpoint) {
  const Family& family = family_of(metadata);
  check_gguf_keys(metadata, family.gguf_architecture);
  const GgufFields keys(metadata, family.gguf_architecture);
  ModelConfig config;
  config.family = family.name;
  if (const std::string* title = metadata.string("general.name")) config.name = *title;
  config.vocabulary = vocabulary_of(metadata, keys);
  config.hidden = keys.integer("embedding_length");
  config.layers = keys.integer("block_count");
  config.heads = keys.integer("attention.head_count");
  config.kv_heads = keys.integer_or("attention.head_count_kv", config.heads);
  config.head_size =
      keys.integer_or("attention.key_length", config.heads > 0 ? config.hidden / config.heads : 0);
  if (keys.integer_or("attention.value_length", config.head_size) != config.head_size) {
    throw_unsupported(metadata.file(), keys.key("attention.value_length"), {},
                      "keys and values of different sizes are not supported");
  }
  config.intermediate = keys.integer("feed_forward_length");
  config.context_length = keys.integer("context_length");
  config.sliding_window = keys.integer_or("attention.sliding_window", 0);
  config.norm_epsilon = norm_epsilon_of(keys);
  check_scale(keys, config);
  config.embedding_as_lm_head = checkpoint.find("token_embd.weight") == nullptr;
  config.tied_embeddings =
      config.embedding_as_lm_head || checkpoint.find("output.weight") == nullptr;
  config.qkv_bias = checkpoint.find("blk.0.attn_q.bias") != nullptr;
  config.output_bias = checkpoint.find("blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = checkpoint.find("blk.0.ffn_down.bias") != nullptr;
  config.stored_dtype = dominant_dtype(checkpoint);
  config.sampling = sampling_defaults(metadata);
  config.eos_tokens = token_of(metadata, "tokenizer.ggml.eos_token_id");
  config.bos_tokens = token_of(metadata, "tokenizer.ggml.bos_token_id");
  for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    for (const int32_t end : token_of(metadata, key)) config.eos_tokens.push_back(end);
  }
  if (config.heads > 0 && config.head_size > 0) {
    config.rope = parse_gguf_rope(keys, checkpoint, config.head_size, config.context_length);
  }
  family.read_gguf(metadata, config);
  validate(config, metadata.file());
  return config;
}

}  // namespace dak
