"""Trains the small tokenizers of tests/data/text and writes the ids that the packages give.

Run:   python reference/train_tokenizers.py
Needs: tokenizers==0.23.3 sentencepiece==0.2.3 faker==40.54.0 emoji==2.16.0 django==5.2

For each NAME: tests/data/text/NAME/tokenizer.json (or vocabulary.gguf), golden_ids.bin (ids of
torture.bin, little-endian 16 bit), golden_text_ids.bin (the same with special tokens as text) and
golden_text.bin (golden_ids decoded, special tokens included).
"""

import pathlib
import struct
import tempfile

import tokenizer_corpus
import tokenizer_sources as sources
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

OUT = pathlib.Path(__file__).resolve().parents[1] / "tests" / "data" / "text"
VOCABULARY = 2000
USER_DEFINED = ["<tool>", "//"]


def training_texts():
    documents = tokenizer_corpus.corpus(12)[::9]
    return [document.decode("utf-8", "replace") for document in documents]


def chat_tokens(tokenizer):
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("<|im_end", normalized=True)])


def train_byte_level(texts, pre_tokenizer, normalizer=None, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    chat_tokens(tokenizer)
    return tokenizer


def train_sentencepiece_style(texts, configure):
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    configure(tokenizer)
    # Words for training only: the real pre-tokenizers leave a text in one piece.
    kept = tokenizer.pre_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=specials, show_progress=False, limit_alphabet=400))
    # Bytes are ordinary tokens of the model; only the first three are found in text.
    import json
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    data["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(data))
    if kept is not None:
        tokenizer.pre_tokenizer = kept
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
    return tokenizer


def llama2(tokenizer):
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def mistral(tokenizer):
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                           decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def every_step(texts):
    """The steps and token flags that the models' own tokenizers use rarely, all in one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[\u2018\u2019]"), "'"), normalizers.Strip(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split("_", "merged_with_next"),
        pre_tokenizers.Split(Regex(r"[aeiou]{2}"), "contiguous"),
        pre_tokenizers.Split(Regex(r"\w+"), "removed", invert=True),
        pre_tokenizers.Metaspace(prepend_scheme="always")])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
        limit_alphabet=300))
    # Contents that the normaliser leaves alone: tokenizers 0.23 decodes a token to its normalised
    # spelling, earlier versions and dak to its content.
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens([AddedToken("hello", single_word=True), AddedToken("world", normalized=True),
                          AddedToken("</s>", rstrip=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    return tokenizer


def write_ids(path, ids):
    path.write_bytes(struct.pack(f"<{len(ids)}H", *ids))


def write(name, tokenizer, text):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text).ids
    write_ids(folder / "golden_ids.bin", ids)
    (folder / "golden_text.bin").write_bytes(tokenizer.decode(ids, skip_special_tokens=False).encode())
    tokenizer.encode_special_tokens = True
    write_ids(folder / "golden_text_ids.bin", tokenizer.encode(text).ids)
    print(name, tokenizer.get_vocab_size(), len(ids))


def write_sentencepiece(texts, text):
    import sentencepiece

    folder = OUT / "sentencepiece"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        lines = [line[:2000] for t in texts for line in t.split("\n") if line.strip() and "\0" not in line]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines[::3]), model_prefix=f"{work}/m", model_type="bpe",
            vocab_size=VOCABULARY, byte_fallback=True, character_coverage=0.98, minloglevel=2,
            normalization_rule_name="identity", remove_extra_whitespaces=False,
            split_digits=True, allow_whitespace_only_pieces=True, user_defined_symbols=USER_DEFINED)
        model = sources.sentencepiece_gguf(f"{work}/m.model", folder / "vocabulary.gguf", USER_DEFINED)
    write_ids(folder / "golden_text_ids.bin", [model.bos_id()] + model.encode(text))
    print("sentencepiece", model.vocab_size())


def main():
    texts = training_texts()
    torture = tokenizer_corpus.torture_document()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "torture.bin").write_bytes(torture)
    text = torture.decode("utf-8", "replace")
    write("gpt2", train_byte_level(texts, pre_tokenizers.ByteLevel(add_prefix_space=True)), text)
    llama3 = train_byte_level(texts, sources.split_then_byte_level(sources.LLAMA3_PATTERN),
                              ignore_merges=True)
    llama3.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])])
    write("llama3", llama3, text)
    write("qwen2", train_byte_level(texts, sources.split_then_byte_level(sources.QWEN2_PATTERN),
                                    normalizers.NFC()), text)
    write("smollm", train_byte_level(texts, sources.smollm_pre_tokenizer()), text)
    write("llama2", train_sentencepiece_style(texts, llama2), text)
    write("mistral", train_sentencepiece_style(texts, mistral), text)
    write("every_step", every_step(texts), text)
    write_sentencepiece(texts, text)


if __name__ == "__main__":
    main()
