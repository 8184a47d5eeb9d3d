"""scripts/plot_bench.py and the table of scripts/gpu_check, on results made up for the purpose."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import pathlib
import re
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


if __name__ == "__main__":
    unittest.main()
