#include <array>

#include "model/config.h"
#include "model/family.h"

namespace dak {
namespace {

// Keys of one architecture: "llama.block_count".
class ArchitectureKeys {
 public:
  ArchitectureKeys(const GgufMetadata& metadata, std::string architecture)
      : metadata_(metadata), architecture_(std::move(architecture)) {}

  std::string key(std::string_view field) const {
    return fmt::format("{}.{}", architecture_, field);
  }
  int64_t integer(std::string_view field) const {
    const std::optional<int64_t> value = metadata_.integer(key(field));
    if (!value) throw_corrupt(metadata_.file(), key(field), {}, "is missing");
    return *value;
  }
  int64_t integer_or(std::string_view field, int64_t fallback) const {
    return metadata_.integer(key(field)).value_or(fallback);
  }
  double number_or(std::string_view field, double fallback) const {
    return metadata_.number(key(field)).value_or(fallback);
  }

 private:
  const GgufMetadata& metadata_;
  std::string architecture_;
};

const Family& family_of(const GgufMetadata& metadata) {
  const std::string* architecture = metadata.string("general.architecture");
  if (architecture == nullptr) {
    throw_corrupt(metadata.file(), "general.architecture", {}, "is missing");
  }
  for (const Family* family : families()) {
    if (family->gguf_architecture == *architecture) return *family;
  }
  throw_unsupported(metadata.file(), "general.architecture", *architecture,
                    "is not an architecture dak runs", "known: " + known_gguf_architectures());
}

RopeConfig parse_rope(const GgufMetadata& metadata, const ArchitectureKeys& keys,
                      const Checkpoint& checkpoint, int64_t head_size, int64_t context_length) {
  RopeConfig rope;
  rope.theta = keys.number_or("rope.freq_base", 10000.0);
  rope.rotary_dims = keys.integer_or("rope.dimension_count", head_size);
  rope.factor = keys.number_or("rope.scaling.factor", 1.0);
  rope.original_context =
      keys.number_or("rope.scaling.original_context_length", static_cast<double>(context_length));
  const std::string* type = metadata.string(keys.key("rope.scaling.type"));
  if (type == nullptr || *type == "none" || *type == "default") {
    rope.factor = 1.0;
  } else if (*type == "linear") {
    rope.scaling = RopeScaling::kLinear;
  } else if (*type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
  } else {
    throw_unsupported(metadata.file(), keys.key("rope.scaling.type"), *type,
                      "is not a RoPE scaling dak knows", "known: none, linear, yarn");
  }
  // Llama 3.1's scaling comes as a tensor of divisors instead of as parameters.
  if (const StoredTensor* factors = checkpoint.find("rope_freqs.weight"); factors != nullptr) {
    if (factors->rows() != 1 || factors->cols() != rope.rotary_dims / 2) {
      throw_corrupt(metadata.file(), "rope_freqs.weight", std::to_string(factors->cols()),
                    fmt::format("must hold {} values", rope.rotary_dims / 2));
    }
    rope.scaling = RopeScaling::kFactors;
    rope.frequency_divisors.resize(static_cast<size_t>(factors->cols()));
    checkpoint.read_rows(*factors, 0, 1, rope.frequency_divisors);
  }
  return rope;
}

// The type that holds most of the bytes: what the file is known by.
DType dominant_dtype(const Checkpoint& checkpoint) {
  std::array<int64_t, 16> bytes{};
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    bytes[static_cast<size_t>(tensor.dtype)] += tensor.size_bytes;
  }
  size_t largest = 0;
  for (size_t i = 1; i < bytes.size(); ++i) {
    if (bytes[i] > bytes[largest]) largest = i;
  }
  return static_cast<DType>(largest);
}

int64_t vocabulary_of(const GgufMetadata& metadata, const ArchitectureKeys& keys) {
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

}  // namespace

ModelConfig parse_gguf_config(const GgufMetadata& metadata, const Checkpoint& checkpoint) {
  const Family& family = family_of(metadata);
  const ArchitectureKeys keys(metadata, std::string(family.gguf_architecture));
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
  config.norm_epsilon =
      static_cast<float>(keys.number_or("attention.layer_norm_rms_epsilon", 1e-5));
  config.tied_embeddings = checkpoint.find("output.weight") == nullptr;
  config.qkv_bias = checkpoint.find("blk.0.attn_q.bias") != nullptr;
  config.output_bias = checkpoint.find("blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = checkpoint.find("blk.0.ffn_down.bias") != nullptr;
  config.stored_dtype = dominant_dtype(checkpoint);
  config.eos_tokens = token_of(metadata, "tokenizer.ggml.eos_token_id");
  config.bos_tokens = token_of(metadata, "tokenizer.ggml.bos_token_id");
  for (const int32_t eot : token_of(metadata, "tokenizer.ggml.eot_token_id")) {
    config.eos_tokens.push_back(eot);
  }
  if (config.heads > 0 && config.head_size > 0) {
    config.rope = parse_rope(metadata, keys, checkpoint, config.head_size, config.context_length);
  }
  family.read_gguf(metadata, config);
  validate(config, metadata.file());
  return config;
}

}  // namespace dak
