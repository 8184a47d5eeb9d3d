"""Committed benchmark results as scripts/paper_figures compares them with the paper: one GPU with host memory, or
with a second GPU's."""

import json
import pathlib
from collections import Counter

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ("opt-6.7b", "llama-2-7b", "opt-30b", "llama-3.1-70b")
REMOTES = {"host": "host memory over PCIe", "peer": "a second GPU's memory over NVLink"}
LEAST_SHARED = 0.2  # below, where arithmetic is the bound, sharing is not what counts
SAME_RATIO = 0.1  # relative: `uva` places whole weights, so its share differs a little


def layers_of(model):
    config = ROOT / "configs" / model / "config.json"
    return json.loads(config.read_text())["num_hidden_layers"] if config.exists() else None


def remote_of(document):
    """'host', 'peer' or, over both, 'peer' too; None without a remote tier."""
    if "machine" in document and "tiers" in document["machine"]:
        kinds = {tier["kind"] for tier in document["machine"]["tiers"][1:]}
        return "peer" if "peer" in kinds else "host" if kinds == {"host"} else None
    return document.get("remote", "host")


def run_of(document):
    """(date, commit, GPU), as `dak bench` and as the benchmarks of kernels write them."""
    machine = document["machine"]
    gpu = machine.get("gpu") or document.get("gpu", "")
    return (machine.get("date_utc") or machine["date"])[:10], machine.get("dak_commit") or machine["commit"], gpu


def share_of(row):
    """What rows of a sweep have in common: the number of tiers, and the weights' remote share to a thousandth."""
    return len(row["tiers"]), round(row["offload_ratio"], 3)


