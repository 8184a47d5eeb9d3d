"""A byte-level BPE tokenizer of 288 tokens, as tokenizer.json and as GGUF metadata.

Not a script. Three special tokens, the 256 bytes, 29 merges: small enough for a test model and
still exercises merges, special tokens, byte fallback and a chat template.
"""

import json

import gguf
import tokenizers
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import decoders, models, pre_tokenizers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BOS, EOS = "<|im_start|>", "<|im_end|>"
END_OF_TEXT_ID, BOS_ID, EOS_ID = 0, 1, 2

# "Ġ" is how byte-level BPE writes a space. Each pair is made of earlier tokens.
MERGES = [
    "h e", "Ġ t", "Ġt he", "i n", "e r", "o n", "Ġ a", "r e", "a t", "e n", "Ġ s", "o r", "e s",
    "Ġ w", "i s", "o u", "Ġ c", "a n", "in g", "Ġa n", "Ġan d", "u s", "a s", "l l", "s er",
    "us er", "as s", "s t", "i st",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def byte_alphabet():
    """The 256 characters of byte-level BPE in order of the byte (GPT-2's bytes_to_unicode)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = (b for b in range(256) if b not in shown)
    letter = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    return [letter[b] for b in range(256)]


def vocabulary():
    tokens = SPECIAL + byte_alphabet() + [m.replace(" ", "") for m in MERGES]
    assert len(set(tokens)) == len(tokens) == 288
    return tokens


def unprintable_ids():
    """Tokens that a test model should seldom say: specials, control bytes, parts of characters."""
    return [*range(len(SPECIAL)),
            *(len(SPECIAL) + b for b in range(256) if not 0x20 <= b < 0x7F)]


def byte_level_bpe(tokens, merges, special, pre_tokenizer):
    """A tokenizers.Tokenizer; `merges` as "left right", `special` the special tokens' texts."""
    tokenizer = tokenizers.Tokenizer(models.BPE(
        vocab={t: i for i, t in enumerate(tokens)},
        merges=[tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


def byte_level(individual_digits):
    """GPT-2's pre-tokenizer, and SmolLM's, which first sets every digit apart."""
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if not individual_digits:
        return words
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])


def tiny_tokenizer():
    return byte_level_bpe(vocabulary(), MERGES, SPECIAL, byte_level(individual_digits=True))


def render_chat(template, messages, bos_token, eos_token):
    """As transformers' apply_chat_template(add_generation_prompt=True) renders it."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token=bos_token, eos_token=eos_token)


def save_to_folder(folder):
    """tokenizer.json, tokenizer_config.json and generation_config.json of a model folder."""
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    special = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
               "special": True}
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): {"content": t, **special} for i, t in enumerate(SPECIAL)},
        "bos_token": BOS,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_max_length": 256,
        "tokenizer_class": "GPT2Tokenizer",
    }, indent=2) + "\n", encoding="utf-8")


def write_to_gguf(writer, pre_tokenizer_name):
    tokens = vocabulary()
    types = [gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(BOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
