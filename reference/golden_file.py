"""Writes goldens: one JSON and one .bin of little-endian float32 per model.

Not a script; tests/data/model/README.md describes the layout.
"""

import json

import numpy as np


def significant(value, digits=4):
    """Shortens a number for the JSON, never to a smaller one (it may become a tolerance)."""
    if value == 0:
        return 0.0
    step = 10.0 ** (np.floor(np.log10(value)) - digits + 1)
    return float(f"{np.ceil(value / step) * step:.{digits}g}")


class GoldenFile:
    def __init__(self, folder, name, **facts):
        self.folder, self.name = folder, name
        self.header = {"name": name, **facts, "logits_file": f"{name}.bin", "prompts": []}
        self.arrays, self.size_bytes = [], 0

    def add_prompt(self, name, ids, logits=None, naive=None, **facts):
        """`logits`: float64 [rows, vocab]; `naive`: the same in float32; None: nothing stored."""
        prompt = {"name": name, "ids": list(ids)}
        if logits is not None:
            stored = logits.astype("<f4")
            error = np.abs(naive.astype(np.float64) - logits)
            prompt |= {
                "logits_offset_bytes": self.size_bytes,
                "logits_shape": list(stored.shape),
                "max_abs_logit": significant(np.abs(logits).max(), 6),
                "storage_max_abs_error": significant(np.abs(stored - logits).max()),
                "naive_f32_max_abs_error": significant(error.max()),
                "naive_f32_rms_error": significant(np.sqrt(np.mean(error**2))),
            }
            self.arrays.append(stored)
            self.size_bytes += stored.nbytes
        self.header["prompts"].append(prompt | facts)

    def write(self):
        if self.arrays:
            prompts = [p for p in self.header["prompts"] if "logits_shape" in p]
            self.header["naive_f32_max_abs_error"] = max(
                p["naive_f32_max_abs_error"] for p in prompts)
            with open(self.folder / f"{self.name}.bin", "wb") as out:
                for array in self.arrays:
                    out.write(array.tobytes())
        write_json(self.folder / f"{self.name}.json", self.header)


def write_json(path, value):
    """Indented one level of lists per line, so that diffs and eyes can read it."""
    path.write_text(_format(value, 0) + "\n", encoding="utf-8")


def _format(value, depth):
    pad = "  " * (depth + 1)
    nested = isinstance(value, dict) or (
        isinstance(value, list) and value and isinstance(value[0], dict) and depth < 3)
    if not nested or depth >= 3:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(k)}: {_format(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + "  " * depth + "}"
    if "shape" in value[0]:  # lists of tensors: one line each
        rows = [pad + json.dumps(v) for v in value]
    else:
        rows = [pad + _format(v, depth + 1) for v in value]
    return "[\n" + ",\n".join(rows) + "\n" + "  " * depth + "]"
