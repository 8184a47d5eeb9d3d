"""Assembles the text that tokenizers are compared on, from files that installed packages hold.

Run:   python reference/tokenizer_corpus.py OUT.bin [--megabytes 12]
Needs: faker==40.54.0 emoji==2.16.0 django==5.2 (as data only: nothing of them is imported)

OUT.bin is a list of documents, each a little-endian 32-bit length and that many bytes. Most are
prose in about a hundred languages, code, names and addresses; the rest is torture: white space,
control characters, numbers, every assigned character, look-alikes of special tokens, malformed
UTF-8. The same packages give the same bytes.
"""

import argparse
import importlib.util
import pathlib
import random
import struct
import sysconfig
import unicodedata

DOCUMENT_BYTES = 48 * 1024


def package_folder(name):
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise SystemExit(f"the Python package '{name}' is missing; see the head of this file")
    return pathlib.Path(spec.submodule_search_locations[0])


def read_files(folder, pattern, limit_bytes):
    """The files below `folder` that match, in name order, spread evenly up to limit_bytes."""
    files = sorted(p for p in folder.rglob(pattern) if p.is_file())
    total = sum(p.stat().st_size for p in files)
    step = max(1, -(-total // limit_bytes))
    return b"".join(p.read_bytes() for p in files[::step])


def standard_library(limit_bytes):
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = sorted(folder.glob("*.py")) + sorted(folder.glob("email/*.py"))
    files.append(folder / "pydoc_data" / "topics.py")
    return b"".join(p.read_bytes() for p in files if p.is_file())[:limit_bytes]


def all_characters():
    """Every assigned character, alone between letters, digits and spaces by turns."""
    sides = ["a{}b", "{}", " {}{} ", "1{}2", "\n{} ", "'{}s", "{}\u0301", "A {}"]
    codes = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    lines = []
    for i, code in enumerate(codes):
        # Every Hangul syllable and CJK ideograph would be most of the text; a sample will do.
        if (0x3400 <= code <= 0x9FFF or 0xAC00 <= code <= 0xD7A3 or code >= 0x20000) and i % 7:
            continue
        lines.append(sides[i % len(sides)].format(chr(code), chr(code)))
    return " ".join(lines).encode()


def later_characters():
    """Characters that this Python's Unicode does not know yet, the assigned ones among them."""
    codes = [c for c in range(0x32400) if unicodedata.category(chr(c)) == "Cn"]
    return "".join(f"{chr(c)}a {chr(c)}1\u0301{chr(c)}!" for c in codes[::3]).encode()


WHITE_SPACE = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\u00a0", "\u2003", "\u3000",
               "\u2028", "\u0085", "\x0b", "\x0c", "\u180e", "\u200b", "\ufeff", "\u1680"]
PIECES = [
    "don't", "I'LL", "we'Re", "'s", "'ſ", "O'Neil", "can’t", "it's5", "x'd", "'T", "''s",
    "Hello", "WORLD", "naïve", "Ünïcödé", "e\u0301", "n\u0303o", "Å", "Å", "ﬁ", "ﬀ", "ß", "İ", "ı",
    "你好", "世界", "日本語", "ひらがな", "カタカナ", "ｶﾀｶﾅ", "한국어", "각", "각",
    "مرحبا", "بِسْمِ", "שָׁלוֹם", "ไทย", "ภาษาไทย", "हिन्दी", "क्षि", "தமிழ்", "ქართული", "Ελληνικά",
    "Привет", "ё", "й", "𝕳𝖊𝖑𝖑𝖔", "𐍈", "🎉", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "👍🏽", "☃️", "①②", "Ⅷ", "½", "²³",
    "0", "7", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000", "0x1F", "１２３", "٣٤٥",
    "!", "?!", "...", "…", "--", "—", "()", "[]", "{}", "<>", "//", "/*", "*/", "#!", "@@", "$", "%", "^^",
    "&&", "||", "~", "`", "```", "\\", "\\n", "_", "__init__", "a_b", "_x_", "«»", "„“", "。", "、", "！",
    "▁", "▁▁", "Ġ", "Ċ", "<0x0A>", "<0x", "\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\u0080", "\ufffd",
    "\ufffe", "\U0010ffff", "\ue000",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_end", "|im_end|>", "<s>", "</s>", "<unk>",
    "<|im_start|><|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<pad>", "<mask>", "[INST]", "<tool>",
]


def torture(seed, count):
    """Random sequences of hard pieces and white space."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        out.append(rng.choice(PIECES))
        kind = rng.random()
        if kind < 0.45:
            out.append(" ")
        elif kind < 0.75:
            out.append("".join(rng.choice(WHITE_SPACE) for _ in range(rng.randint(1, 4))))
    return "".join(out).encode()


def long_runs():
    """One word, number, white space or character repeated."""
    runs = ["a", "ab", " ", "\n", "\t ", "\r\n", "1", "!", "=", "你", "é", "e\u0301", "🎉", "\u0301", "▁", "'s"]
    return "|".join(unit * count for unit in runs for count in (2, 3, 5, 17, 64, 300, 2000)).encode()


MALFORMED = [b"\x80", b"\xbf", b"\xc0\x80", b"\xc1", b"\xc3", b"\xe2\x82", b"\xe0\x80\xaf", b"\xed\xa0\x80",
             b"\xed\xbf\xbf", b"\xf0\x9f\x8e", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xf5", b"\xff",
             b"\xfe\xff", b"\xf0\x9f", b"\xe4\xbd\xe4\xbd\xa0"]


def malformed(seed, count):
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        out.append(rng.choice(PIECES).encode("utf-8", "surrogatepass"))
        out.append(rng.choice(MALFORMED))
        out.append(rng.choice([b"", b" ", b"x", b"\n"]))
    return b"".join(out)


def random_bytes(seed, count):
    return random.Random(seed).randbytes(count)


def torture_document(target_bytes=50_000):
    """The text of the golden ids that are committed: it must not depend on any package."""
    parts = [torture(1, 2700), malformed(2, 500), long_runs()[:6000],
             "\n".join(PIECES).encode("utf-8", "surrogatepass"), random_bytes(3, 2000)]
    return b"\n".join(parts)[:target_bytes]


def cut(data):
    """Documents of about DOCUMENT_BYTES that end at a line's end where there is one."""
    documents = []
    begin = 0
    while begin < len(data):
        end = min(begin + DOCUMENT_BYTES, len(data))
        line = data.rfind(b"\n", begin, end)
        if end < len(data) and line > begin:
            end = line + 1
        documents.append(data[begin:end])
        begin = end
    return documents


def corpus(megabytes):
    limit = megabytes * 1_000_000
    sections = [
        read_files(package_folder("django"), "*.po", limit * 45 // 100),
        read_files(package_folder("faker"), "*.py", limit * 22 // 100),
        read_files(package_folder("emoji"), "*.json", limit * 10 // 100),
        standard_library(limit * 20 // 100),
        read_files(package_folder("django"), "*.py", limit * 8 // 100),
        all_characters(),
        torture(11, 30_000),
        malformed(12, 20_000),
        random_bytes(13, 60_000),
        long_runs(),
    ]
    documents = [document for section in sections for document in cut(section)]
    documents += [b"", b" ", b"\n", b"a", b"\xff", b"\xe2\x82"]
    return documents


def write_documents(path, documents):
    with open(path, "wb") as out:
        for document in documents:
            out.write(struct.pack("<I", len(document)))
            out.write(document)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--megabytes", type=int, default=12)
    arguments = parser.parse_args()
    documents = corpus(arguments.megabytes)
    write_documents(arguments.out, documents)
    print(f"{len(documents)} documents, {sum(map(len, documents)) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
