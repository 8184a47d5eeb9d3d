"""What the local cases of dak_bench_attention and dak_bench_prefill_attention take with PyTorch's
scaled_dot_product_attention.

    python3 bench/attention_torch.py [decode] [prefill]

bf16; decode: one query a sequence; prefill: a whole prompt, causal. The best of PyTorch's backends, median of 10
launches of a CUDA graph.
"""

import statistics
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

SHAPES = (("llama-3.1-8b", 32, 8), ("llama-3.1-70b", 64, 8), ("opt-30b", 56, 56))
BATCHES = ((1, 131072), (32, 8192), (256, 1024))
PROMPTS = (512, 2048, 8192)
BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)


def milliseconds(run):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(4):
                run()
        times = []
        for _ in range(11):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 4)
    return statistics.median(times[1:])


def best_of_backends(q, k, v, shared, causal=False):
    best = {}
    for backend in BACKENDS:
        try:
            with sdpa_kernel(backend):
                best[backend.name] = milliseconds(
                    lambda: torch.nn.functional.scaled_dot_product_attention(
                        q, k, v, is_causal=causal, enable_gqa=shared))
        except RuntimeError:  # it does not take this shape
            torch.cuda.synchronize()
    return min(best.items(), key=lambda item: item[1]) if best else ("none", float("nan"))


def decode():
    for name, heads, kv_heads in SHAPES:
        for sequences, tokens in BATCHES:
            q = torch.randn(sequences, heads, 1, 128, dtype=torch.bfloat16, device="cuda")
            k, v = (torch.randn(sequences, kv_heads, tokens, 128, dtype=torch.bfloat16, device="cuda")
                    for _ in range(2))
            backend, ms = best_of_backends(q, k, v, heads != kv_heads)
            gigabytes = 2 * k.numel() * 2 / 1e9
            print(f"{name:>13} {sequences:>3} x {tokens:>6}: {ms:8.3f} ms, {gigabytes / ms * 1e3:6.0f} GB/s, {backend}",
                  flush=True)
            del q, k, v


def prefill():
    for name, heads, kv_heads in SHAPES:
        for tokens in PROMPTS:
            q = torch.randn(1, heads, tokens, 128, dtype=torch.bfloat16, device="cuda")
            k, v = (torch.randn(1, kv_heads, tokens, 128, dtype=torch.bfloat16, device="cuda") for _ in range(2))
            backend, ms = best_of_backends(q, k, v, heads != kv_heads, causal=True)
            flops = 4 * 128 * heads * tokens * (tokens + 1) / 2
            print(f"{name:>13} prompt of {tokens:>5}: {ms:8.3f} ms, {flops / ms / 1e9:6.1f} TFLOP/s, {backend}",
                  flush=True)
            del q, k, v


def main():
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}")
    chosen = sys.argv[1:] or ["decode", "prefill"]
    if "decode" in chosen:
        decode()
    if "prefill" in chosen:
        prefill()


if __name__ == "__main__":
    main()
