"""GGUF files to and from transformers' weights: names, q/k row order, dequantisation.

Not a script. Used by write_gguf.py and smollm2_goldens.py.
"""

import gguf
import numpy as np
import torch
import transformers

CONFIG_CLASSES = {
    "llama": transformers.LlamaConfig,
    "qwen2": transformers.Qwen2Config,
    "qwen3": transformers.Qwen3Config,
}

GLOBAL_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(hf_name):
    if hf_name in GLOBAL_NAMES:
        return GLOBAL_NAMES[hf_name]
    layer, rest = hf_name.removeprefix("model.layers.").split(".", 1)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[part]}.{kind}"


def interleave_rotary_rows(w, heads):
    """llama.cpp's "llama" rotates neighbouring rows, transformers rows half a head apart; so the
    converter stores row i of each half of a head at rows 2i and 2i + 1."""
    return w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def deinterleave_rotary_rows(w, heads):
    return w.reshape(heads, -1, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def rotary_heads(config, hf_name):
    """Heads of the weights that the llama converter reorders, None for all others."""
    if config.model_type != "llama":
        return None
    if "q_proj" in hf_name:
        return config.num_attention_heads
    return config.num_key_value_heads if "k_proj" in hf_name else None


def to_bf16(values):
    """The float32 `values` rounded to bfloat16, nearest even."""
    return torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()


def read_config(reader):
    """The transformers configuration that a GGUF's metadata describes."""
    architecture = reader.fields["general.architecture"].contents()

    def key(name, default=None):
        field = reader.fields.get(f"{architecture}.{name}")
        return default if field is None else field.contents()

    heads, hidden = key("attention.head_count"), key("embedding_length")
    tensors = {t.name: t for t in reader.tensors}
    return CONFIG_CLASSES[architecture](
        vocab_size=int(tensors["token_embd.weight"].shape[1]), hidden_size=hidden,
        intermediate_size=key("feed_forward_length"), num_hidden_layers=key("block_count"),
        num_attention_heads=heads, num_key_value_heads=key("attention.head_count_kv", heads),
        head_dim=key("attention.key_length", hidden // heads),
        max_position_embeddings=key("context_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": key("rope.freq_base", 10000.0)},
        tie_word_embeddings="output.weight" not in tensors)


def read_weights(reader, config, quantised_to_bf16):
    """(weights by transformers' names as float32 torch tensors, inverse frequencies or None).

    `quantised_to_bf16` rounds block-quantised tensors to bfloat16 after dequantising, as dak does
    unless told otherwise. f32, f16 and bf16 tensors always stay as they are.
    """
    plain = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16,
             gguf.GGMLQuantizationType.BF16)
    stored = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        values = values.reshape([int(n) for n in reversed(tensor.shape)])
        if quantised_to_bf16 and tensor.tensor_type not in plain:
            values = to_bf16(values)
        stored[tensor.name] = values

    frequencies = None
    divisors = stored.pop("rope_freqs.weight", None)
    if divisors is not None:
        steps = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
        frequencies = config.rope_parameters["rope_theta"] ** -steps / divisors.astype(np.float64)

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    weights = {}
    for name, parameter in model.named_parameters():
        values = stored.pop(gguf_name(name))
        heads = rotary_heads(config, name)
        if heads is not None:
            values = deinterleave_rotary_rows(values, heads)
        if values.shape != tuple(parameter.shape):
            raise ValueError(f"{name}: {values.shape}, wanted {tuple(parameter.shape)}")
        weights[name] = torch.from_numpy(np.ascontiguousarray(values))
    if stored:
        raise ValueError(f"tensors without a place: {sorted(stored)}")
    return weights, frequencies
