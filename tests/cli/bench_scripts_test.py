"""scripts/plot_bench.py, paper_check, paper_figures and the table of scripts/gpu_check, on results made up for the
purpose; and that the figures in docs/ are those of the committed results."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/bench"
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True
SVG = "{http://www.w3.org/2000/svg}"


def script(name):
    """A script of scripts/ as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def plot(out, *files):
    command = [sys.executable, ROOT / "scripts/plot_bench.py", "--out", out, *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def marks(svg, label):
    """The points of a series, by the start of what a browser shows on hover."""
    return [element for element in svg.iter()
            if element.get("class", "").startswith("point") and element[0].text.startswith(label)]


class PlotBench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name) / "plots"
        result = plot(cls.out, DATA / "decode.json", DATA / "split_matmul.json", DATA / "serve.json")
        assert result.returncode == 0, result.stderr

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def read(self, name):
        return ElementTree.parse(self.out / name).getroot()

    def test_throughput_has_every_measured_point(self):
        svg = self.read("throughput_vs_ratio_test-30b.svg")
        # Two batches; one prefetch cell of each was skipped; fixed windows are another plot's.
        self.assertEqual(len(marks(svg, "direct")), 8)
        self.assertEqual(len(marks(svg, "prefetch")), 6)
        self.assertEqual(len(marks(svg, "resident")), 2)
        self.assertEqual(len(marks(svg, "uva")), 0)

    def test_no_point_is_above_the_bound(self):
        svg = self.read("throughput_vs_ratio_test-30b.svg")
        bounds = [element for element in svg.iter(SVG + "polyline") if element.get("class") == "bound"]
        self.assertEqual(len(bounds), 2)
        line = [tuple(map(float, point.split(","))) for point in bounds[0].get("points").split()]
        for mark in marks(svg, "direct")[:4]:
            x, y = float(mark.get("cx")), float(mark.get("cy"))
            nearest = min(line, key=lambda point: abs(point[0] - x))
            self.assertGreaterEqual(y, nearest[1] - 0.5)  # y grows downwards

    def test_more_remote_is_right_and_slower_is_below(self):
        points = marks(self.read("throughput_vs_ratio_test-30b.svg"), "direct")[1:4]
        self.assertEqual(points, sorted(points, key=lambda mark: float(mark.get("cx"))))
        self.assertEqual(points, sorted(points, key=lambda mark: float(mark.get("cy"))))

    def test_window_sweep_of_both_kinds_of_file(self):
        svg = self.read("hbm_vs_window.svg")
        self.assertEqual(len(marks(svg, "HBM, fixed")), 2 + 3)
        self.assertEqual(len(marks(svg, "link, fixed")), 2 + 3)
        self.assertEqual(len(marks(svg, "HBM, adaptive")), 2)
        collapsed = marks(svg, "HBM, fixed")[-1]
        self.assertEqual(collapsed[0].text, "HBM, fixed: 10 %")

    def test_windows_where_the_link_is_the_bound_say_nothing_of_hbm(self):
        document = json.loads((DATA / "decode.json").read_text())
        for row in document["rows"]:
            if row["window_asked_bytes"] is not None or row["ratio_asked"] == 0.0125:
                row.update(ratio_asked=0.2, offload_ratio=0.2)
        path = pathlib.Path(self.folder.name) / "remote.json"
        path.write_text(json.dumps(document))
        out = pathlib.Path(self.folder.name) / "remote"
        self.assertEqual(plot(out, path).returncode, 0)
        self.assertFalse((out / "hbm_vs_window.svg").exists())

    def test_a_server_under_more_and_more_load(self):
        svg = self.read("serve_test-30b.svg")
        # The rate at which nothing was answered has no point.
        for label in ("TTFT p50", "TTFT p90", "TTFT p99", "TPOT p50", "TPOT p99", "ITL p50", "ITL p99", "answers"):
            self.assertEqual(len(marks(svg, label)), 5, label)
        ttft = marks(svg, "TTFT p50")
        self.assertEqual(ttft, sorted(ttft, key=lambda mark: float(mark.get("cx"))))
        self.assertEqual(ttft, sorted(ttft, key=lambda mark: -float(mark.get("cy"))))  # later and later
        self.assertEqual(ttft[3][0].text, "TTFT p50: 4000 ms")
        # What is good is at most what is answered; none at all is no point on a logarithmic axis.
        good = marks(svg, "goodput")
        self.assertEqual(len(good), 4)
        for one, other in zip(good, marks(svg, "answers")):
            self.assertEqual(one.get("cx"), other.get("cx"))
            self.assertGreaterEqual(float(one.get("cy")), float(other.get("cy")))
        bounds = [element for element in svg.iter(SVG + "polyline") if element.get("class") == "bound"]
        self.assertEqual(len(bounds), 1)
        self.assertIn("good within TTFT 500 ms, TPOT 50 ms", (self.out / "serve_test-30b.svg").read_text())

    def test_axes_are_named_and_colours_follow_the_page(self):
        for name in ("throughput_vs_ratio_test-30b.svg", "hbm_vs_window.svg", "serve_test-30b.svg"):
            text = (self.out / name).read_text()
            self.assertIn("prefers-color-scheme: dark", text)
            self.assertTrue("tokens/s" in text or "KiB" in text or "answers/s" in text)
            self.assertIsNone(re.search(r"@import|url\(|href", text), "something from outside")
            self.assertNotIn("nan", text)

    def test_committed_results_can_be_plotted(self):
        files = sorted((ROOT / "bench/results").glob("*split_matmul.json"))
        self.assertTrue(files)
        out = pathlib.Path(self.folder.name) / "committed"
        result = plot(out, *files)
        self.assertEqual(result.returncode, 0, result.stderr)
        svg = ElementTree.parse(out / "hbm_vs_window.svg").getroot()
        self.assertGreaterEqual(len(marks(svg, "HBM, fixed")), 15 * len(files))

    def test_bad_input_is_one_line(self):
        bad = pathlib.Path(self.folder.name) / "bad.json"
        for text in ("{", "{}"):
            bad.write_text(text)
            result = plot(self.out, bad)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            self.assertIn("bad.json", result.stderr)


