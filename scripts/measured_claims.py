"""The tables of README.md and STATUS.md that hold measured numbers; scripts/measurements puts them in."""

import importlib.machinery
import importlib.util
import pathlib

from measurement_tables import number, table

GIB = 2 ** 30


def script(name):
    """scripts/NAME as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(pathlib.Path(__file__).resolve().parent / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


gpu_check = script("gpu_check")


def link(document):
    return f"[{document.machine}, {document.date}](bench/results/{document.name})"


def commit_of(document):
    machine = document.json.get("machine", {})
    return machine.get("dak_commit") or machine.get("commit") or "?"


def decode_rows(found, machine, **wanted):
    """(document, row), newest document first, of measured rows with these values and an adaptive window."""
    for document in sorted(found, key=lambda one: one.date, reverse=True):
        if document.machine != machine or not str(document.json.get("format", "")).startswith("dak bench decode"):
            continue
        for row in document.json["rows"]:
            facts = {**row, "model": document.json["model"]["name"], "kv_ratio": row.get("kv_ratio") or 0.0,
                     "matched": row["ratio_asked"] == document.json["machine"]["matched_ratio"]}
            if row["skipped"] is None and row["window_asked_bytes"] is None and \
                    all(facts[key] == value for key, value in wanted.items()):
                yield document, row


def beside(document, row, mode):
    """The row of another mode in the same file that direct's row is compared with, or None."""
    for other in document.json["rows"]:
        if other["mode"] == mode and other["skipped"] is None and all(
                other.get(key) == row.get(key) for key in ("batch", "hbm_budget_bytes", "ratio_asked", "window_asked_bytes")):
            return other
    return None


def with_prefetch(rows):
    """The newest of `rows` whose file has mode `prefetch` too; else the newest."""
    rows = list(rows)
    return next(((document, row) for document, row in rows if beside(document, row, "prefetch")), rows[0] if rows else None)


STEPS = (
    ("OPT-30B, all in HBM, 8 sequences", {"model": "opt-30b", "batch": 8, "ratio_asked": 0.0, "hbm_budget_bytes": None}),
    ("the same, {share:.1f} % of the weights in host memory (both memories are busy all the time)",
     {"model": "opt-30b", "batch": 8, "matched": True}),
    ("the same, {share:.0f} % in host memory", {"model": "opt-30b", "batch": 8, "ratio_asked": 0.1}),
    ("the same, {share:.1f} % in a second GPU's memory over NVLink", {"model": "opt-30b", "batch": 8, "matched": True,
                                                                      "machine": "h200-peer"}),
    ("Llama-3.1-70B in 80 GiB of HBM, {share:.0f} % in host memory, 8 sequences",
     {"model": "llama-3.1-70b", "batch": 8, "hbm_budget_bytes": 80 * GIB}),
    ("Llama-3.1-8B's shape with {past:,.0f} tokens of context in 80 GiB, {kv:.0f} % of the KV cache in host memory",
     {"model": "llama-3.1-8b-1m", "batch": 1}),
)


def speeds(found):
    """README: what decode reaches on an H200."""
    rows = []
    for label, wanted in STEPS:
        wanted = {"machine": "h200-host", "mode": "direct", **wanted}
        if "1m" not in wanted["model"]:
            wanted["kv_ratio"] = 0.0
        measured = with_prefetch(decode_rows(found, **wanted))
        if not measured:
            rows.append([label.split("{")[0], "not measured", "", "", "", ""])
            continue
        document, row = measured
        label = label.format(share=100 * row["offload_ratio"], past=row["past_tokens"],
                             kv=100 * (row.get("kv_ratio") or 0))
        copied = beside(document, row, "prefetch")
        rows.append([label, number(row["tokens_per_s"]), number(row["percent_of_bound"]), row["bound_by"],
                     number(copied["tokens_per_s"]) if copied else "", link(document)])
    return table(["decode", "tokens/s", "% of the bound", "the bound is", "copied ahead (`prefetch`), tokens/s", "result"],
                 rows)