class Results:
    """All that was measured over one kind of remote tier."""

    def __init__(self, folder, remote):
        self.remote, self.used = remote, set()
        self.rows, self.workloads, self.gemms = [], [], []
        self.runs = set()  # (date, commit, GPU) of the documents
        for path in sorted(pathlib.Path(folder).glob("*.json")):
            document = json.loads(path.read_text())
            kind = str(document.get("format", ""))
            if remote_of(document) != remote:
                continue
            before = self.counts()
            if kind.startswith("dak bench decode"):
                self.rows += self.decode_rows(path.name, document)
            elif kind.startswith("dak bench workload"):
                # In slices of 64 rows prompts went before there was a GEMM. Cut models are another mix.
                if "_slices" not in path.name and document["model"]["layers"] == layers_of(document["model"]["name"]):
                    self.workloads.append((path.name, document))
            elif "offload" in document:
                self.gemms.append((path.name, document))
            if self.counts() != before:
                self.runs.add(run_of(document))

    def counts(self):
        return len(self.rows), len(self.workloads), len(self.gemms)

    def provenance(self):
        """A sentence: on what, when and of which commits; empty without results."""
        if not self.runs:
            return ""
        gpus = ", ".join(sorted({gpu for _, _, gpu in self.runs}))
        when = {}
        for date, commit, _ in sorted(self.runs):
            when.setdefault(date, []).append(commit)
        told = "; ".join(f"{date} at {', '.join(sorted(set(commits)))}" for date, commits in when.items())
        return f"Measured on {gpus}: {told}.\n"

    @staticmethod
    def decode_rows(source, document):
        """Measured rows of whole models on a GPU, with what their document says of all of them."""
        model, machine = document["model"], document["machine"]
        if model["name"] not in MODELS or model.get("layers") != layers_of(model["name"]) or not machine["gpu"]:
            return []
        shared = {"source": source, "model": model["name"], "tiers": machine["tiers"], "gpu": machine["gpu"],
                  "matched": machine["matched_ratio"], "date": machine["date_utc"]}
        # By default budgets are greedy and ratios uniform.
        policy = document["settings"].get("placement")
        return [{**row, **shared, "kv_ratio": row.get("kv_ratio") or 0.0,
                 "placement": policy or ("greedy" if row["hbm_budget_bytes"] else "uniform")}
                for row in document["rows"] if row["skipped"] is None]

    def use(self, sources):
        """Remembers which files a figure or a cell is from."""
        self.used.update(sources)

    def gpu(self):
        return self.rows[0]["gpu"] if self.rows else "H200"

    def select(self, **wanted):
        """Rows with these values; `window_asked_bytes=None` unless asked for."""
        wanted = {"window_asked_bytes": None, **wanted}
        return [row for row in self.rows if all(row[key] == value for key, value in wanted.items())]

    def sweep(self, model, batch=8):
        """Steps over the weights' remote share, KV local; of equal shares the run that has most modes there, of such runs
        the newest."""
        rows = self.select(model=model, batch=batch, kv_ratio=0.0)
        modes = Counter((row["source"], share_of(row)) for row in rows)
        best = {}
        for row in rows:
            key = (row["mode"], share_of(row))
            rank = (modes[row["source"], share_of(row)], row["date"])
            if key not in best or rank > best[key][0]:
                best[key] = (rank, row)
        return sorted((row for _, row in best.values()), key=lambda row: row["offload_ratio"])

    def pairs(self, mode, batch):
        """(direct, other) of one run with something remote: the same model, budget or asked ratio, and KV share."""
        def key(row):
            return (row["source"], row["model"], row["hbm_budget_bytes"], row["ratio_asked"], row["kv_ratio"])
        direct = {key(row): row for row in self.select(mode="direct", batch=batch)}
        for row in self.select(mode=mode, batch=batch):
            ours = direct.get(key(row))
            if ours is None or not (ours["offload_ratio"] or ours["kv_ratio"]):
                continue
            if abs(ours["offload_ratio"] - row["offload_ratio"]) <= SAME_RATIO * max(ours["offload_ratio"], 0.01):
                yield ours, row

    def windows(self):
        """Adaptive and fixed windows of one run: ((model, batch, ratio, kv ratio), adaptive row, fixed rows)."""
        groups = {}
        for row in self.rows:
            if row["mode"] == "direct":
                groups.setdefault((row["source"], row["model"], row["batch"], row["ratio_asked"], row["kv_ratio"]),
                                  []).append(row)
        for key, rows in groups.items():
            adaptive = [row for row in rows if row["window_asked_bytes"] is None]
            fixed = sorted((row for row in rows if row["window_asked_bytes"] is not None),
                           key=lambda row: row["window_asked_bytes"])
            if adaptive and fixed:
                yield key[1:], adaptive[0], fixed

    def shared_reads(self):
        """(source, weight, ratio, tokens, {way: speed against tiles that read for themselves})."""
        for source, document in self.gemms:
            cells = {}
            for row in document["offload"]:
                cells.setdefault((row["weight"], row["ratio"], row["tokens"]), {})[row["way"]] = row
            for (weight, ratio, tokens), ways in cells.items():
                alone = ways.get("no multicast")
                if alone and ratio >= LEAST_SHARED:
                    yield source, weight, ratio, tokens, {way: alone["us"] / row["us"] for way, row in ways.items()}

    def placements(self):
        """(source, what, remote share, greedy / uniform in tokens/s): mixes with prompts, then plain decode."""
        for source, document in self.workloads:
            model = document["model"]["name"]
            by_budget = {}
            for row in document["rows"]:
                if row["skipped"] is None:
                    by_budget.setdefault(row["hbm_budget_bytes"], {})[row["placement"]] = row
            for budget, rows in by_budget.items():
                if {"uniform", "greedy"} <= set(rows):
                    yield (source, f"{model}, {document['workload']}, {budget / 2 ** 30:g} GiB",
                           rows["uniform"]["offload_ratio"],
                           rows["greedy"]["tokens_per_s"] / rows["uniform"]["tokens_per_s"])
        def key(row):
            return tuple(row[name] for name in ("model", "batch", "hbm_budget_bytes", "ratio_asked", "kv_ratio",
                                                "past_tokens"))
        direct = [row for row in self.select(mode="direct") if row["offload_ratio"] or row["kv_ratio"]]
        uniform = {key(row): row for row in direct if row["placement"] == "uniform"}
        for row in direct:
            other = uniform.get(key(row))
            if row["placement"] == "greedy" and other and other["date"][:10] == row["date"][:10]:
                yield (row["source"], f"{row['model']}, decode of {row['batch']}", row["offload_ratio"],
                       row["tokens_per_s"] / other["tokens_per_s"])
