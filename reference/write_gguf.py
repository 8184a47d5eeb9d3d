#!/usr/bin/env python3
"""Makes tests/data/model/gguf/*.gguf: tiny models with a tokenizer and a chat template; and their
logits in tests/data/model/goldens, computed by transformers from the same dequantised weights.

    python reference/write_gguf.py tests/data/model

Versions: Python 3.11, gguf 0.19.0, torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3,
numpy 2.4.6, Jinja2 3.1.6. Same machine, same bytes.

No OPT here: GGUF has no architecture of that name.
"""

import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType as FileType

import gguf_weights
import tiny_models
import tiny_tokenizer
from golden_file import GoldenFile
from hf_reference import build_model
from model_goldens import add_chat, add_prompts

PROMPT_TOKENS = 24


def sizes(**changes):
    return dict(vocab_size=288, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                rms_norm_eps=1e-5, tie_word_embeddings=True) | changes


def llama_f16():
    """Llama 3.1 with rope_freqs.weight, the converter's form of rope_type "llama3"."""
    return transformers.LlamaConfig(
        **sizes(rope_parameters=tiny_models.LLAMA3_ROPE, tie_word_embeddings=False))


def llama_mixed():
    """SmolLM2's shape and mixture of types; the hidden size is a multiple of 32, not of 64."""
    return transformers.LlamaConfig(
        **sizes(hidden_size=96, intermediate_size=128, num_attention_heads=6,
                rope_parameters=tiny_models.ROPE | {"rope_theta": 100000.0}))


def llama_k_quants():
    """K-quants have blocks of 256 columns: only ffn_down is so wide."""
    return transformers.LlamaConfig(
        **sizes(intermediate_size=256, num_hidden_layers=3, rope_parameters=tiny_models.ROPE))


def qwen2_f32():
    return transformers.Qwen2Config(
        **sizes(hidden_size=64, intermediate_size=64, rms_norm_eps=1e-6,
                rope_parameters=tiny_models.ROPE | {"rope_theta": 1000000.0}))


def qwen3_f16():
    return transformers.Qwen3Config(
        **sizes(hidden_size=48, head_dim=32, rms_norm_eps=1e-6,
                rope_parameters=tiny_models.ROPE | {"rope_theta": 1000000.0}))


def mixed_type(name):
    """Every simple type once: Q8_0 as in SmolLM2's embedding, one F16 and one BF16 as well."""
    if name == "token_embd.weight":
        return Type.Q8_0
    if "attn_v" in name:
        return Type.F16
    if "attn_k" in name:
        return Type.BF16
    return Type.Q4_0 if "ffn_gate" in name or "attn_output" in name else Type.Q4_1


def k_quant_type(name):
    for layer, quant in enumerate((Type.Q4_K, Type.Q5_K, Type.Q6_K)):
        if name == f"blk.{layer}.ffn_down.weight":
            return quant
    return Type.Q8_0 if name == "token_embd.weight" else Type.Q4_0


# name -> (configuration, seed, type of each matrix, general.file_type, tokenizer.ggml.pre)
MODELS = {
    "llama_f16": (llama_f16, 1, lambda name: Type.F16, FileType.MOSTLY_F16, "llama-bpe"),
    "llama_mixed": (llama_mixed, 1, mixed_type, FileType.MOSTLY_Q4_1, "smollm"),
    "llama_k_quants": (llama_k_quants, 1, k_quant_type, FileType.MOSTLY_Q4_K_M, "smollm"),
    "qwen2_f32": (qwen2_f32, 5, lambda name: Type.F32, FileType.ALL_F32, "qwen2"),
    "qwen3_f16": (qwen3_f16, 1, lambda name: Type.F16, FileType.MOSTLY_F16, "qwen2"),
}
# This one may say any byte, so that its text has cut and malformed characters.
UNQUIET = "qwen3_f16"


