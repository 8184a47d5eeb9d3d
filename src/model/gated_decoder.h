// The decoder that Llama, Mistral and Qwen share: pre-norm blocks of grouped-query attention with
// RoPE and a gated MLP. What differs between the families is which optional weights exist.
#pragma once

#include <memory>
#include <vector>

#include "model/config.h"
#include "model/model.h"
#include "model/weights.h"

namespace dak {

// Weights named "layers.<i>.{qkv,output,gate_up,down}", "embedding", "lm_head" (absent when tied)
// and vectors "layers.<i>.{attention_norm,mlp_norm,qkv_bias,output_bias,q_norm,k_norm}", "norm".
// config.qkv_bias, output_bias and qk_norm say which optional ones there are.
WeightSpecs gated_decoder_weights(const ModelConfig& config, Naming naming);

std::unique_ptr<Model> make_gated_decoder(const ModelConfig& config, const Weights& weights);

}  // namespace dak
