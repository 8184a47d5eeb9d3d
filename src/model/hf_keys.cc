// What config.json may have in every family, and generation_config.json. The families' own keys are
// in their files.
#include "model/config_keys.h"

namespace dak {
namespace {

using enum KeyUse;

constexpr std::string_view kExperts = "mixtures of experts (MoE) are not supported";
constexpr std::string_view kBookkeeping = "bookkeeping";
constexpr std::string_view kTraining = "of training";
constexpr std::string_view kOutputs = "about what a Python call returns";
constexpr std::string_view kHeads = "of classifiers";
constexpr std::string_view kGeneration =
    "generation_config.json, flags and requests rule generation";
constexpr std::string_view kSampling = "a default of sampling, below flags and requests";

}  // namespace

const ConfigKeys& common_hf_keys() {
  static const ConfigKeys keys{
      {"architectures", kUsed, "null", "the family, with model_type", true},
      {"model_type", kUsed, "null", "the family where architectures is missing", true},
      {"dtype", kUsed, "null", "the type of weights that are not loaded; null: torch_dtype", true},
      {"torch_dtype", kUsed, "null", "older name of dtype; null: float32", true},
      {"per_layer_config", kMustBe, "[{}]", "layers of different configurations are not supported"},
      {"is_encoder_decoder", kMustBe, "[false]", "encoders with decoders are not supported"},
      {"is_decoder", kIgnored, {}, "every family here is a decoder"},
      {"add_cross_attention", kMustBe, "[false]", "cross-attention is not supported"},
      {"cross_attention_hidden_size", kMustBe, "[]", "cross-attention is not supported"},
      {"quantization_config", kMustBe, "[]",
       "quantised safetensors are not read: use the "
       "unquantised model or a GGUF"},
      {"compression_config", kMustBe, "[]",
       "quantised safetensors are not read: use the "
       "unquantised model or a GGUF"},
      {"quantization", kMustBe, "[]",
       "quantised safetensors (MLX) are not read: use the "
       "unquantised model or a GGUF"},
      {"num_local_experts", kMustBe, "[0, 1]", kExperts},
      {"num_experts", kMustBe, "[0, 1]", kExperts},
      {"n_routed_experts", kMustBe, "[0]", kExperts},
      {"num_experts_per_tok", kMustBe, "[0]", kExperts},
      {"moe_intermediate_size", kMustBe, "[0]", kExperts},
      {"vision_config", kMustBe, "[{}]", "models of images are not supported"},
      {"audio_config", kMustBe, "[{}]", "models of sounds are not supported"},
      {"text_config", kMustBe, "[{}]", "a configuration inside another is not supported"},
      {"embedding_multiplier", kMustBe, "[1]", "scaled embeddings are not supported"},
      {"attention_multiplier", kMustBe, "[]", "a scale of attention is not supported"},
      {"residual_multiplier", kMustBe, "[1]", "scaled residuals are not supported"},
      {"logits_scaling", kMustBe, "[1]", "scaled logits are not supported"},
      {"logit_scale", kMustBe, "[1]", "scaled logits are not supported"},
      {"rope_interleaved", kMustBe, "[false]", "RoPE of neighbouring pairs is not supported here"},
      {"use_mrope", kMustBe, "[false]", "RoPE of images is not supported"},
      {"layer_norm_eps", kIgnored, {}, "the classes of these families do not read it"},
      {"use_bias", kMustBe, "[false]", "the class of this family does not read it"},
      {"use_qk_norm", kMustBe, "[false]", "the class of this family does not read it"},
      {"qkv_bias", kMustBe, "[]", "the class of this family does not read it"},

      {"transformers_version", kIgnored, {}, kBookkeeping},
      {"transformers_weights", kMustBe, "[]", "weights under another name are not supported"},
      {"auto_map", kIgnored, {}, "dak runs no code of models"},
      {"tokenizer_class", kIgnored, {}, "tokenizer.json says what the tokenizer is"},
      {"name_or_path", kIgnored, {}, kBookkeeping},
      {"unsloth*", kIgnored, {}, kBookkeeping},
      {"transformers.js_config", kIgnored, {}, kBookkeeping},
      {"is_llama_config", kIgnored, {}, kBookkeeping},
      {"neuron", kIgnored, {}, kBookkeeping},
      {"_*", kIgnored, {}, "transformers' own notes"},
      {"attn_implementation", kIgnored, {}, "every implementation computes the same"},
      {"experts_implementation", kIgnored, {}, "every implementation computes the same"},
      {"use_flash_attn*", kIgnored, {}, "every implementation computes the same"},
      {"use_flash_attention*", kIgnored, {}, "every implementation computes the same"},
      {"use_cache", kIgnored, {}, "the KV cache changes no result"},
      {"cache_implementation", kIgnored, {}, "the KV cache changes no result"},
      {"chunk_size_feed_forward", kIgnored, {}, "the same values in other portions"},
      {"pretraining_tp", kIgnored, {}, "the same values in other portions"},
      {"output_*", kIgnored, {}, kOutputs},
      {"return_*", kIgnored, {}, kOutputs},
      {"use_return_dict", kIgnored, {}, kOutputs},
      {"tie_last_hidden_states", kIgnored, {}, kOutputs},
      {"id2label", kIgnored, {}, kHeads},
      {"label2id", kIgnored, {}, kHeads},
      {"num_labels", kIgnored, {}, kHeads},
      {"problem_type", kIgnored, {}, kHeads},
      {"finetuning_task", kIgnored, {}, kHeads},
      {"classifier*", kIgnored, {}, kHeads},
      {"*dropout*", kIgnored, {}, kTraining},
      {"*pdrop", kIgnored, {}, kTraining},
      {"initializer_*", kIgnored, {}, kTraining},
      {"init_std", kIgnored, {}, kTraining},
      {"router_aux_loss_coef", kIgnored, {}, kTraining},
      {"gradient_checkpointing", kIgnored, {}, kTraining},
      {"pad_token_id", kIgnored, {}, "prompts are not padded"},
      {"sep_token_id", kIgnored, {}, kBookkeeping},
      {"decoder_start_token_id", kIgnored, {}, "of encoders with decoders"},
      {"max_sequence_length", kIgnored, {}, "max_position_embeddings is the context"},
      {"temperature", kIgnored, {}, kGeneration},
      {"encoder_no_repeat_ngram_size", kIgnored, {}, kGeneration},
      {"diversity_penalty", kIgnored, {}, kGeneration},
      {"remove_invalid_values", kIgnored, {}, kGeneration},
      {"renormalize_logits", kIgnored, {}, kGeneration},
      {"exponential_decay_length_penalty", kIgnored, {}, kGeneration},
      {"sequence_bias", kIgnored, {}, kGeneration},
  };
  return keys;
}

const ConfigKeys& generation_keys() {
  constexpr std::string_view kConstraint = "such a constraint on answers is not supported";
  constexpr std::string_view kDraw = "this way to draw is not supported: remove it";
  constexpr std::string_view kStrategy = "of searches that dak does not do";
  static const ConfigKeys keys{
      {"eos_token_id", kUsed, "null", "the tokens that end an answer; null: config.json's", true},
      {"bos_token_id", kUsed, "null", "null: config.json's", true},
      {"suppress_tokens", kMustBe, "[[]]", kConstraint},
      {"begin_suppress_tokens", kMustBe, "[[]]", kConstraint},
      {"forced_bos_token_id", kMustBe, "[]", kConstraint},
      {"forced_eos_token_id", kMustBe, "[]", kConstraint},
      {"bad_words_ids", kMustBe, "[[]]", kConstraint},
      {"force_words_ids", kMustBe, "[[]]", kConstraint},
      {"constraints", kMustBe, "[[]]", kConstraint},
      {"sequence_bias", kMustBe, "[[], {}]", kConstraint},
      {"stop_strings", kMustBe, "[[]]", kConstraint},
      {"no_repeat_ngram_size", kMustBe, "[0]", kConstraint},
      {"do_sample", kUsed, "null", "false: temperature 0", true},
      {"temperature", kUsed, "null", kSampling, true},
      {"top_k", kUsed, "null", kSampling, true},
      {"top_p", kUsed, "null", kSampling, true},
      {"min_p", kUsed, "null", kSampling, true},
      {"repetition_penalty", kUsed, "null", kSampling, true},
      {"max_new_tokens", kUsed, "null", "most tokens of an answer that says no number", true},
      {"top_h", kMustBe, "[]", kDraw},
      {"typical_p", kMustBe, "[1]", kDraw},
      {"epsilon_cutoff", kMustBe, "[0]", kDraw},
      {"eta_cutoff", kMustBe, "[0]", kDraw},
      {"max_length", kIgnored, {}, "--context and requests rule"},
      {"min_length", kMustBe, "[0]", kConstraint},
      {"min_new_tokens", kMustBe, "[0]", kConstraint},
      {"max_time", kIgnored, {}, "--request-timeout rules"},
      {"exponential_decay_length_penalty", kMustBe, "[]", kConstraint},
      {"renormalize_logits", kIgnored, {}, "probabilities are normalised"},
      {"remove_invalid_values", kIgnored, {}, "values that are not finite end an answer"},
      {"guidance_scale", kMustBe, "[1]", kConstraint},
      {"watermarking_config", kMustBe, "[{}]", kConstraint},
      {"num_beam*", kIgnored, {}, kStrategy},
      {"diversity_penalty", kIgnored, {}, kStrategy},
      {"length_penalty", kIgnored, {}, kStrategy},
      {"early_stopping", kIgnored, {}, kStrategy},
      {"penalty_alpha", kIgnored, {}, kStrategy},
      {"dola_layers", kIgnored, {}, kStrategy},
      {"low_memory", kIgnored, {}, kStrategy},
      {"num_return_sequences", kIgnored, {}, "requests say how many answers they want"},
      {"*assistant*", kIgnored, {}, "speculation changes no result"},
      {"prompt_lookup*", kIgnored, {}, "speculation changes no result"},
      {"max_matching_ngram_size", kIgnored, {}, "speculation changes no result"},
      {"target_lookbehind", kIgnored, {}, "speculation changes no result"},
      {"is_assistant", kIgnored, {}, "speculation changes no result"},
      {"use_mtp", kIgnored, {}, "speculation changes no result"},
      {"speculation_type", kIgnored, {}, "speculation changes no result"},
      {"max_cache_len", kIgnored, {}, "the KV cache changes no result"},
      {"continuous_batching_config", kIgnored, {}, "batches change no result"},
      {"token_healing", kIgnored, {}, "prompts are encoded as they are"},
      {"use_cache", kIgnored, {}, "the KV cache changes no result"},
      {"cache_*", kIgnored, {}, "the KV cache changes no result"},
      {"prefill_chunk_size", kIgnored, {}, "the same values in other portions"},
      {"compile_config", kIgnored, {}, "about PyTorch"},
      {"disable_compile", kIgnored, {}, "about PyTorch"},
      {"pad_token_id", kIgnored, {}, "prompts are not padded"},
      {"decoder_start_token_id", kIgnored, {}, "of encoders with decoders"},
      {"encoder_*", kIgnored, {}, "of encoders with decoders"},
      {"output_*", kIgnored, {}, kOutputs},
      {"return_*", kIgnored, {}, kOutputs},
      {"generation_kwargs", kIgnored, {}, kBookkeeping},
      {"transformers_version", kIgnored, {}, kBookkeeping},
      {"_*", kIgnored, {}, kBookkeeping},
  };
  return keys;
}

}  // namespace dak
