"""Inverse frequencies and rotated vectors from transformers, for tests/ops/rope_test.cc.

Run: python reference/rope_goldens.py > tests/data/ops/rope_goldens.json
With: transformers 5.23, torch 2 (CPU).
"""

import json

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

CASES = {
    "plain": (64, {"rope_type": "default", "rope_theta": 10000.0}),
    "plain_80": (80, {"rope_type": "default", "rope_theta": 1000000.0}),
    "linear": (64, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "llama3": (
        128,
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    ),
    "yarn": (
        128,
        {
            "rope_type": "yarn",
            "rope_theta": 1000000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
        },
    ),
    "yarn_explicit": (
        64,
        {
            "rope_type": "yarn",
            "rope_theta": 150000.0,
            "factor": 32.0,
            "beta_fast": 24.0,
            "beta_slow": 2.0,
            "attention_factor": 1.25,
            "original_max_position_embeddings": 4096,
        },
    ),
}
POSITIONS = [0, 1, 17, 511, 4095, 100000]
HEADS = 2


def golden(name, head_size, parameters):
    config = LlamaConfig(
        hidden_size=head_size * HEADS,
        num_attention_heads=HEADS,
        max_position_embeddings=131072,
        rope_parameters=parameters,
    )
    rope = LlamaRotaryEmbedding(config)
    torch.manual_seed(1)
    x = torch.randn(1, HEADS, len(POSITIONS), head_size)
    cos, sin = rope(x, torch.tensor([POSITIONS]))
    rotated, _ = apply_rotary_pos_emb(x, x, cos, sin)
    rows = lambda t: t[0].transpose(0, 1).flatten().tolist()  # [positions, heads, head_size]
    return {
        "name": name,
        "head_size": head_size,
        "parameters": parameters,
        "inverse": rope.inv_freq.tolist(),
        "magnitude": rope.attention_scaling,
        "x": rows(x),
        "rotated": rows(rotated),
    }


assert set(p["rope_type"] for _, p in CASES.values()) - {"default"} <= set(ROPE_INIT_FUNCTIONS)
cases = [golden(name, *case) for name, case in CASES.items()]
print(json.dumps({"positions": POSITIONS, "heads": HEADS, "cases": cases}))
