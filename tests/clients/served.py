"""What the clients' tests share: `dak serve` on the CPU at a port of its own, and a model's tokenizer as a folder."""

import json
import pathlib
import re
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "reference"))


class Server:
    """Ready when made."""

    def __init__(self, dak, model, *flags):
        self.process = subprocess.Popen([dak, "serve", model, "--device", "cpu", "--port", "0", *flags],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line + self.process.stderr.read()
        self.url = found[0]

    def end(self):
        """Exit status and what was said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


def write_tokenizer(model, folder):
    """A GGUF's tokenizer in `folder`, which is made, as transformers reads it; the tokenizer."""
    from tokenizer_sources import tokenizer_from_gguf  # pylint: disable=import-outside-toplevel
    tokenizer = tokenizer_from_gguf(model)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}))
    return tokenizer
