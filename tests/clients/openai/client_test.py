#!/usr/bin/env python3
"""OpenAI's own client against `dak serve` with a real model: client_test.py DAK MODEL.gguf"""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request

import openai

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS / "clients"), str(TESTS / "support")]
sys.dont_write_bytecode = True
import cases  # pylint: disable=wrong-import-position
import served  # pylint: disable=wrong-import-position

DAK, MODEL = sys.argv[1], sys.argv[2]
KEY = "test-key"
MESSAGES = [{"role": "user", "content": "Count from one to ten."}]


class Server(served.Server):
    def __init__(self, *flags):
        super().__init__(DAK, MODEL, "--context", "512", "--api-key", KEY, *flags)
        self.client = openai.OpenAI(base_url=self.url + "/v1", api_key=KEY, max_retries=0, timeout=60)

    def state(self):
        request = urllib.request.Request(self.url + "/state", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class OpenAiClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = cls.server.client
        cls.model = cls.client.models.list().data[0].id

    @classmethod
    def tearDownClass(cls):
        status, said = cls.server.end()
        assert status == 0, said

    def chat(self, **fields):
        fields = {"model": self.model, "messages": MESSAGES, "max_completion_tokens": 12,
                  "temperature": 0, **fields}
        return self.client.chat.completions.create(**fields)

    def test_whole_and_streamed_are_the_same(self):
        whole = self.chat(seed=1, temperature=0.8, n=2)
        self.assertEqual(whole.usage.completion_tokens, 24)
        texts, usage = ["", ""], None
        for chunk in self.chat(seed=1, temperature=0.8, n=2, stream=True,
                               stream_options={"include_usage": True}):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
            usage = chunk.usage or usage
        self.assertEqual(texts, [choice.message.content for choice in whole.choices])
        self.assertEqual(usage.completion_tokens, 24)
        self.assertNotEqual(texts[0], texts[1])
        self.assertEqual(whole.choices[0].finish_reason, "length")

    def test_the_answer_of_dak_run(self):
        run = subprocess.run([DAK, "run", MODEL, "--device", "cpu", "--context", "512", "-n", "12",
                              "-p", MESSAGES[0]["content"]], capture_output=True, text=True, check=True)
        self.assertEqual(self.chat().choices[0].message.content, run.stdout[:-1])

    def test_a_conversation_reuses_its_cache(self):
        long = [{"role": "user", "content": "Remember these words: " + "apple pear plum " * 40}]
        first = self.chat(messages=long)
        again = long + [{"role": "assistant", "content": first.choices[0].message.content},
                        {"role": "user", "content": "Which?"}]
        second = self.chat(messages=again)
        self.assertGreaterEqual(second.usage.prompt_tokens_details.cached_tokens, 64)

    def test_logprobs_and_stop(self):
        answer = self.chat(logprobs=True, top_logprobs=3)
        content = answer.choices[0].logprobs.content
        self.assertEqual("".join(one.token for one in content), answer.choices[0].message.content)
        for one in content:
            # Greedy: the chosen token is the most likely.
            self.assertEqual(one.top_logprobs[0].token, one.token)
            self.assertEqual(len(one.top_logprobs), 3)
            self.assertLessEqual(one.logprob, 0)
        whole = answer.choices[0].message.content
        cut = self.chat(stop=[whole[6:9]])
        self.assertEqual(cut.choices[0].message.content, whole[:whole.index(whole[6:9])])
        self.assertEqual(cut.choices[0].finish_reason, "stop")

    def test_completions(self):
        answer = self.client.completions.create(model=self.model, prompt=["The capital of France is", "Two and two are"],
                                                max_tokens=3, temperature=0, logprobs=1, echo=False)
        self.assertIn("Paris", answer.choices[0].text)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1])
        self.assertEqual(len(answer.choices[1].logprobs.tokens), 3)

    def test_a_schema_is_kept(self):
        schema = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"],
                  "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
                                 "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2}}}
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
        ask = [{"role": "user", "content": "Describe a person as JSON."}]
        for seed in range(3):
            answer = self.chat(messages=ask, response_format=form, max_completion_tokens=200, seed=seed,
                               temperature=1.0)
            if answer.choices[0].finish_reason == "length":
                continue
            person = json.loads(answer.choices[0].message.content)
            self.assertEqual(list(person), ["name", "age", "tags"])
            self.assertIsInstance(person["age"], int)
            self.assertLessEqual(set(person["tags"]), {"a", "b"})
        loose = self.chat(messages=ask, response_format={"type": "json_object"}, max_completion_tokens=8)
        self.assertEqual(loose.choices[0].message.content[0], "{")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(response_format={"type": "json_schema", "json_schema": {
                "name": "x", "schema": {"not": {}}}})
        self.assertEqual(caught.exception.param, "response_format.json_schema.schema")

    def test_bench_serve_says_what_it_measured(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "load.json"
            subprocess.run([DAK, "bench", "serve", "--port", self.server.url.rsplit(":", 1)[1], "--api-key", KEY,
                            "--rate", "10,20", "--requests", "4", "--prompt-tokens", "8-16", "--output-tokens", "4",
                            "--slo-ttft", "60", "--output", out], capture_output=True, check=True)
            text = out.read_text()
        said = json.loads(text)
        self.assertEqual(said["server"]["model"], self.model)
        self.assertEqual(said["server"]["context"], 512)
        self.assertGreater(said["server"]["tiers"][0]["weight_bytes"], 0)
        self.assertTrue(said["machine"]["cpu"])
        self.assertIn("--api-key KEY --rate 10,20", said["command"])
        self.assertNotIn(KEY, text)
        self.assertEqual([(row["rate_per_s"], row["answers"], row["errors"]) for row in said["rows"]],
                         [(10, 4, 0), (20, 4, 0)])
        for row in said["rows"]:
            self.assertEqual(row["goodput_per_s"], row["answers_per_s"])
            self.assertGreater(row["ttft_ms"]["p50"], 0)
            self.assertGreaterEqual(row["itl_ms"]["p99"], row["itl_ms"]["p50"])

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(openai.NotFoundError):
            self.chat(model="another")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(temperature=3)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(messages=[{"role": "user", "content": "word " * 2000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.AuthenticationError):
            openai.OpenAI(base_url=self.server.url + "/v1", api_key="wrong").models.list()

    def test_a_stream_that_is_closed_is_cancelled(self):
        before = self.server.state()["requests"]["cancelled"]
        with self.chat(stream=True, max_completion_tokens=400) as stream:
            next(iter(stream))
        for _ in range(200):
            state = self.server.state()
            if state["requests"]["cancelled"] == before + 1 and state["running"] == 0:
                break
            threading.Event().wait(0.05)
        self.assertEqual(state["requests"]["cancelled"], before + 1)
        self.assertEqual(state["running"], 0)

    def test_side_by_side_as_alone(self):
        prompts = [f"Write about the number {i}." for i in range(6)]
        alone = [self.chat(messages=[{"role": "user", "content": p}]).choices[0].message.content for p in prompts]
        together = [None] * len(prompts)

        def ask(i):
            together[i] = self.chat(messages=[{"role": "user", "content": prompts[i]}]).choices[0].message.content

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(together, alone)


class DrainTest(unittest.TestCase):
    def test_answers_end_before_the_server_does(self):
        server = Server()
        stream = server.client.chat.completions.create(
            model=server.client.models.list().data[0].id, messages=MESSAGES, max_completion_tokens=60,
            stream=True, temperature=0, extra_body={"ignore_eos": True})
        next(iter(stream))
        server.process.send_signal(signal.SIGTERM)
        reasons = [choice.finish_reason for chunk in stream for choice in chunk.choices]
        self.assertEqual(reasons[-1], "length")
        _, said = server.process.communicate(timeout=30)
        self.assertEqual(server.process.returncode, 0, said)

    def test_a_second_signal_ends_at_once(self):
        server = Server()
        stream = server.client.chat.completions.create(
            model=server.client.models.list().data[0].id, messages=MESSAGES, max_completion_tokens=450,
            stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        server.process.send_signal(signal.SIGINT)
        server.process.stderr.readline()
        server.process.send_signal(signal.SIGINT)
        server.process.communicate(timeout=10)
        self.assertEqual(server.process.returncode, 128 + signal.SIGINT)


if __name__ == "__main__":
    cases.run()
