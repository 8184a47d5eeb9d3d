"""What scripts/gpu_check and scripts/paper_check share: the machine's facts, runs within a time limit, tables."""

import datetime
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(sys.argv[0]).name


def fail(message):
    sys.exit(f"{PROGRAM}: {message}")


def find(build, name, required=True):
    """The binary `name` anywhere below `build`."""
    found = sorted(path for path in build.rglob(name) if path.is_file())
    if found:
        return found[0]
    if required:
        fail(f"{build}: no {name}; build it first (make build) and carry it")
    print(f"{PROGRAM}: {build}: no {name}: left out")
    return None


def query(fields):
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"nvidia-smi failed: {error}")


def facts(build):
    commit = build / "commit"
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit.read_text().strip() if commit.exists() else "unknown",
        "gpus": query("name,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current"),
    }


class Check:
    """Runs commands within the time there is; remembers what failed and what was left out."""

    def __init__(self, seconds):
        self.start, self.seconds = time.monotonic(), seconds
        self.failed, self.left_out = [], []

    def seconds_left(self):
        return self.seconds - (time.monotonic() - self.start)

    def run(self, name, command, expected_s=1, result=None, limit_s=None):
        """Passed: exit code 0 or, where `result` is given, that file written. `limit_s`: of this run alone."""
        if self.seconds_left() < expected_s:
            self.left_out.append(name)
            return
        print(f"== {name}", flush=True)
        began = time.monotonic()
        env = {**os.environ, "DAK_TEST_DATA": str(ROOT / "tests/data")}
        try:
            code = subprocess.run(command, check=False, cwd=ROOT, env=env,
                                  timeout=min(limit_s or self.seconds, self.seconds_left())).returncode
        except subprocess.TimeoutExpired:
            code = "out of time"
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
        if code != 0 and not (result and result.exists()):
            self.failed.append(f"{name} ({code})")

    def summary(self):
        """Lines for the end: what was left out, and whether all passed."""
        lines = [f"left out, more than {self.seconds} s in all: {', '.join(self.left_out)}"] if self.left_out else []
        result = f"FAILED: {', '.join(self.failed)}" if self.failed else "passed"
        return [*lines, f"{self.seconds - self.seconds_left():.0f} s; tests and verification: {result}"]


def window_text(document, row):
    """Of the first remote tier whose link kernels read."""
    kind = "adaptive" if row["window_asked_bytes"] is None else "fixed"
    for tier in document["machine"]["tiers"][1:]:
        used = row.get(f"window_bytes_{tier['name'].replace(':', '_')}")
        if used is not None:
            return f"{used / 1024:.0f} {kind}"
    return "-"


def print_decode(document):
    machine = document["machine"]
    rates = ", ".join(f"{tier['name']} {tier['gb_s']:.1f} GB/s" for tier in machine["tiers"])
    print(f"\n{document['model']['name']} on {machine['gpu']}: {rates} (probed in this run)")
    print(f"{'mode':>8} {'batch':>5} {'remote %':>8} {'TPOT ms':>8} {'tokens/s':>9} {'EB GB/s':>8} "
          f"{'% bound':>7} {'window KiB':>14}  bound by")
    for row in document["rows"]:
        if row["skipped"] is not None:
            print(f"{row['mode']:>8} {row['batch']:>5}  not run: {row['skipped']}")
            continue
        print(f"{row['mode']:>8} {row['batch']:>5} {100 * row['offload_ratio']:>8.2f} "
              f"{1e3 * row['tpot_s']:>8.3f} {row['tokens_per_s']:>9.1f} {row['eb_gb_s']:>8.0f} "
              f"{row['percent_of_bound']:>7.1f} {window_text(document, row):>14}  {row['bound_by']}")
