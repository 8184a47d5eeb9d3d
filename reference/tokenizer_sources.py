"""Tokenizers to compare with, made from what packages and model files hold. Imported by
tests/text/parity_tokenizers.py and reference/train_tokenizers.py; needs tokenizers==0.23.3."""

import base64
import json
import pathlib
import struct

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")


def split_then_byte_level(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def smollm_pre_tokenizer():
    return pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])


# ---- GGUF: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read_gguf_metadata(path):
    data = pathlib.Path(path).read_bytes()
    at = 0

    def scalar(code):
        nonlocal at
        value = struct.unpack_from("<" + code, data, at)[0]
        at += struct.calcsize(code)
        return value

    def text():
        nonlocal at
        length = scalar("Q")
        at += length
        return data[at - length:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            item, count = scalar("I"), scalar("Q")
            return [value(item) for _ in range(count)]
        return scalar(_SCALARS[kind])

    assert data[:4] == b"GGUF"
    at = 8
    scalar("Q")
    return {text(): value(scalar("I")) for _ in range(scalar("Q"))}


def write_gguf_metadata(path, metadata):
    """bool, int, float, str, and lists of str, int or float; no tensors."""

    def text(value):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    def item(value):
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, int):
            return 5, struct.pack("<i", value)
        if isinstance(value, float):
            return 6, struct.pack("<f", value)
        if isinstance(value, str):
            return 8, text(value)
        kinds_and_bytes = [item(v) for v in value]
        head = struct.pack("<IQ", kinds_and_bytes[0][0], len(value))
        return 9, head + b"".join(raw for _, raw in kinds_and_bytes)

    out = [b"GGUF", struct.pack("<IQQ", 3, 0, len(metadata))]
    for key, value in metadata.items():
        kind, raw = item(value)
        out += [text(key), struct.pack("<I", kind), raw]
    body = b"".join(out)
    pathlib.Path(path).write_bytes(body + b"\0" * (-len(body) % 32))


def tokenizer_from_gguf(path):
    """Hugging Face's form of the byte-level tokenizer in a GGUF file (smollm pre-tokenizer)."""
    metadata = read_gguf_metadata(path)
    assert metadata["tokenizer.ggml.model"] == "gpt2" and metadata["tokenizer.ggml.pre"] == "smollm"
    tokens = metadata["tokenizer.ggml.tokens"]
    tokenizer = Tokenizer(models.BPE(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]))
    tokenizer.pre_tokenizer = smollm_pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, types) if k == 3])
    return tokenizer


# ---- tiktoken's form: base64 of the token's bytes, a space, its rank

def byte_alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(printable))
    return table


def tokenizer_from_ranks(ranks, pattern, special_tokens, ignore_merges, nfc=False):
    """ranks: {token bytes: rank}. Every split of a token into two tokens is a merge."""
    alphabet = byte_alphabet()
    spell = {token: "".join(alphabet[b] for b in token) for token in ranks}
    merges = []
    for token, rank in ranks.items():
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        splits = [(a, b) for a, b in splits if a in ranks and b in ranks]
        splits.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(rank, spell[a], spell[b]) for a, b in splits]
    merges.sort(key=lambda merge: merge[0])
    tokenizer = Tokenizer(models.BPE(vocab={spell[t]: r for t, r in ranks.items()},
                                     merges=[(a, b) for _, a, b in merges],
                                     ignore_merges=ignore_merges))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split_then_byte_level(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in special_tokens])
    return tokenizer


def read_tiktoken(path):
    lines = pathlib.Path(path).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


def read_tekken(path):
    """({bytes: rank}, pattern) of the tokens that the model uses."""
    data = json.loads(pathlib.Path(path).read_text())
    config = data["config"]
    count = config["default_vocab_size"] - config["default_num_special_tokens"]
    ranks = {base64.b64decode(e["token_bytes"]): e["rank"] for e in data["vocab"][:count]}
    return ranks, config["pattern"]


# ---- SentencePiece

def sentencepiece_gguf(model_path, out_path, user_defined=()):
    """The vocabulary of a SentencePiece model as GGUF metadata, the way converters write it. The
    library does not tell which pieces are user-defined: the caller does."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(model_path))
    size = model.vocab_size()

    def kind(i):
        if model.is_unknown(i):
            return 2
        if model.is_control(i):
            return 3
        if model.is_unused(i):
            return 5
        if model.id_to_piece(i) in user_defined:
            return 4
        return 6 if model.is_byte(i) else 1

    write_gguf_metadata(out_path, {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(i) for i in range(size)],
        "tokenizer.ggml.scores": [float(model.get_score(i)) for i in range(size)],
        "tokenizer.ggml.token_type": [kind(i) for i in range(size)],
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
    })
    return model
