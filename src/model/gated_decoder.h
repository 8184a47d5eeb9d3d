// The decoder that Llama, Mistral and Qwen share: pre-norm blocks of grouped-query attention with
// RoPE and a gated MLP. What differs between the families is which optional weights exist.
#pragma once

#include <memory>

#include "model/config.h"
#include "model/model.h"
#include "model/weights.h"
#include "pass/program.h"

namespace dak {

// Declares "layers.<i>.{qkv,output,gate_up,down}", "embedding", "lm_head" (absent when tied) and
// vectors "layers.<i>.{attention_norm,mlp_norm,qkv_bias,output_bias,q_norm,k_norm}", "norm".
// config.qkv_bias, output_bias and qk_norm say which optional ones there are.
std::unique_ptr<Model> make_gated_decoder(const ModelConfig& config, Naming naming,
                                          Program& program);

}  // namespace dak
