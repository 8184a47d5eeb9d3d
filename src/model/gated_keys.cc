#include "model/gated_keys.h"

namespace dak {

ConfigKeys with_gated_keys(ConfigKeys own) {
  using enum KeyUse;
  const ConfigKeys shared{
      {"hidden_size", kUsed, "4096", "the size of a hidden state"},
      {"num_hidden_layers", kUsed, "32", "layers"},
      {"num_attention_heads", kUsed, "32", "heads"},
      {"hidden_act", kUsed, "\"silu\"", "the activation of the MLP"},
      {"rms_norm_eps", kUsed, "1e-6", "of every norm"},
      {"tie_word_embeddings", kUsed, "false", "the output projection is the embedding table"},
      {"rope_parameters", kUsed, "null", "RoPE; null: rope_theta and rope_scaling", true},
      {"rope_scaling", kUsed, "null", "older form of rope_parameters, and goes before it", true},
      {"rope_theta", kUsed, "10000", "RoPE, where rope_parameters has none"},
      {"partial_rotary_factor", kUsed, "null", "part of a head that RoPE turns; null: all", true},
      {"original_max_position_embeddings", kUsed, "null", "goes before that of rope_parameters",
       true},
  };
  own.insert(own.end(), shared.begin(), shared.end());
  return own;
}

}  // namespace dak
