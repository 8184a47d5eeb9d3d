"""Runs transformers' own models as a numerical reference: in true float64, and naively in float32.

Not a script. Used by model_goldens.py, write_gguf.py and smollm2_goldens.py.

`model.double()` alone is not a float64 reference: transformers computes RMS norms, softmax and
rotary angles in float32 whatever the model's type. `Float64` below lifts those requests to float64
and refuses any result of less precision.
"""

import contextlib

import numpy as np
import torch
import transformers
from torch.overrides import TorchFunctionMode

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

MODEL_CLASSES = {
    "llama": transformers.LlamaForCausalLM,
    "mistral": transformers.MistralForCausalLM,
    "qwen2": transformers.Qwen2ForCausalLM,
    "qwen3": transformers.Qwen3ForCausalLM,
    "opt": transformers.OPTForCausalLM,
}


class Float64(TorchFunctionMode):
    """Every request for float32 gives float64; a float result of less precision is an error."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args = tuple(_lifted(a) for a in args)
        kwargs = {k: _lifted(v) for k, v in (kwargs or {}).items()}
        result = func(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            if result.dtype != torch.float64:
                raise TypeError(f"{func} gave {result.dtype} inside the float64 reference")
        return result


def _lifted(value):
    return torch.float64 if value is torch.float32 else value


@contextlib.contextmanager
def precision(dtype):
    """Everything inside computes in `dtype`: torch.float64 (exactly that) or torch.float32."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with Float64() if dtype == torch.float64 else contextlib.nullcontext(), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(previous)


def build_model(config, weights, dtype, inverse_frequencies=None):
    """The transformers model of `config` with `weights` (name -> torch tensor), in `dtype`.

    `inverse_frequencies` (float64 numpy) replaces the rotary frequencies that `config` gives.
    """
    config = type(config).from_dict(config.to_dict())
    config._attn_implementation = "eager"  # the written-out formulas, no fused kernel
    weights = {name: w.to(dtype) for name, w in weights.items()}
    with precision(dtype):
        model = MODEL_CLASSES[config.model_type](config).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if unexpected or set(missing) - tied:
        raise ValueError(f"weights missing {missing}, unexpected {unexpected}")
    if inverse_frequencies is not None:
        model.model.rotary_emb.inv_freq = torch.from_numpy(inverse_frequencies).to(dtype)
    model.to(dtype)
    model.tie_weights()
    return model


def all_logits(model, ids):
    """Logits at every position of `ids`, without a cache: numpy [len(ids), vocab]."""
    with precision(model.dtype):
        out = model(input_ids=torch.tensor([ids]), use_cache=False)
    return out.logits[0].numpy()


def top_two_margin(row):
    second, first = np.partition(row, -2)[-2:]
    return float(first - second)


def greedy_without_cache(model, prompt, steps):
    """Appends `steps` greedy tokens: (tokens, logits [len(prompt) + steps - 1, vocab])."""
    ids = list(prompt)
    for _ in range(steps):
        logits = all_logits(model, ids)
        ids.append(int(logits[-1].argmax()))
    return ids[len(prompt):], logits


def greedy_with_cache(model, prompt, steps):
    """Like greedy_without_cache, but gives only the logits that chose each token [steps, vocab]."""
    tokens, rows, cache = [], [], None
    ids = list(prompt)
    with precision(model.dtype):
        for _ in range(steps):
            out = model(input_ids=torch.tensor([ids]), past_key_values=cache, use_cache=True,
                        logits_to_keep=1)
            cache = out.past_key_values
            rows.append(out.logits[0, -1].numpy())
            tokens.append(int(rows[-1].argmax()))
            ids = tokens[-1:]
    return tokens, np.stack(rows)
