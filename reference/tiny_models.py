"""The tiny seeded models: one configuration per family, and the weights.

Not a script. Sizes are multiples of 8 (head sizes and widths that the kernels must handle) but
mostly not of 64 (the padding of row blocks must not show).
"""

import numpy as np
import torch
import transformers

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# With 64 original positions and heads of 16, of the eight frequencies the first stays, the second
# lies in the smooth part and the rest are divided by 8.
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
               "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}


def llama_mha():
    """Llama 2: as many KV heads as heads."""
    return transformers.LlamaConfig(
        vocab_size=200, hidden_size=48, intermediate_size=72, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=128,
        rms_norm_eps=1e-5, rope_parameters=ROPE)


def llama3_gqa():
    """Llama 3.1: grouped KV heads, scaled rotary frequencies, untied."""
    return transformers.LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        rms_norm_eps=1e-5, rope_parameters=LLAMA3_ROPE, eos_token_id=[1, 2])


def smollm2():
    """SmolLM2: 9 heads on 3 KV heads, tied embeddings. Has the tiny tokenizer (288 tokens)."""
    return transformers.LlamaConfig(
        vocab_size=288, hidden_size=72, intermediate_size=104, num_hidden_layers=2,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=256,
        rms_norm_eps=1e-5, rope_parameters=ROPE | {"rope_theta": 100000.0},
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2)


def mistral():
    """Mistral: sliding window (16, shorter than the prompt), heads * head size != hidden size."""
    return transformers.MistralConfig(
        vocab_size=224, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=128,
        rms_norm_eps=1e-5, rope_parameters=ROPE, sliding_window=16)


def qwen2():
    """Qwen 2.5: biases on q, k and v only, tied embeddings."""
    return transformers.Qwen2Config(
        vocab_size=256, hidden_size=64, intermediate_size=88, num_hidden_layers=2,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=128,
        rms_norm_eps=1e-6, rope_parameters=ROPE | {"rope_theta": 1000000.0},
        tie_word_embeddings=True)


def qwen3():
    """Qwen3: RMS norm on each head of q and k, head size apart from the hidden size."""
    return transformers.Qwen3Config(
        vocab_size=240, hidden_size=48, intermediate_size=72, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=128,
        rms_norm_eps=1e-6, rope_parameters=ROPE | {"rope_theta": 1000000.0})


def opt():
    """OPT: learned positions (offset 2), layer norms, ReLU, biases everywhere."""
    return transformers.OPTConfig(
        vocab_size=200, hidden_size=48, ffn_dim=96, num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=64, word_embed_proj_dim=48, dropout=0.0)


def opt_post_norm():
    """OPT as in opt-350m: layer norms after each half layer and none at the end."""
    return transformers.OPTConfig(
        vocab_size=200, hidden_size=56, ffn_dim=104, num_hidden_layers=2, num_attention_heads=7,
        max_position_embeddings=64, word_embed_proj_dim=56, dropout=0.0,
        do_layer_norm_before=False)


def seeded_weights(config, seed, quiet_tokens=()):
    """Weights of realistic scale, name -> float32 tensor: logits spread by about 2.5, attention
    neither uniform nor one-hot, norms away from 1, biases away from 0. `quiet_tokens` get small
    output rows, so that greedy decoding seldom says them."""
    rng = np.random.default_rng(seed)
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in _model(config).named_parameters()}
    weights = {}
    for name, shape in sorted(shapes.items()):
        values = rng.standard_normal(shape)
        if "norm" in name and name.endswith("weight"):
            values = 1.0 + 0.2 * values
        elif name.endswith("bias"):
            values = 0.3 * values
        elif "embed_positions" in name:
            # Large, so that position shows in the logits even after a layer norm on the residual.
            values = (0.6 if config.do_layer_norm_before else 1.5) * values
        elif "embed_tokens" in name or "lm_head" in name:
            values = 2.5 / np.sqrt(config.hidden_size) * values
        else:
            values = _gain(name) / np.sqrt(shape[1]) * values
        weights[name] = torch.from_numpy(values.astype(np.float32))
    output = weights.get("lm_head.weight", weights.get("model.embed_tokens.weight"))
    if len(quiet_tokens) > 0:
        output[list(quiet_tokens)] *= 0.25
    return weights


def _gain(name):
    if "q_proj" in name or "k_proj" in name:
        return 1.4
    # What the layers add must outweigh the token's own embedding, or tied models only repeat it.
    if any(part in name for part in ("o_proj", "out_proj", "down_proj", "fc2")):
        return 2.5
    return 1.0


def _model(config):
    from hf_reference import MODEL_CLASSES
    return MODEL_CLASSES[config.model_type](config)


def token_prompts(vocab_size, length, seed):
    """A prompt of `length` tokens and one of a single token."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(3, vocab_size, size=length + 1).tolist()
    return {"long": ids[:length], "one_token": ids[length:]}
