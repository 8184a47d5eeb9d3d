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
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q3_K: [108],
    Type.IQ4_NL: [0],
    Type.IQ4_XS: [0],
    Type.MXFP4: [],
    Type.NVFP4: [],
}
CAN_QUANTISE = [Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.MXFP4]
# Scales of a byte occur all: 256 blocks, or 4 to a block.
COUNTS = {Type.MXFP4: 256, Type.NVFP4: 64}


def random_blocks(rng, kind, count):
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = rng.standard_normal(count).astype(np.float16)
        scale[0] = 0.0
        scale[1] = 5.96e-8  # the least subnormal
        scale[2] = 65504.0  # the largest
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(count, 2)
    if kind == Type.MXFP4:
        blocks[:, 0] = np.minimum(np.arange(count), 252)  # 12 times 2^125 and above is infinite
    if kind == Type.NVFP4:
        blocks[:, :4] = np.arange(4 * count).reshape(count, 4)
    if kind in CAN_QUANTISE:
        values = rng.standard_normal((count, elements)).astype(np.float32)
        blocks = np.concatenate([blocks, quants.quantize(values, kind)])
    return blocks


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20260426)
    for kind in SCALES:
        blocks = random_blocks(rng, kind, COUNTS.get(kind, 24))
        values = quants.dequantize(blocks, kind).astype("<f4")
        assert np.isfinite(values).all(), kind
        (folder / f"{kind.name.lower()}.blocks").write_bytes(blocks.tobytes())
        (folder / f"{kind.name.lower()}.f32").write_bytes(values.tobytes())


if __name__ == "__main__":
    main()