class GpuCheck(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.module = script("gpu_check")
        cls.decode = json.loads((DATA / "decode.json").read_text())
        cls.split = json.loads((DATA / "split_matmul.json").read_text())
        offload = {"weight": "qkv", "tokens": 512, "ratio": 0.05, "way": "ring", "bound_by": "compute",
                   "percent_of_bound": 97.0, "amplification": 1.0}
        cls.kernels = {
            "attention": {"attention": [{"shape": "mha", "sequences": 1, "tokens": 1024, "ratio": 0.2,
                                         "percent_of_bound": 98.5}]},
            "gemm": {"resident": [{"weight": "qkv", "tokens": 512, "percent_of_cublaslt": 91.0}],
                     "offload": [offload, {**offload, "bound_by": "link", "amplification": 1.25},
                                 {**offload, "way": "no multicast", "amplification": 2.0}]}}

        cls.prefill = {"model": "test-30b", "rows": [
            {"mode": "direct", "prompt_tokens": 2048, "offload_ratio": 0.3, "passes": 2, "ttft_s": 0.1,
             "percent_of_bound": 87.5, "read_amplification": 1.0, "bound_by": "host link"},
            {"mode": "direct", "prompt_tokens": 512, "offload_ratio": 0.0, "passes": 1, "ttft_s": 0.02,
             "percent_of_bound": 61.0, "read_amplification": None, "bound_by": "compute"}]}

    def figures(self):
        return self.module.figures([self.split], self.kernels, [self.decode], [self.prefill])

    def test_fixed_windows_and_skipped_cells_do_not_count(self):
        steps = [value for name, _, value in self.figures() if name.startswith("decode step")]
        self.assertEqual([round(value) for value in steps], [95] * 8)

    def test_window_sweep_gives_the_hbm_kept(self):
        kept = [value for name, _, value in self.figures() if name.startswith("HBM kept")]
        self.assertEqual(kept, [100 * 3995 / 4000])

    def test_matched_rows_give_eb(self):
        row = next(row for row in self.decode["rows"] if row["ratio_asked"] == 0.0125)
        decode = {**self.decode, "machine": {**self.decode["machine"], "matched_ratio": 0.0125}}
        figures = self.module.figures([], {}, [decode], [])
        self.assertIn(row["eb_percent_of_sum"], [value for name, _, value in figures if name.startswith("EB")])

    def test_prefetch_is_compared_at_the_same_budget(self):
        rows = [{**row, "ratio_asked": None, "hbm_budget_bytes": 45 << 30}
                for row in self.decode["rows"] if row["ratio_asked"] == 0.05 and row["window_asked_bytes"] is None]
        ratios = [value for _, value in self.module.prefetch_comparisons([{**self.decode, "rows": rows}])]
        self.assertEqual([round(value, 4) for value in ratios], [1.1875] * 2)
        self.assertEqual(list(self.module.prefetch_comparisons([self.decode])), [])

    def test_kernels_alone(self):
        found = {}
        for name, _, value in self.module.figures([], self.kernels, [], []):
            found.setdefault(name, []).append(value)
        self.assertEqual(found, {"attention, % of the bound": [98.5],
                                 "GEMM, nothing remote, % of cuBLASLt": [91.0],
                                 "GEMM, compute-bound with a part remote, % of nothing remote": [97.0],
                                 "GEMM, bytes read over the link / bytes there": [1.0, 1.25]})
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.module.print_targets(self.module.figures([], self.kernels, [], []))
        self.assertIn("1.25     1 of 2", out.getvalue())  # at most, so the worst is the largest

    def test_prompts(self):
        found = [value for name, _, value in self.figures() if name.startswith("prefill")]
        self.assertEqual(found, [87.5, 61.0])
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.module.print_prefill(self.prefill)
        self.assertRegex(out.getvalue(), r"2048 +30.00 +2 +100.0 +87.5 +1.000  host link")
        self.assertRegex(out.getvalue(), r"512 +0.00 +1 +20.0 +61.0 +-  compute")

    def test_what_is_not_measured_is_said(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.module.print_decode(self.decode)
            self.module.print_targets(self.figures())
        self.assertIn("not measured", out.getvalue())
        self.assertIn("not run: the buffers do not fit", out.getvalue())
        self.assertEqual(len([line for line in out.getvalue().splitlines() if "target" in line]), 1)


class PaperFigures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.module = script("paper_figures")
        cls.claims = cls.module.paper_claims

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, folder, out):
        with contextlib.redirect_stdout(io.StringIO()):
            self.module.write_all(folder, out)
        return (out / "paper.md").read_text()

    def sweep(self, tiers, rows):
        """A `dak bench` document: OPT-30B with the named remote tiers; rows of (mode, ratio, tokens/s)."""
        document = json.loads((DATA / "decode.json").read_text())
        document["model"] = {"name": "opt-30b", "layers": 48}
        local = {"name": "local", "kind": "local", "channel": "HBM", "gb_s": 4500.0}
        remote = [{"name": name, "kind": name.split(":")[0], "channel": name, "gb_s": 375.0} for name in tiers]
        document["machine"].update(gpu="NVIDIA H200", tiers=[local, *remote], matched_ratio=0.07, dak_commit="0",
                                   date_utc="2026-01-01T00:00:00Z")
        document["rows"] = [{"mode": mode, "batch": 8, "ratio_asked": ratio, "offload_ratio": ratio, "skipped": None,
                             "hbm_budget_bytes": None, "window_asked_bytes": None, "kv_ratio": 0.0, "past_tokens": 512,
                             "tokens_per_s": speed, "percent_of_bound": 90.0, "tpot_s": 8 / speed, "eb_gb_s": 60 * speed / 8,
                             "eb_percent_of_sum": 80.0, "weight_bytes": 60e9, "bytes_local": 60e9, "kv_bytes_local": 0}
                            for mode, ratio, speed in rows]
        return document

    def test_docs_are_what_the_committed_results_give(self):
        result = subprocess.run([sys.executable, ROOT / "scripts/paper_figures", "--check"], capture_output=True,
                                text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn(self.claims.NO_REASON, (ROOT / "docs/paper.md").read_text())
        plot(self.folder)
        drawn = sorted(self.folder.glob("*.svg"))
        self.assertTrue(drawn)
        for path in drawn:
            self.assertEqual(path.read_text(), (ROOT / "docs/plots" / path.name).read_text(),
                             f"{path.name} is stale: run scripts/plot_bench.py")

    def test_a_changed_result_makes_them_stale(self):
        results = self.folder / "results"
        shutil.copytree(ROOT / "bench/results", results)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(self.module.stale(results, ROOT / "docs"), [])
            for path in results.glob("*decode_opt-30b_direct.json"):
                document = json.loads(path.read_text())
                for row in document["rows"]:
                    row["eb_gb_s"] *= 0.99
                path.write_text(json.dumps(document))
            self.assertIn("paper/eb_host.svg", self.module.stale(results, ROOT / "docs"))

    def test_without_results_nothing_is_claimed(self):
        text = self.write(self.folder, self.folder / "docs")
        self.assertNotIn("reproduced |", text)
        self.assertEqual(len(re.findall(r"\| not run: needs two GPUs \| - \|", text)), 9)
        self.assertEqual(list((self.folder / "docs").rglob("*.svg")), [])

    def test_a_run_over_a_peer_fills_its_table_alone(self):
        rows = [("direct", 0.07, 560.0), ("direct", 0.1, 440.0), ("prefetch", 0.07, 200.0), ("prefetch", 0.1, 100.0),
                ("resident", 0.0, 570.0)]
        (self.folder / "a.json").write_text(json.dumps(self.sweep(["peer:1"], rows)))
        host, peer = self.write(self.folder, self.folder / "docs").split("## ")[1:]
        self.assertNotIn("reproduced |", host)
        self.assertIn("| 3,300 GB/s | reproduced |", peer)
        self.assertIn("| 80 to 80 % of HBM + link (1 run) | not reproduced |", peer)
        self.assertIn("| 2.80 to 4.40 times (2 pairs) | exceeded |", peer)  # of 2 to 4
        self.assertIn("| 10.0 | 18.2 | 3300 | 90 | 440.0 | 100.0 |  |", peer)
        svg = ElementTree.parse(self.folder / "docs/paper/speedup_peer.svg").getroot()
        self.assertEqual([mark[0].text for mark in marks(svg, "direct / prefetch")],
                         ["direct / prefetch: 2.8 times", "direct / prefetch: 4.4 times"])
        self.assertEqual(len(marks(ElementTree.parse(self.folder / "docs/paper/eb_peer.svg").getroot(), "direct")), 2)

    def test_pairs_are_of_one_run_and_the_same_share(self):
        (self.folder / "a.json").write_text(json.dumps(self.sweep(["host"], [("direct", 0.2, 30.0)])))
        (self.folder / "b.json").write_text(json.dumps(self.sweep(["host"], [("prefetch", 0.2, 10.0)])))
        moved = self.sweep(["host"], [("direct", 0.1, 30.0), ("uva", 0.1, 10.0)])
        moved["rows"][1]["offload_ratio"] = 0.15
        (self.folder / "c.json").write_text(json.dumps(moved))
        text = self.write(self.folder, self.folder / "docs")
        self.assertNotIn("pair)", text)
        self.assertIn("| 20.0 | 266.7 | 225 | 90 | 30.0 |  |  |", text)

    def test_of_equal_shares_the_run_with_most_modes_stays_in_the_table(self):
        rows = [("direct", 0.2, 30.0), ("prefetch", 0.2, 20.0), ("direct", 0.4, 15.0)]
        (self.folder / "a.json").write_text(json.dumps(self.sweep(["host"], rows)))
        newer = self.sweep(["host"], [("direct", 0.2, 31.0), ("direct", 0.4, 16.0)])
        newer["machine"].update(date_utc="2026-02-01T00:00:00Z", dak_commit="1")
        (self.folder / "b.json").write_text(json.dumps(newer))
        text = self.write(self.folder, self.folder / "docs")
        self.assertIn("| 20.0 | 266.7 | 225 | 90 | 30.0 | 20.0 |  |", text)
        self.assertIn("| 40.0 | 500.0 | 120 | 90 | 16.0 |  |  |", text)
        self.assertIn("Measured on NVIDIA H200: 2026-01-01 at 0; 2026-02-01 at 1.", text)

    def test_a_cut_model_is_not_the_model(self):
        document = self.sweep(["host"], [("direct", 0.1, 440.0)])
        document["model"]["layers"] = 4
        (self.folder / "a.json").write_text(json.dumps(document))
        self.assertNotIn("3,300 GB/s |", self.write(self.folder, self.folder / "docs").replace("| 3,300 GB/s of", ""))


class PaperCheck(unittest.TestCase):
    def run_check(self, *args, gpus=1, seconds=900):
        """With an nvidia-smi and a dak of a few lines."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"
        build = pathlib.Path(folder.name) / "build"
        build.mkdir()
        for name, text in (("nvidia-smi", "for i in $(seq {gpus}); do echo H200; done".format(gpus=gpus)),
                           ("dak", f'[[ $* == *llama-2-7b* ]] && exit 1; while [[ $1 != --output ]]; do shift; done; '
                                   f'cp {DATA / "decode.json"} "$2"')):
            (build / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
            (build / name).chmod(0o755)
        return subprocess.run([sys.executable, ROOT / "scripts/paper_check", build, self.out, "--seconds", str(seconds),
                               *args], capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": f"{build}:{os.environ['PATH']}"})

    def test_one_gpu_means_host_memory_and_a_failure_stops_no_other(self):
        result = self.run_check("--parts", "decode_llama-2-7b_sweep,decode_opt-6.7b_sweep,decode_opt-30b_sweep",
                                seconds=100)
        self.assertEqual(result.returncode, 1)
        self.assertEqual([path.name for path in self.out.iterdir()], ["decode_opt-6.7b_sweep_host.json"])
        self.assertIn("FAILED: decode_llama-2-7b_sweep (1)", result.stdout)
        self.assertIn("left out, more than 100 s in all: decode_opt-30b_sweep", result.stdout)
        self.assertIn("dak_bench_gemm: left out", result.stdout)

    def test_two_gpus_mean_a_peer(self):
        result = self.run_check("--parts", "decode_opt-30b_three-tiers", gpus=2)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual([path.name for path in self.out.iterdir()], ["decode_opt-30b_three-tiers_peer-1.json"])

    def test_what_cannot_be_is_one_line(self):
        for args in (("--tiers", "peer:1"), ("--tiers", "disk"), ("--parts", "decode")):
            result = self.run_check(*args)
            self.assertEqual(result.returncode, 1)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_the_tiers_reach_the_commands(self):
        commands = self.run_check("--list", "--tiers", "peer:1").stdout.splitlines()
        self.assertEqual(len([line for line in commands if "--tiers local,peer:1" in line]), len(commands) - 1)
        self.assertEqual(len([line for line in commands if "local,peer:1,host" in line]), 1)
        self.assertIn("dak_bench_gemm --remote peer", commands[-1])
        self.assertEqual(len([line for line in commands if "--window 1MiB,4MiB,8MiB,adaptive" in line]), 2)
        host = self.run_check("--list").stdout
        self.assertNotIn("peer", host)
        self.assertEqual(host.count("--window 256KiB,1MiB,4MiB,adaptive"), 2)


if __name__ == "__main__":
    unittest.main()