def prompts(found):
    """README: the time to the first token."""
    document = max((one for one in found if one.machine == "h200-host" and one.what == "prefill_llama-8b"),
                   key=lambda one: one.date, default=None)
    if document is None:
        return "not measured\n"
    rows = [[f"{row['prompt_tokens']:,}", f"{100 * row['offload_ratio']:.0f} %", number(1e3 * row["ttft_s"]),
             number(row["percent_of_bound"]), row["bound_by"], link(document)]
            for row in document.json["rows"] if row["prompt_tokens"] in (2048, 8192)]
    return table(["prompt of Llama-3.1-8B, tokens", "in host memory", "first token, ms", "% of the bound", "the bound is",
                  "result"], rows)


def figures_of(document):
    """(target's name, what, value) of one file, as scripts/gpu_check judges it."""
    data, none = document.json, {}
    if document.page == "decode":
        return gpu_check.figures([], none, [data], [])
    if "matmul" in data:
        return gpu_check.figures([data], none, [], [])
    if str(data.get("format", "")).startswith("dak bench prefill"):
        return gpu_check.figures([], none, [], [data])
    for kernel, key in (("attention", "attention"), ("gemm", "offload")):
        if key in data:
            return gpu_check.figures([], {kernel: data}, [], [])
    return []


def targets(found):
    """STATUS: for each target of scripts/gpu_check the worst figure, and how many reach it."""
    rows = []
    measured = [(document, *figure) for document in found for figure in figures_of(document)]
    for name, target in gpu_check.TARGETS.items():
        most = name in gpu_check.AT_MOST
        for machine in sorted({one.machine for one, *_ in measured}):
            values = [(value, what, one) for one, named, what, value in measured if named == name and one.machine == machine]
            if not values:
                continue
            worst, what, where = (max if most else min)(values, key=lambda entry: entry[0])
            best = (min if most else max)(value for value, *_ in values)
            reached = sum(value <= target if most else value >= target for value, *_ in values)
            rows.append([name, f"{'at most' if most else 'at least'} {target:g}", f"{number(worst)} ({what}) to "
                         f"{number(best)}", f"{reached} of {len(values)}", f"{link(where)}, {commit_of(where)}"])
    return table(["target of `scripts/gpu_check`", "", "now, worst to best", "reached", "evidence: where the worst is"], rows)


def many_sequences(found):
    """STATUS: direct against prefetch at 512 sequences with both operands remote, at equal HBM budgets."""
    rows = []
    for document in found:
        if not str(document.json.get("format", "")).startswith("dak bench decode"):
            continue
        for row in document.json["rows"]:
            copied = beside(document, row, "prefetch")
            if row["mode"] == "direct" and row["skipped"] is None and row["batch"] == 512 and row.get("kv_ratio") and copied:
                budget = row["hbm_budget_bytes"]
                rows.append([document.json["model"]["name"], f"{budget / GIB:.0f} GiB" if budget else
                             f"{100 * row['offload_ratio']:.0f} %", row.get("placement") or "", number(1e3 * row["tpot_s"]),
                             number(1e3 * copied["tpot_s"]), f"{copied['tpot_s'] / row['tpot_s']:.2f}",
                             f"{link(document)}, {commit_of(document)}"])
    return table(["512 sequences of", "budget or share", "placement", "direct, ms", "prefetch, ms",
                  "direct / prefetch, target 0.93", "evidence"], sorted(rows, key=lambda row: (row[-1], row)))


def window_map(found):
    """link_control.md: what a window of plain readers leaves of HBM; the row with the most readers of dak probe's map."""
    document = max((one for one in found if one.machine == "h200-host" and one.what == "probe"), key=lambda one: one.date,
                   default=None)
    if document is None:
        return "not measured\n"
    cells = next(tier["window_map"] for tier in document.json["tiers"] if tier.get("window_map"))
    most = max(cell[1] for cell in cells)
    rows = sorted(cell for cell in cells if cell[1] == most)
    return table([f"window of {most} thread blocks, KiB", *[number(cell[0] // 1024) for cell in rows]],
                 [["link, GB/s", *[number(cell[2]) for cell in rows]], ["HBM, GB/s", *[number(cell[3], 4) for cell in rows]]])


BLOCKS = {"window-map": window_map, "speeds": speeds, "prompts": prompts, "targets": targets, "many-sequences": many_sequences}