def random_k_blocks(values, quant, rng):
    """Random K-quant blocks of about the standard deviation of `values`: the gguf package cannot
    quantise to these types, and random bits reach every scale and every quant. The f16 factors of
    a block (d, or d and dmin) are set; all other bytes are arbitrary."""
    block, size = gguf.GGML_QUANT_SIZES[quant]
    blocks = rng.integers(0, 256, size=(values.size // block, size), dtype=np.uint8)
    spread = {Type.Q4_K: 230.0, Type.Q5_K: 470.0, Type.Q6_K: 1370.0}[quant]  # of q * scale
    d = (values.std() / spread * rng.uniform(0.7, 1.3, size=len(blocks))).astype("<f2")
    if quant == Type.Q6_K:
        blocks[:, -2:] = d.view(np.uint8).reshape(-1, 2)
    else:  # value = d * scale * q - dmin * min: this dmin centres it
        middle = 7.5 if quant == Type.Q4_K else 15.5
        blocks[:, 0:2] = d.view(np.uint8).reshape(-1, 2)
        blocks[:, 2:4] = (d * np.float16(middle)).astype("<f2").view(np.uint8).reshape(-1, 2)
    return blocks.reshape(values.shape[0], -1)


def encode(values, quant, rng):
    if quant in (Type.Q4_K, Type.Q5_K, Type.Q6_K):
        return random_k_blocks(values, quant, rng)
    return gguf.quantize(values, quant)


def rope_divisors(config):
    """What rope_freqs.weight holds: unscaled over scaled frequency, [head size / 2] float32."""
    with torch.device("cpu"):
        rotary = transformers.LlamaForCausalLM(config).model.rotary_emb
    steps = np.arange(0, config.head_dim, 2) / config.head_dim
    plain = config.rope_parameters["rope_theta"] ** -steps
    return (plain / rotary.inv_freq.numpy()).astype(np.float32)


def add_metadata(writer, name, config, file_type, pre_tokenizer):
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
    if config.model_type == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    tiny_tokenizer.write_to_gguf(writer, pre_tokenizer)


def write_file(path, config, weights, type_of, file_type, pre_tokenizer):
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, config.model_type)
    add_metadata(writer, path.stem, config, file_type, pre_tokenizer)
    for hf_name, tensor in weights.items():
        name, values = gguf_weights.gguf_name(hf_name), tensor.numpy()
        heads = gguf_weights.rotary_heads(config, hf_name)
        if heads is not None:
            values = gguf_weights.interleave_rotary_rows(values, heads)
        # One-dimensional tensors stay f32 in every mixture, as llama.cpp needs them.
        quant = type_of(name) if values.ndim == 2 else Type.F32
        writer.add_tensor(name, encode(np.ascontiguousarray(values), quant, rng), raw_dtype=quant)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_golden(root, name, quantised_to_bf16):
    """From the file just written alone, so that the file is what is tested."""
    reader = gguf.GGUFReader(root / "gguf" / f"{name}.gguf")
    config = gguf_weights.read_config(reader)
    weights, frequencies = gguf_weights.read_weights(reader, config, quantised_to_bf16)
    exact = build_model(config, weights, torch.float64, frequencies)
    naive = build_model(config, weights, torch.float32, frequencies)
    golden = GoldenFile(
        root / "goldens", f"gguf_{name}" + ("_bf16" if quantised_to_bf16 else ""),
        path=f"gguf/{name}.gguf", family=config.model_type,
        weights="quantised_to_bf16" if quantised_to_bf16 else "as_stored",
        vocab_size=config.vocab_size,
        tensors=[{"name": t.name, "dtype": t.tensor_type.name.lower(),
                  "shape": [int(n) for n in reversed(t.shape)]} for t in reader.tensors])
    add_prompts(golden, exact, naive, PROMPT_TOKENS, config.vocab_size)
    add_chat(golden, exact)
    golden.write()
    return golden


def main():
    root = pathlib.Path(sys.argv[1])
    for part in ("gguf", "goldens"):
        (root / part).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, (make_config, seed, type_of, file_type, pre_tokenizer) in MODELS.items():
        config = make_config()
        quiet = [] if name == UNQUIET else tiny_tokenizer.unprintable_ids()
        weights = tiny_models.seeded_weights(config, seed, quiet)
        path = root / "gguf" / f"{name}.gguf"
        write_file(path, config, weights, type_of, file_type, pre_tokenizer)
        quantised = name in ("llama_mixed", "llama_k_quants")
        for to_bf16 in (False, True) if quantised else (False,):
            golden = write_golden(root, name, to_bf16)
            print(f"{golden.name}: {path.stat().st_size / 1024:.0f} KiB, naive f32 error "
                  f"{golden.header['naive_f32_max_abs_error']:.3g}")


if __name__ == "__main__":
    main()
