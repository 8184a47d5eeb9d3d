// What GGUF metadata may hold (gguf-py's constants), and what dak does with it.
#include <fmt/core.h>

#include "base/error.h"
#include "model/config_keys.h"

namespace dak {
namespace {

using enum KeyUse;

Json to_json(const GgufValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

}  // namespace

const ConfigKeys& gguf_architecture_keys() {
  constexpr std::string_view kExperts = "mixtures of experts (MoE) are not supported";
  constexpr std::string_view kYarn = "of YaRN";
  static const ConfigKeys keys{
      {"block_count", kUsed, {}, "layers"},
      {"embedding_length", kUsed, {}, "the size of a hidden state"},
      {"feed_forward_length", kUsed, {}, "the same in every layer"},
      {"context_length", kUsed, {}, "positions the model was made for"},
      {"vocab_size", kUsed, "null", "where the file has no tokens", true},
      {"attention.head_count", kUsed, {}, "the same in every layer"},
      {"attention.head_count_kv", kUsed, "null", "missing: attention.head_count", true},
      {"attention.key_length", kUsed, "null", "missing: embedding_length / head_count", true},
      {"attention.value_length", kUsed, "null", "must be as key_length", true},
      {"attention.layer_norm_rms_epsilon", kUsed, {}, "of every norm"},
      {"attention.layer_norm_epsilon", kIgnored, {}, "these families have RMS norms"},
      {"attention.sliding_window", kUsed, "0", "of every layer; 0: none"},
      {"attention.scale", kUsed, "0", "must be 1 / sqrt(key_length), which 0 means too"},
      {"attention.causal", kMustBe, "[true]", "attention to later tokens is not supported"},
      {"attention.clamp_kqv", kMustBe, "[0]", "clamped attention is not supported"},
      {"attention.max_alibi_bias", kMustBe, "[0]", "ALiBi is not supported"},
      {"attention.sliding_window_pattern", kMustBe, "[0, 1]",
       "windows in some layers only are not supported in GGUF"},
      {"attention.shared_kv_layers", kMustBe, "[0]", "layers that share a cache are not supported"},
      {"attn_logit_softcapping", kMustBe, "[0]", "bounded logits are not supported"},
      {"final_logit_softcapping", kMustBe, "[0]", "bounded logits are not supported"},
      {"logit_scale", kMustBe, "[0, 1]", "scaled logits are not supported"},
      {"residual_scale", kMustBe, "[0, 1]", "scaled residuals are not supported"},
      {"embedding_scale", kMustBe, "[0, 1]", "scaled embeddings are not supported"},
      {"use_parallel_residual", kMustBe, "[false]", "parallel residuals are not supported"},
      {"expert_*", kMustBe, "[0, false]", kExperts},
      {"leading_dense_block_count", kMustBe, "[0]", kExperts},
      {"interleave_moe_layer_step", kMustBe, "[0]", kExperts},
      {"nextn_predict_layers", kMustBe, "[0]",
       "layers that predict further tokens are not supported"},
      {"rope.freq_base", kUsed, "10000", "theta"},
      {"rope.dimension_count", kUsed, "null", "missing: attention.key_length", true},
      {"rope.scaling.type", kUsed, "\"linear\"", "none, linear or yarn"},
      {"rope.scaling.factor", kUsed, "null", "missing: rope.scale_linear; 0: 1", true},
      {"rope.scale_linear", kUsed, "1", "older name of rope.scaling.factor"},
      {"rope.scaling.original_context_length", kUsed, "null", "missing: context_length", true},
      {"rope.scaling.attn_factor", kUsed, "1", "on cosine and sine"},
      {"rope.scaling.yarn_log_multiplier", kMustBe, "[0]", "is of other families"},
      {"rope.scaling.yarn_beta_fast", kUsed, "32", kYarn},
      {"rope.scaling.yarn_beta_slow", kUsed, "1", kYarn},
      {"rope.scaling.yarn_ext_factor", kUsed, "-1", "of YaRN must be 1, else 0; negative: either"},
      {"rope.scaling.yarn_attn_factor", kUsed, "1",
       "on cosine and sine without YaRN; YaRN has its own"},
      {"rope.scaling.alpha", kMustBe, "[0, 1]", "this scaling of RoPE is not supported"},
      {"rope.scaling.finetuned", kIgnored, {}, "bookkeeping"},
      {"pooling_type", kIgnored, {}, "of embeddings"},
      {"features_length", kIgnored, {}, "of other families"},
      {"tensor_data_layout", kIgnored, {}, "q and k of llama are always in Meta's order"},
      {"decoder_start_token_id", kIgnored, {}, "of encoders with decoders"},
  };
  return keys;
}

const ConfigKeys& gguf_other_keys() {
  constexpr std::string_view kSampling = "a default of sampling, below flags and requests";
  constexpr std::string_view kDraw = "this way to draw is not supported";
  constexpr std::string_view kNamed = "of prompts of its own form";
  static const ConfigKeys keys{
      {"general.architecture", kUsed, {}, "the family"},
      {"general.name", kUsed, "null", "for people", true},
      {"general.alignment", kUsed, "32", "of tensors in the file"},
      {"general.type", kMustBe, "[\"model\"]",
       "is not a model: adapters, projectors and "
       "importance matrices are not read"},
      {"general.sampling.temp", kUsed, "null", kSampling, true},
      {"general.sampling.top_k", kUsed, "null", kSampling, true},
      {"general.sampling.top_p", kUsed, "null", kSampling, true},
      {"general.sampling.min_p", kUsed, "null", kSampling, true},
      {"general.sampling.penalty_repeat", kUsed, "null", kSampling, true},
      {"general.sampling.penalty_last_n", kIgnored, {}, "penalties are of all tokens so far"},
      {"general.sampling.sequence", kIgnored, {}, "the order of steps is transformers'"},
      {"general.sampling.xtc_probability", kMustBe, "[0]", kDraw},
      {"general.sampling.xtc_threshold", kIgnored, {}, "of XTC, which is off"},
      {"general.sampling.mirostat", kMustBe, "[0]", kDraw},
      {"general.sampling.mirostat_*", kIgnored, {}, "of Mirostat, which is off"},
      {"general.sampling.*", kMustBe, "[]", kDraw},
      {"general.*", kIgnored, {}, "bookkeeping"},
      {"split.count", kUsed, "1", "parts of the model, each a file"},
      {"split.no", kUsed, "null", "this part's number, from 0"},
      {"split.tensors.count", kUsed, "null", "tensors in all parts; missing: not checked"},
      {"split.*", kIgnored, {}, "bookkeeping"},
      {"adapter.*", kMustBe, "[]", "belongs to an adapter (LoRA): merge it into its model"},
      {"clip.*", kMustBe, "[false]",
       "belongs to a projector of images, which is not a model of text"},
      {"tokenizer.ggml.model", kUsed, {}, "gpt2 or llama"},
      {"tokenizer.ggml.pre", kUsed, "\"default\"", "how text is cut into words"},
      {"tokenizer.ggml.tokens", kUsed, {}, "the vocabulary"},
      {"tokenizer.ggml.token_type", kUsed, "null", "missing: all normal", true},
      {"tokenizer.ggml.scores", kUsed, "null", "of model llama", true},
      {"tokenizer.ggml.merges", kUsed, "null", "of model gpt2", true},
      {"tokenizer.ggml.bos_token_id", kUsed, "null", "missing: none", true},
      {"tokenizer.ggml.eos_token_id", kUsed, "null", "ends an answer", true},
      {"tokenizer.ggml.eot_token_id", kUsed, "null", "ends an answer", true},
      {"tokenizer.ggml.eom_token_id", kUsed, "null", "ends an answer", true},
      {"tokenizer.ggml.unknown_token_id", kUsed, "null", "of model llama", true},
      {"tokenizer.ggml.add_bos_token", kUsed, "null", "missing: as llama.cpp has it by `pre`",
       true},
      {"tokenizer.ggml.add_eos_token", kUsed, "false", "after a prompt"},
      {"tokenizer.ggml.add_space_prefix", kUsed, "null", "missing: of model llama only", true},
      {"tokenizer.ggml.remove_extra_whitespaces", kUsed, "false", "must be false in model llama"},
      {"tokenizer.ggml.add_space_suffix", kUsed, "false", "must be false in model llama"},
      {"tokenizer.ggml.add_sep_token", kMustBe, "[false]", "separators are not supported"},
      {"tokenizer.ggml.precompiled_charsmap", kMustBe, "[[]]",
       "this normalisation is not supported"},
      {"tokenizer.ggml.token_type_count", kIgnored, {}, "of other families"},
      {"tokenizer.ggml.padding_token_id", kIgnored, {}, "prompts are not padded"},
      {"tokenizer.ggml.seperator_token_id", kIgnored, {}, kNamed},
      {"tokenizer.ggml.mask_token_id", kIgnored, {}, kNamed},
      {"tokenizer.ggml.cls_token_id", kIgnored, {}, kNamed},
      {"tokenizer.ggml.fim_*", kIgnored, {}, kNamed},
      {"tokenizer.ggml.prefix_token_id", kIgnored, {}, kNamed},
      {"tokenizer.ggml.suffix_token_id", kIgnored, {}, kNamed},
      {"tokenizer.ggml.middle_token_id", kIgnored, {}, kNamed},
      {"tokenizer.ggml.*", kMustBe, "[false, 0, \"\"]",
       "is not a field of tokenizers that dak knows"},
      {"tokenizer.chat_template", kUsed, "null", "missing: the model cannot chat", true},
      {"tokenizer.chat_template*", kIgnored, {}, "further templates, by name"},
      {"tokenizer.huggingface.json", kIgnored, {}, "the same tokenizer again"},
      {"tokenizer.*", kIgnored, {}, "bookkeeping"},
      {"quantize.*", kIgnored, {}, "bookkeeping"},
  };
  return keys;
}

void check_gguf_keys(const GgufMetadata& metadata, std::string_view architecture) {
  const std::string prefix = fmt::format("{}.", architecture);
  for (const auto& [key, value] : metadata.values()) {
    const bool own = key.starts_with(prefix);
    // A vocabulary is large, and used: not worth a copy.
    const ConfigKeys& keys = own ? gguf_architecture_keys() : gguf_other_keys();
    const std::string_view short_key = std::string_view(key).substr(own ? prefix.size() : 0);
    const ConfigKey* row = find_key(keys, short_key);
    if (row != nullptr && row->use != KeyUse::kMustBe) continue;
    check_key(keys, short_key, printable(key), to_json(value), metadata.file());
  }
}

}  // namespace dak
