#!/usr/bin/env python3
"""Golden files for tests/format: blocks of each stored type and what `gguf` dequantises them to.

Run:  python reference/quantised_blocks.py tests/data/format
With: numpy 2.4.6, gguf 0.19.0

TYPE.blocks holds the stored bytes, TYPE.f32 the values (little-endian). Types that `gguf` can
quantise get blocks of real quantised numbers too; all get random bytes with finite f16 scales, so
that every nibble, scale and sign occurs.
"""

import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES

# Byte offsets of the f16 scales in a block.
SCALES = {
    Type.Q8_0: [0],
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
CAN_QUANTISE = [Type.Q8_0, Type.Q4_0, Type.Q4_1]


def random_blocks(rng, kind, count):
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = rng.standard_normal(count).astype(np.float16)
        scale[0] = 0.0
        scale[1] = 5.96e-8  # the least subnormal
        scale[2] = 65504.0  # the largest
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(count, 2)
    if kind in CAN_QUANTISE:
        values = rng.standard_normal((count, elements)).astype(np.float32)
        blocks = np.concatenate([blocks, quants.quantize(values, kind)])
    return blocks


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20260426)
    for kind in SCALES:
        blocks = random_blocks(rng, kind, 24)
        values = quants.dequantize(blocks, kind).astype("<f4")
        assert np.isfinite(values).all()
        (folder / f"{kind.name.lower()}.blocks").write_bytes(blocks.tobytes())
        (folder / f"{kind.name.lower()}.f32").write_bytes(values.tobytes())


if __name__ == "__main__":
    main()
