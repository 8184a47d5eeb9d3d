"""scripts/fit_costs: the committed constants are what it makes of the committed results, its model is the program's, it
finds constants that made-up results hide, and what the constants then predict.

    fit_costs_test.py DAK
"""

import importlib.machinery
import importlib.util
import json
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DAK = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(ROOT / "scripts"))
sys.dont_write_bytecode = True
GAP_US = 3.0


def script(name):
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


fit_costs = script("fit_costs")
import cost_model  # noqa: E402  beside the script


def decode_document(costs, model, dtype, batch, ratio, kv_ratio=0.0, past=512, kind="peer"):
    """A row of `dak bench decode` that took what `costs` says, its operations timed with GAP_US between them and scaled."""
    remote = {"peer": 375.0, "host": 51.0}[kind]
    tiers = [{"name": "local", "kind": "local", "gb_s": 4600.0}, {"name": kind, "kind": kind, "gb_s": remote}]
    document = {"format": "dak bench decode 1", "machine": {"gpu": "NVIDIA H200", "tiers": tiers},
                "model": {"name": model, "layers": cost_model.model_of(model).layers, "dtype": dtype},
                "settings": {"past_tokens": past, "steps": 2, "placement": None}}
    row = {"skipped": None, "mode": "direct", "window_asked_bytes": None, "hbm_budget_bytes": None, "batch": batch,
           "offload_ratio": ratio, "kv_ratio": kv_ratio, "tpot_s": 1.0, "feedback": {"operations": []}}
    one = fit_costs.DecodeRow("2026-01-01_made-up", document, row)
    times = one.predicted(costs)
    step_s = sum(times.values())
    timed = {name: seconds + 1e-6 * GAP_US * one.model.segments()[name] for name, seconds in times.items()}
    longer = sum(timed.values()) / step_s
    row["tpot_s"] = step_s
    row["feedback"]["operations"] = [{"name": name, "measured_s": seconds / longer} for name, seconds in timed.items()]
    document["rows"] = [row]
    return document


class FitCosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.costs = json.loads(cost_model.CONSTANTS.read_text())
        cls.fit = fit_costs.Fit(fit_costs.RESULTS)
        cls.new = cls.fit.run(cls.costs)

    def test_the_committed_constants_are_what_the_committed_results_give(self):
        result = subprocess.run([sys.executable, ROOT / "scripts/fit_costs", "--check"], capture_output=True, text=True,
                                check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_every_constant_names_what_it_is_from(self):
        names = {path.name for path in (ROOT / "bench/results").glob("*.json")}
        entries = self.costs["products"] + self.costs["products_tma"] + [
            one for part in ("constants", "constants_tma") for one in self.costs[part].values()]
        for entry in entries:
            self.assertTrue(entry["from"])
            for word in entry["from"].replace(",", " ").replace(";", " ").replace(":", " ").split():
                if word.endswith(".json") and not word.startswith(".."):
                    self.assertIn(word, names)

    def test_its_model_is_the_programs(self):
        profile = fit_costs.PROFILE
        for name, dtype, batch, ratio in (("opt-30b", "f16", 8, 0.0), ("opt-30b", "f16", 32, 0.011), ("llama-3.1-70b", "bf16", 1, 0.05),
                                          ("llama-2-7b", "f16", 16, 0.4), ("opt-6.7b", "f16", 48, 1.0)):
            result = subprocess.run([DAK, "plan", f"configs/{name}", "--hardware", "h200", "--offload-ratio", str(ratio), "--json",
                                     "--workload", f"decode:batch={batch},context=600"], capture_output=True, text=True,
                                    check=False, cwd=ROOT)
            self.assertEqual(result.returncode, 0, result.stderr)
            plan = json.loads(result.stdout)
            machine = {"local": profile["tiers"][0]["read_gb_s"] * 1e9, "remote": [profile["tiers"][1]["read_gb_s"] * 1e9],
                       "sm_count": profile["sm_count"], "loss": 0.0, "flops": profile["peak_tflops"][dtype] * 1e12}
            ours = cost_model.step(self.costs, machine, cost_model.model_of(name), batch, 600, ratio)
            theirs = {one["name"]: one["seconds"] for one in plan["forecast"]["entries"][0]["operations"]}
            total = sum(theirs.values())
            self.assertLess(abs(sum(ours.values()) / total - 1), 0.005, name)
            for operation, seconds in theirs.items():
                if seconds > 0.02 * total:
                    self.assertLess(abs(ours[operation] / seconds - 1), 0.03, f"{name} {batch} {ratio} {operation}")

    def test_it_finds_the_constants_that_made_up_results_hide(self):
        hidden = json.loads(json.dumps(self.costs))
        hidden["constants"]["attention_local_share"]["value"] = 0.8
        hidden["constants"]["attention_fixed_us"]["value"] = 11.0
        hidden["constants"]["norm_us"]["value"] = 2.5
        hidden["constants"]["pass_us"]["value"] = 30.0
        hidden["constants"]["attention_run_us"]["value"] = 0.9
        for entry in hidden["products"]:
            entry.update(local_share=0.9, local_fixed_us=5.0, link_fixed_us=8.0, reader_share=0.6)
        fit = fit_costs.Fit(fit_costs.RESULTS)
        fit.split = ("made up", json.loads(json.dumps(fit.split[1])))
        machine = {"local": fit.split[1]["local_gb_s"] * 1e9, "remote": [fit.split[1]["remote_gb_s"] * 1e9], "sm_count": fit_costs.SMS,
                   "loss": 0.0, "flops": 0.0}
        for case in fit.split[1]["matmul"]:
            case["us_in_graph"] = 1e6 * cost_model.product_s(hidden, machine, case["batch"], case["local_bytes"],
                                                             [case["remote_bytes"]] if case["remote_bytes"] else [])
        made = [decode_document(hidden, model, dtype, batch, ratio)
                for model, dtype in (("opt-30b", "f16"), ("llama-3.1-70b", "bf16")) for batch in (1, 8, 32) for ratio in (0.0, 0.3)]
        fit.steps = list(fit_costs.decode_rows([("2026-01-01_made-up", one) for one in made]))
        many = decode_document(hidden, "opt-30b", "f16", 512, 0.05, kv_ratio=0.1, past=120)
        fit.many = list(fit_costs.decode_rows([("2026-01-01_many", many)]))
        found = fit.run(self.costs)
        self.assertAlmostEqual(fit.gap_us, GAP_US, delta=0.11)
        for name, one in hidden["constants"].items():
            self.assertAlmostEqual(found["constants"][name]["value"] / one["value"], 1, delta=0.06, msg=name)
        for entry, other in zip(found["products"], hidden["products"]):
            for key in ("local_share", "local_fixed_us", "link_fixed_us", "reader_share"):
                self.assertAlmostEqual(entry[key] / other[key], 1, delta=0.06, msg=f"{key}, {entry['rows']} rows")

    def test_least_squares_of_relative_errors(self):
        slope, fixed = fit_costs.least_squares([(x, 2 * x + 3) for x in (1, 10, 100)])
        self.assertAlmostEqual(slope, 2)
        self.assertAlmostEqual(fixed, 3)

    def test_a_changed_result_makes_the_constants_stale(self):
        fit = fit_costs.Fit(fit_costs.RESULTS)
        for case in fit.split[1]["matmul"]:
            case["us_in_graph"] *= 1.05
        self.assertNotEqual(fit_costs.numbers(fit.run(self.costs)), fit_costs.numbers(self.costs))


    def test_steps_and_operations_are_within_ten_per_cent(self):
        worse = []
        for one in self.fit.steps:
            predicted, measured = one.predicted(self.costs), one.measured(self.fit.gap_us)
            self.assertLess(abs(sum(predicted.values()) / one.row["tpot_s"] - 1), 0.10, f"{one.source} {one.batch}")
            for name, seconds in predicted.items():
                if measured.get(name, 0.0) < fit_costs.LEAST_SHARE * one.row["tpot_s"]:
                    continue
                off = abs(seconds / measured[name] - 1)
                if off > 0.10:
                    worse.append((name.replace("layers.*.", ""), one.batch, one.model.hidden))
        cells = sum(len(found) for found in fit_costs.errors(self.fit.steps, self.costs, self.fit.gap_us)[0].values())
        self.assertGreaterEqual(cells, 200)
        self.assertLessEqual(len(worse), 0.12 * cells, worse)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
