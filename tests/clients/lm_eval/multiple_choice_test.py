#!/usr/bin/env python3
"""A public evaluation harness, lm-evaluation-harness, against `dak serve`: a multiple-choice task whose scores are
compared with log-probabilities that the server gives token by token: multiple_choice_test.py DAK MODEL.gguf"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.request

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "clients"), str(TESTS / "support")]
sys.dont_write_bytecode = True
import cases  # pylint: disable=wrong-import-position
import served  # pylint: disable=wrong-import-position

DAK, MODEL = sys.argv[1], sys.argv[2]
QUESTIONS = [
    ("The sun rises in the", ["east", "kitchen", "drawer"], 0),
    ("Two plus two is", ["a river", "four", "purple"], 1),
    ("Water freezes and becomes", ["paper", "music", "ice"], 2),
    ("A cat is an", ["animal", "idea of wood"], 0),
    ("The capital of France is", ["green", "Paris", "seven"], 1),
    ("Bread is made of", ["flour", "thunder", "glass"], 0),
]
TASK = {
    "task": "dak_choices", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
    "doc_to_text": "{{question}}", "doc_to_target": "{{gold}}", "doc_to_choice": "{{choices}}",
    "metric_list": [{"metric": "acc"}],
}


class MultipleChoiceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name)
        cls.tokenizer = served.write_tokenizer(MODEL, cls.out / "tokenizer")
        rows = [{"question": question, "choices": choices, "gold": gold} for question, choices, gold in QUESTIONS]
        (cls.out / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        tasks = cls.out / "tasks"
        tasks.mkdir()
        # The harness reads YAML, which JSON is.
        (tasks / "dak_choices.yaml").write_text(json.dumps(
            {**TASK, "dataset_kwargs": {"data_files": {"test": str(cls.out / "choices.jsonl")}}}))
        cls.server = served.Server(DAK, MODEL, "--context", "512", "--model-name", "model")
        cls.url = cls.server.url

    @classmethod
    def tearDownClass(cls):
        status, said = cls.server.end()
        cls.folder.cleanup()
        assert status == 0, said

    def ask(self, body):
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def logprob_after(self, prompt, token):
        """Of `token` after these tokens: made to come, and told of as the model has it."""
        answer = self.ask({"prompt": prompt, "max_tokens": 1, "logprobs": 0, "temperature": 0, "ignore_eos": True,
                           "logit_bias": {str(token): 100}})
        return answer["choices"][0]["logprobs"]["token_logprobs"][0]

    def evaluate(self, batch):
        out = self.out / f"results_{batch}"
        arguments = (f"model=model,base_url={self.url}/v1/completions,tokenizer_backend=huggingface,"
                     f"tokenizer={self.out / 'tokenizer'},num_concurrent={batch},max_retries=1,max_length=512")
        command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", arguments,
                   "--tasks", "dak_choices", "--include_path", self.out / "tasks", "--batch_size", str(batch),
                   "--output_path", out, "--log_samples"]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(self.out / "hf"), "OPENAI_API_KEY": "none",
                       "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        result = subprocess.run(command, cwd=self.out, env=environment, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=300, check=False)
        self.assertEqual(result.returncode, 0, result.stdout[-4000:])
        samples = next(out.rglob("samples_dak_choices_*.jsonl"))
        scores = json.loads(next(out.rglob("results_*.json")).read_text())["results"]["dak_choices"]
        return scores, [json.loads(line) for line in samples.read_text().splitlines()]

    def test_scores_are_the_models(self):
        for batch in (1, 4):
            scores, samples = self.evaluate(batch)
            self.assertEqual(len(samples), len(QUESTIONS))
            self.assertGreaterEqual(scores["acc,none"], 0.5, "worse than a real model's")
            for sample in samples:
                question, choices = sample["doc"]["question"], sample["doc"]["choices"]
                prompt = self.tokenizer.encode(question).ids
                for choice, (score, _) in zip(choices, sample["filtered_resps"], strict=True):
                    tokens = self.tokenizer.encode(f"{question} {choice}").ids
                    self.assertEqual(tokens[:len(prompt)], prompt)
                    expected = sum(self.logprob_after(tokens[:i], tokens[i]) for i in range(len(prompt), len(tokens)))
                    self.assertAlmostEqual(float(score), expected, delta=2e-3 * len(tokens))


if __name__ == "__main__":
    cases.run()
