#!/usr/bin/env python3
"""Seed corpora of the GGUF and safetensors fuzz targets, written by the formats' own packages.

Run:  python reference/fuzz_seeds.py tests/fuzz/corpus
With: numpy 2.4.6, gguf 0.19.0, safetensors 0.8.0
"""

import pathlib
import struct
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file


def write_gguf(path, add):
    writer = gguf.GGUFWriter(path, "llama")
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata(writer):
    writer.add_uint8("u8", 1)
    writer.add_int8("i8", -1)
    writer.add_uint16("u16", 2)
    writer.add_int16("i16", -2)
    writer.add_uint32("u32", 3)
    writer.add_int32("i32", -3)
    writer.add_uint64("u64", 4)
    writer.add_int64("i64", -4)
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 0.25)
    writer.add_bool("bool", True)
    writer.add_string("text", "hello")
    writer.add_array("names", ["a", "bc"])
    writer.add_array("ids", [1, 2, 3])
    writer.add_array("scores", [0.5, -1.0])


def plain_tensors(writer):
    writer.add_tensor("w", np.arange(8, dtype=np.float32).reshape(2, 4))
    writer.add_tensor("h", np.arange(4, dtype=np.float16))


def quantised_tensors(writer):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((1, 256)).astype(np.float32)
    for kind in (Type.Q8_0, Type.Q4_0, Type.Q4_1):
        writer.add_tensor(kind.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for kind in (Type.Q4_K, Type.Q5_K, Type.Q6_K):
        size = gguf.GGML_QUANT_SIZES[kind][1]
        blocks = rng.integers(0, 60, (1, size), dtype=np.uint8)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)


def aligned(writer):
    writer.add_custom_alignment(64)
    plain_tensors(writer)


def main():
    folder = pathlib.Path(sys.argv[1])
    for target in ("gguf", "safetensors_header"):
        (folder / target).mkdir(parents=True, exist_ok=True)
    for add in (metadata, plain_tensors, quantised_tensors, aligned):
        write_gguf(folder / "gguf" / add.__name__, add)

    out = folder / "safetensors_header"
    save_file({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float16)}, out / "plain")
    save_file(
        {"ids": np.arange(3), "mask": np.ones(2, bool), "w": np.ones(1, np.float32)}, out / "buffers"
    )
    save_file({"w": np.ones((1, 2, 2), np.float32)}, out / "metadata", {"format": "pt"})
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    (out / "bf16").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


if __name__ == "__main__":
    main()
