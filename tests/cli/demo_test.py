"""scripts/demo says what it saw: a prediction that held, one that did not, or a machine that was busy."""

import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("demo", str(ROOT / "scripts/demo"))
demo = importlib.util.module_from_spec(importlib.util.spec_from_loader("demo", loader))
loader.exec_module(demo)

# A dak of a few lines; what it says of the bandwidth is in files beside it.
DAK = """#!/usr/bin/env bash
cd "$(dirname "$0")"
echo "$1" >>calls
case "$*" in
  *--json*)
    echo '{"tiers": [{"name": "local", "channel": "DRAM", "read_bytes_per_s": '$(cat after)'e9},
                     {"name": "host", "channel": "DRAM", "read_bytes_per_s": '$(cat after)'e9}]}' ;;
  plan*)
    echo "total  160 MiB"
    echo "predicted, nothing loaded, on this machine (dak probe, /a/cpu-2.json) (local $(cat planned) GB/s, host 1 GB/s):"
    echo "decode:batch=1,context=100    TPOT   10.00 ms      100.0 tokens/s   85 % of the bound: DRAM 8.5 ms" ;;
  run*) echo "1. Eat."; echo "decode      63 tokens    600.0 ms    MEASURED tokens/s  local 1 GiB" >&2
    echo "bound    20 GB/s together, 66 % of the bound: DRAM reads $(cat loaded) GB/s (measured now)" >&2; exit STATUS ;;
  *) echo "$1: a table" ;;
esac
"""


class Demo(unittest.TestCase):
    def run_demo(self, measured="105.0", planned="30.0", loaded="30.5", after="31.0", status=0):
        with tempfile.TemporaryDirectory() as folder:
            dak = pathlib.Path(folder) / "dak"
            dak.write_text(DAK.replace("MEASURED", measured).replace("STATUS", str(status)))
            dak.chmod(0o755)
            for name, rate in (("planned", planned), ("loaded", loaded), ("after", after)):
                (dak.parent / name).write_text(rate)
            done = subprocess.run([sys.executable, ROOT / "scripts/demo", dak, "model.gguf"], capture_output=True, text=True,
                                  check=False)
            self.calls = (dak.parent / "calls").read_text().split()
            return done

    def test_it_probes_before_it_plans_and_plans_before_it_runs(self):
        done = self.run_demo()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.calls, ["probe", "plan", "run", "plan"])
        self.assertIn("decode: 100.0 tokens/s predicted before loading, 105.0 measured: -4.8 %", done.stdout)
        self.assertIn("1. Eat.", done.stdout)
        self.assertIn("63 tokens", done.stderr)

    def test_a_bandwidth_that_changed_is_a_busy_machine(self):
        done = self.run_demo(after="15.0")
        self.assertIn("the machine was busy", done.stdout)
        self.assertIn("DRAM gave 30.0, 30.5 and 15.0 GB/s", done.stdout)
        for changed in ({"loaded": "25.0"}, {"planned": "36.0"}):
            self.assertIn("the machine was busy", self.run_demo(**changed).stdout)

    def test_a_failure_of_dak_is_the_demos(self):
        self.assertEqual(self.run_demo(status=3).returncode, 3)
        done = self.run_demo(measured="no")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.splitlines()[-1], "demo: dak run said no tokens/s of decode")

    def test_what_is_said_of_a_quiet_and_of_a_busy_machine(self):
        steady = {"HBM": [30.0, 31.0], "host link": [30.0, 30.5, 29.0]}
        for measured, others, rates, words in (
                (105.0, 0.01, steady, "the machine was quiet, and the prediction is within 10 %"),
                (95.0, 0.01, steady, "the machine was quiet, and the prediction is within 10 %"),
                (120.0, 0.01, steady, "the machine was quiet, and the prediction is NOT within 10 %"),
                (80.0, 0.01, steady, "the machine was quiet, and the prediction is NOT within 10 %"),
                (80.0, 0.30, steady, "the machine was busy, so this is no judgement"),
                (105.0, 0.06, steady, "the machine was busy, so this is no judgement"),
                (105.0, 0.01, {"HBM": [30.0, 30.0], "host link": [30.0, 26.0, 30.0]}, "the machine was busy")):
            self.assertIn(words, demo.verdict(100.0, measured, rates, others))

    def test_our_own_work_is_not_taken_for_that_of_others(self):
        cores = os.cpu_count()

        class Clock:
            now, busy, ours = 100.0, 1000.0, 10.0

        class Measured(demo.Processors):
            busy_seconds = staticmethod(lambda: Clock.busy)
            our_seconds = staticmethod(lambda: Clock.ours)

        with unittest.mock.patch.object(demo.time, "monotonic", lambda: Clock.now):
            processors = Measured()
            Clock.now += 10
            Clock.busy += 4 * cores
            Clock.ours += 3 * cores
            self.assertAlmostEqual(processors.others(), 0.1)
            Clock.ours += 2 * cores  # clocks of two kinds
            self.assertEqual(processors.others(), 0.0)

    def test_the_clocks_see_what_a_child_burns(self):
        burn = [sys.executable, "-c", "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"]
        processors = demo.Processors()
        subprocess.run(burn, check=True)
        self.assertGreaterEqual(processors.our_seconds() - processors.ours, 0.29)
        self.assertGreaterEqual(processors.busy_seconds() - processors.busy, 0.25)
        self.assertLessEqual(processors.others(), 1.0)


if __name__ == "__main__":
    unittest.main()
