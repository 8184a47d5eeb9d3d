#!/usr/bin/env python3
"""Makes tests/data/model/{hf,configs_v4,goldens}: tiny models of every family and their logits.

    python reference/model_goldens.py tests/data/model

Versions: Python 3.11, torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, safetensors 0.8.0,
numpy 2.4.6, Jinja2 3.1.6. Same machine, same bytes; on another CPU the last digits of the float32
errors may differ.
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file

import tiny_models
import tiny_tokenizer
from golden_file import GoldenFile, write_json
from hf_reference import (MODEL_CLASSES, all_logits, build_model, greedy_without_cache,
                          top_two_margin)

GREEDY_TOKENS = 16
# A greedy token counts only where it leads clearly; seeds are tried in order until all do.
LEAST_MARGIN = 0.02

# name -> (configuration, seed of the weights, stored type, save_pretrained's shard size)
MODELS = {
    "llama_mha": (tiny_models.llama_mha, 1, torch.float32, "100KB"),
    "llama3_gqa": (tiny_models.llama3_gqa, 2, torch.bfloat16, "1GB"),
    "smollm2": (tiny_models.smollm2, 5, torch.bfloat16, "1GB"),
    "mistral": (tiny_models.mistral, 4, torch.bfloat16, "1GB"),
    "qwen2": (tiny_models.qwen2, 6, torch.float16, "1GB"),
    "qwen3": (tiny_models.qwen3, 6, torch.bfloat16, "1GB"),
    "opt": (tiny_models.opt, 16, torch.float32, "1GB"),
    "opt_post_norm": (tiny_models.opt_post_norm, 5, torch.float16, "1GB"),
}

CHAT = [{"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Where is the cat, and why?"}]


def save_folder(folder, config, weights, dtype, shard_size):
    shutil.rmtree(folder, ignore_errors=True)
    model = MODEL_CLASSES[config.model_type](config)
    model.load_state_dict(weights, strict=not config.tie_word_embeddings)
    model.tie_weights()
    model.to(dtype).save_pretrained(folder, max_shard_size=shard_size)


def load_folder(folder):
    """What is really stored, back from the files."""
    weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    return weights


def config_v4(folder):
    """config.json as transformers 4 wrote it, which most published models have: rope_theta and
    rope_scaling in place of rope_parameters, torch_dtype in place of dtype."""
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters", None)
    if rope is not None:
        config["rope_theta"] = rope.pop("rope_theta")
        config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    config.pop("layer_types", None)
    return dict(sorted(config.items()))


def add_prompts(golden, exact, naive, length, vocab_size):
    """The long and the one-token prompt, with logits of the prompt and of the continuation."""
    for name in ("long", "one_token"):
        for seed in range(1000):
            ids = tiny_models.token_prompts(vocab_size, length, seed)[name]
            tokens, logits = greedy_without_cache(exact, ids, GREEDY_TOKENS)
            margins = [top_two_margin(row) for row in logits[len(ids) - 1:]]
            if min(margins) >= LEAST_MARGIN:
                break
        golden.add_prompt(name, ids, logits, all_logits(naive, ids + tokens[:-1]),
                          greedy_ids=tokens, greedy_margins=[round(m, 6) for m in margins])


def add_chat(golden, exact):
    """A templated chat for models with the tiny tokenizer: text in, text out."""
    tokenizer = tiny_tokenizer.tiny_tokenizer()
    prompt = tiny_tokenizer.render_chat(tiny_tokenizer.CHAT_TEMPLATE, CHAT, tiny_tokenizer.BOS,
                                        tiny_tokenizer.EOS)
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    tokens, logits = greedy_without_cache(exact, ids, GREEDY_TOKENS)
    margins = [top_two_margin(row) for row in logits[len(ids) - 1:]]
    if min(margins) < LEAST_MARGIN or tiny_tokenizer.EOS_ID in tokens:
        raise ValueError(f"{golden.name}: margin {min(margins)} or an early end; another seed")
    golden.add_prompt("chat", ids, messages=CHAT, prompt=prompt, greedy_ids=tokens,
                      greedy_margins=[round(m, 6) for m in margins],
                      text=tokenizer.decode(tokens, skip_special_tokens=True))


def main():
    root = pathlib.Path(sys.argv[1])
    for part in ("hf", "configs_v4", "goldens"):
        (root / part).mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, (make_config, seed, dtype, shard_size) in MODELS.items():
        config = make_config()
        folder = root / "hf" / name
        has_tokenizer = name == "smollm2"
        quiet = tiny_tokenizer.unprintable_ids() if has_tokenizer else []
        save_folder(folder, config, tiny_models.seeded_weights(config, seed, quiet), dtype,
                    shard_size)
        write_json(root / "configs_v4" / f"{name}.json", config_v4(folder))

        weights = load_folder(folder)
        exact = build_model(config, weights, torch.float64)
        naive = build_model(config, weights, torch.float32)
        golden = GoldenFile(
            root / "goldens", name, path=f"hf/{name}", family=config.model_type,
            weights="as_stored", vocab_size=config.vocab_size,
            tensors=[{"name": n, "dtype": str(w.dtype).removeprefix("torch."),
                      "shape": list(w.shape)} for n, w in sorted(weights.items())])
        add_prompts(golden, exact, naive, length=40, vocab_size=config.vocab_size)
        if has_tokenizer:
            tiny_tokenizer.save_to_folder(folder)
            add_chat(golden, exact)
        golden.write()
        size = sum(f.stat().st_size for f in folder.iterdir())
        print(f"{name}: {size / 1024:.0f} KiB, naive f32 error "
              f"{golden.header['naive_f32_max_abs_error']:.3g}")


if __name__ == "__main__":
    main()
