#!/usr/bin/env python3
"""A public load generator, NVIDIA's aiperf, against `dak serve` with a real model, and what it
reports against the server's own counts: load_test.py DAK MODEL.gguf"""

import json
import os
import pathlib
import signal
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
KEY = "test-key"
REQUESTS, PROMPT, ANSWER = 12, 48, 16
SLACK_S = 2  # between what the server and its client see, on a machine with other work


class LoadToolTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name)
        served.write_tokenizer(MODEL, cls.out / "tokenizer")
        cls.server = served.Server(DAK, MODEL, "--context", "256", "--api-key", KEY)
        cls.url = cls.server.url

    @classmethod
    def tearDownClass(cls):
        status, said = cls.server.end()
        cls.folder.cleanup()
        assert status == 0, said

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def metrics(self):
        lines = [line.rsplit(" ", 1) for line in self.get("/metrics").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def load(self, endpoint, requests, *flags):
        """The tool's summary, its records, and what the server counted meanwhile."""
        out = self.out / endpoint
        before = self.metrics()
        command = [sys.executable, "-m", "aiperf", "profile", "--url", self.url, "--api-key", KEY, "--streaming",
                   "--model", json.loads(self.get("/v1/models"))["data"][0]["id"], "--endpoint-type", endpoint,
                   "--tokenizer", self.out / "tokenizer", "--request-count", str(requests), "--num-dataset-entries",
                   str(requests), "--isl", str(PROMPT), "--osl", str(ANSWER), "--random-seed", "1",
                   "--extra-inputs", json.dumps({"ignore_eos": True, "stream_options": {"include_usage": True}}),
                   "--workers-max", "1", "--record-processors", "1", "--ui", "none", "--artifact-dir", out, *flags]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        # Its many processes import the same files: what one compiles the others need not.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        tool = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.out,
                                env=environment, start_new_session=True)
        try:
            said, _ = tool.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            os.killpg(tool.pid, signal.SIGKILL)  # its children too
            said, _ = tool.communicate()
            self.fail(said)
        self.assertEqual(tool.returncode, 0, said)
        after = self.metrics()
        summary = json.loads((out / "profile_export_aiperf.json").read_text())
        records = [json.loads(line) for line in (out / "profile_export.jsonl").read_text().splitlines()]
        return summary, records, {name: value - before.get(name, 0) for name, value in after.items()}

    def check_all_answered(self, summary, records, counted, requests, route):
        self.assertEqual(summary["request_count"]["avg"], requests)
        self.assertFalse((summary.get("error_request_count") or {}).get("avg"))
        self.assertEqual(summary["error_summary"], [])
        self.assertFalse(summary["was_cancelled"])
        self.assertEqual([record["error"] for record in records], [None] * requests)
        self.assertEqual(counted[f'dak_http_requests_total{{route="{route}",code="200"}}'], requests)
        self.assertEqual(counted['dak_requests_ended_total{how="finished"}'], requests)
        self.assertEqual(counted['dak_requests_ended_total{how="failed"}'], 0)
        self.assertEqual(counted['dak_requests_ended_total{how="cancelled"}'], 0)
        self.assertEqual(summary["total_usage_completion_tokens"]["avg"], requests * ANSWER)
        self.assertEqual(counted["dak_generated_tokens_total"], requests * ANSWER)
        self.assertEqual(counted["dak_prompt_tokens_total"], summary["total_usage_prompt_tokens"]["avg"])

    def check_times(self, records, counted):
        """The tool cannot see a token before the server has it, nor much later."""
        def mean_s(values):
            return sum(values) / len(values) / 1000
        metrics = [record["metrics"] for record in records]
        for one in metrics:
            self.assertGreater(one["time_to_first_token"]["value"], 0)
            self.assertGreater(one["inter_token_latency"]["value"], 0)
            # A token whose bytes are half a character waits for the next one's.
            self.assertLessEqual(len(one["inter_chunk_latency"]["value"]), ANSWER - 1)
            self.assertGreaterEqual(len(one["inter_chunk_latency"]["value"]), ANSWER // 2)
        for tools, servers in (("time_to_first_token", "dak_time_to_first_token_seconds"),
                               ("request_latency", "dak_request_seconds")):
            self.assertEqual(counted[servers + "_count"], len(records))
            theirs, ours = mean_s([one[tools]["value"] for one in metrics]), counted[servers + "_sum"] / len(records)
            self.assertGreater(theirs, ours - 0.001, tools)
            self.assertLess(theirs, ours + SLACK_S, tools)

    def test_completions(self):
        summary, records, counted = self.load("completions", REQUESTS, "--concurrency", "4")
        self.check_all_answered(summary, records, counted, REQUESTS, "/v1/completions")
        # Its own tokenizer and the server's agree on every prompt.
        self.assertEqual([record["metrics"]["input_sequence_length"]["value"] for record in records], [PROMPT] * REQUESTS)
        self.assertEqual(summary["total_usage_prompt_tokens"]["avg"], REQUESTS * PROMPT)
        self.check_times(records, counted)

    def test_chat(self):
        requests = REQUESTS // 2
        summary, records, counted = self.load("chat", requests, "--request-rate", "4")
        self.check_all_answered(summary, records, counted, requests, "/v1/chat/completions")
        self.assertGreater(summary["total_usage_prompt_tokens"]["avg"], requests * PROMPT)  # the template's are in it
        self.check_times(records, counted)


if __name__ == "__main__":
    cases.run()
