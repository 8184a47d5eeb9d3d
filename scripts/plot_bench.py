#!/usr/bin/env python3
"""Plots of benchmark results, as SVG that reads well on light and dark pages.

    scripts/plot_bench.py [--out docs/plots] [FILE.json...]

Reads what `dak bench --output`, `dak_bench_split_matmul --json` and `dak_bench_gemm --json` wrote
(default: all of bench/results) and writes throughput_vs_ratio_MODEL.svg for each model,
hbm_vs_window.svg, gemm_offload.svg and serve_MODEL.svg.
"""

import argparse
import json
import math
import pathlib
import re
import sys
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODES = ("direct", "prefetch", "uva", "resident")
PANEL_WIDTH, PANEL_HEIGHT = 640, 300  # of the area between the axes
LEFT, RIGHT, TOP, BOTTOM = 76, 190, 56, 62
LIGHT = {"ink": "#1f2328", "faint": "#d0d7de", "page": "#ffffff",
         "series": ("#0969da", "#bc4c00", "#8250df", "#1a7f37")}
DARK = {"ink": "#e6edf3", "faint": "#30363d", "page": "#0d1117",
        "series": ("#58a6ff", "#f0883e", "#bc8cff", "#3fb950")}


def colours(theme):
    """Rules without CSS variables: not every viewer knows them."""
    rules = [f"text {{ fill: {theme['ink']}; }}", f".page {{ fill: {theme['page']}; }}",
             f".grid {{ stroke: {theme['faint']}; }}", f".axis, .bound {{ stroke: {theme['ink']}; }}"]
    for i, colour in enumerate(theme["series"]):
        rules.append(f".line{i} {{ stroke: {colour}; }} .mark{i} {{ fill: {colour}; }}")
    return "\n".join(rules)


STYLE = f"""
text {{ font: 13px sans-serif; }}
.title {{ font-size: 16px; font-weight: 600; }}
polyline {{ fill: none; stroke-width: 2; }}
.bound {{ stroke-width: 1.5; stroke-dasharray: 6 4; }}
.dashed {{ stroke-dasharray: 3 4; }}
{colours(LIGHT)}
@media (prefers-color-scheme: dark) {{
{colours(DARK)}
}}
"""


def fail(message):
    sys.exit(f"plot_bench: {message}")


def nice_ticks(top):
    """About five round steps from 0 to past `top`."""
    step = 10 ** math.floor(math.log10(top / 4)) if top > 0 else 1
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if top / (step * factor) <= 5)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def log_ticks(low, high):
    """1, 2, 5, 10... from at most `low` to at least `high`."""
    ticks = [factor * 10 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
             for factor in (1, 2, 5)]
    first = max(i for i, tick in enumerate(ticks) if tick <= low)
    last = next(i for i, tick in enumerate(ticks) if tick >= high)
    return ticks[first:max(last, first + 1) + 1]


def linear_scale(low, high):
    return lambda value: (value - low) / (high - low)


def log_scale(low, high, zero_share=0.0):
    """0 at the left edge, `low` at `zero_share` of the width, `high` at the right edge."""
    def scale(value):
        if value <= 0:
            return 0.0
        return zero_share + (1 - zero_share) * math.log(value / low) / math.log(high / low)
    return scale


class Panel:
    """One pair of axes: collects SVG elements; scales map data to pixels."""

    def __init__(self, row, title, x_label, y_label, x_scale, x_ticks, y_scale, y_ticks):
        self.top = TOP + row * (PANEL_HEIGHT + TOP + BOTTOM)
        self.x_scale, self.y_scale = x_scale, y_scale
        self.parts, self.legend = [], 0
        self.text(LEFT, self.top - 18, title, "title")
        bottom, right = self.top + PANEL_HEIGHT, LEFT + PANEL_WIDTH
        for value in y_ticks:
            y = self.y(value)
            self.parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
            self.text(LEFT - 8, y + 4, f"{value:g}", anchor="end")
        for value, label in x_ticks:
            x = self.x(value)
            self.parts.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}"/>')
            self.text(x, bottom + 20, label, anchor="middle")
        self.parts.append(f'<polyline class="axis" points="{LEFT},{self.top} {LEFT},{bottom} {right},{bottom}"/>')
        self.text(LEFT + PANEL_WIDTH / 2, bottom + 44, x_label, anchor="middle")
        middle = self.top + PANEL_HEIGHT / 2
        self.parts.append(f'<text transform="translate(18 {middle:.1f}) rotate(-90)" text-anchor="middle">'
                          f"{escape(y_label)}</text>")

    def x(self, value):
        return LEFT + PANEL_WIDTH * self.x_scale(value)

    def y(self, value):
        return self.top + PANEL_HEIGHT * (1 - self.y_scale(value))

    def text(self, x, y, text, css="", anchor="start"):
        css = f' class="{css}"' if css else ""
        self.parts.append(f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def legend_entry(self, label, sample):
        y = self.top + 8 + 22 * self.legend
        self.legend += 1
        self.parts.append(f'<g transform="translate({LEFT + PANEL_WIDTH + 14} {y})">{sample}</g>')
        self.text(LEFT + PANEL_WIDTH + 48, y + 4, label)

    def line(self, points, css):
        coordinates = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline class="{css}" points="{coordinates}"/>')

    def bound(self, label, points):
        self.line(points, "bound")
        self.legend_entry(label, '<line class="bound" x1="0" y1="0" x2="28" y2="0"/>')

    def series(self, label, points, colour, unit, dashed=False, diamond=False):
        """A line with a marker for each point; a browser shows a marker's value on hover."""
        css = f"line{colour} dashed" if dashed else f"line{colour}"
        if len(points) > 1 and not diamond:
            self.line(points, css)
        for x, y in points:
            at_x, at_y = self.x(x), self.y(y)
            note = f"<title>{escape(label)}: {y:.4g} {escape(unit)}</title>"
            if diamond:
                self.parts.append(f'<path class="point mark{colour}" d="M{at_x:.1f} {at_y - 7:.1f} '
                                  f'l7 7 l-7 7 l-7 -7 z">{note}</path>')
            else:
                self.parts.append(f'<circle class="point mark{colour}" cx="{at_x:.1f}" cy="{at_y:.1f}" '
                                  f'r="4">{note}</circle>')
        if diamond:
            self.legend_entry(label, f'<path class="mark{colour}" d="M14 -6 l6 6 l-6 6 l-6 -6 z"/>')
        else:
            self.legend_entry(label, f'<line class="{css}" stroke-width="2" x1="0" y1="0" x2="28" y2="0"/>'
                                     f'<circle class="mark{colour}" cx="14" cy="0" r="4"/>')


def write_svg(path, panels, source, script="plot_bench.py"):
    width = LEFT + PANEL_WIDTH + RIGHT
    height = len(panels) * (PANEL_HEIGHT + TOP + BOTTOM)
    body = "\n".join(part for panel in panels for part in panel.parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
                    f"<!-- made by scripts/{script} from {escape(source.replace('--', '- -'))} -->\n"
                    f"<style>{STYLE}</style>\n"
                    f'<rect class="page" width="{width}" height="{height}"/>\n{body}\n</svg>\n')
    print(path)


def slug(text):
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def bound_points(document, row, ratios):
    """(per cent, tokens/s at the bound) with the bytes of `row` dealt out at other ratios."""
    tiers = document["machine"]["tiers"]
    weights = row["weight_bytes"]
    other = sum(row[key] for key in row if key.startswith("bytes_")) - weights  # KV, in tier 0
    points = []
    for ratio in ratios:
        seconds = {}
        for tier, size in ((tiers[0], (1 - ratio) * weights + other), (tiers[1], ratio * weights)):
            seconds[tier["channel"]] = seconds.get(tier["channel"], 0) + size / (tier["gb_s"] * 1e9)
        points.append((100 * ratio, row["batch"] / max(seconds.values())))
    return points


def throughput_panel(index, document, batch, rows):
    """Logarithmic both ways: there the bound is two straight lines."""
    percents = [100 * row["offload_ratio"] for row in rows if row["offload_ratio"] > 0] or [1, 100]
    ratios = log_ticks(min(percents), max(percents))
    bound = []
    if len(document["machine"]["tiers"]) == 2:
        dense = [ratios[0] / 100 * (ratios[-1] / ratios[0]) ** (i / 200) for i in range(201)]
        bound = bound_points(document, rows[0], [0, *(ratio for ratio in dense if ratio <= 1)])
    speeds = [row["tokens_per_s"] for row in rows] + [speed for _, speed in bound]
    ticks = log_ticks(min(speeds), max(speeds))
    machine = document["machine"]
    panel = Panel(index, f"{document['model']['name']}, batch {batch}, {machine['gpu'] or machine['cpu']}",
                  "weights in remote memory, %", "tokens/s",
                  log_scale(ratios[0], ratios[-1], zero_share=0.12),
                  [(value, f"{value:g}") for value in [0, *ratios]], log_scale(ticks[0], ticks[-1]), ticks)
    if bound:
        panel.bound("bound", bound)
    for colour, mode in enumerate(MODES):
        points = sorted((100 * row["offload_ratio"], row["tokens_per_s"]) for row in rows if row["mode"] == mode)
        if points:
            panel.series(mode, points, colour, "tokens/s")
    return panel


def plot_throughput(documents, out):
    # A model cut to its first layers is not that model.
    layers = {}
    for _, document in documents:
        model = document["model"]
        layers[model["name"]] = max(layers.get(model["name"], 0), model.get("layers", 0))
    by_model = {}
    for source, document in documents:
        model, tiers = document["model"], document["machine"]["tiers"]
        if model.get("layers", 0) == layers[model["name"]]:
            # Over a peer the same share is another speed: a figure of its own.
            remotes = [tier["kind"] for tier in tiers[1:] if tier["kind"] != "host"]
            by_model.setdefault("_".join([model["name"], *remotes]), []).append((source, document))
    for model, found in by_model.items():
        machines = {document["machine"]["gpu"] or document["machine"]["cpu"] for _, document in found}
        if len(machines) > 1:
            fail(f"{model}: results of several machines ({', '.join(sorted(machines))}); name the files of one")
        panels = []
        rows = [row for _, document in found for row in document["rows"]
                if row["skipped"] is None and row["window_asked_bytes"] is None]
        for batch in sorted({row["batch"] for row in rows}):
            panels.append(throughput_panel(len(panels), found[0][1], batch,
                                           [row for row in rows if row["batch"] == batch]))
        if panels:
            write_svg(out / f"throughput_vs_ratio_{slug(model)}.svg", panels,
                      ", ".join(source for source, _ in found))


def window_sweeps(source, document):
    """(label, [(window, HBM % of alone, link % of alone, adaptive)]) of either kind of file."""
    if "window" in document:
        label = f"{document['gpu']} + {document['remote']}"
        yield label, [(case["window_bytes"], 100 * case["local_gb_s"] / document["local_gb_s"],
                       100 * case["remote_gb_s"] / document["remote_gb_s"], case["mode"] != "fixed")
                      for case in document["window"]]
        return
    local, *remote = document["machine"]["tiers"]
    groups = {}
    for row in document["rows"]:
        if row["skipped"] is None and row["mode"] == "direct" and remote:
            groups.setdefault((row["batch"], row["ratio_asked"], row["hbm_budget_bytes"]), []).append(row)
    for (batch, _, _), rows in groups.items():
        name = re.sub(r"[^A-Za-z0-9]", "_", remote[0]["name"])
        used = f"window_bytes_{name}"
        rows = [row for row in rows if row.get(used)]
        if any(row.get("kv_ratio") or row["offload_ratio"] > 2 * document["machine"]["matched_ratio"] for row in rows):
            continue  # the link is the bound: HBM has time to spare whatever the window
        if sum(row["window_asked_bytes"] is not None for row in rows) < 2:
            continue
        yield (f"{document['model']['name']}, batch {batch}, {100 * rows[0]['offload_ratio']:.1f} %",
               [(row[used], 100 * row[f"gb_s_{local['name']}"] / local["gb_s"],
                 100 * row[f"gb_s_{name}"] / remote[0]["gb_s"], row["window_asked_bytes"] is None)
                for row in rows])


def plot_windows(documents, out):
    panels, sources = [], []
    for source, document in documents:
        for label, cases in window_sweeps(source, document):
            sizes = [case[0] for case in cases if case[0] > 0]
            low = math.floor(math.log2(min(sizes) / 1024))
            high = max(math.ceil(math.log2(max(sizes) / 1024)), low + 1)
            top = max(100, *(value for case in cases for value in case[1:3]))
            ticks = nice_ticks(top if top > 102 else 100)
            panel = Panel(len(panels), label, "window of remote reads, KiB", "% of the tier alone",
                          log_scale(2 ** low, 2 ** high),
                          [(2 ** i, f"{2 ** i:g}") for i in range(low, high + 1)],
                          linear_scale(0, ticks[-1]), ticks)
            for adaptive in (False, True):
                chosen = sorted(case for case in cases if case[3] == adaptive and case[0] > 0)
                for colour, column, name in ((0, 1, "HBM"), (1, 2, "link")):
                    points = [(case[0] / 1024, case[column]) for case in chosen]
                    if points:
                        panel.series(f"{name}, {'adaptive' if adaptive else 'fixed'}", points, colour, "%",
                                     dashed=column == 2, diamond=adaptive)
            panels.append(panel)
            sources.append(source)
    if panels:
        write_svg(out / "hbm_vs_window.svg", panels, ", ".join(dict.fromkeys(sources)))


def plot_gemm(documents, out):
    """Products of many rows whose weight is partly remote: ring, clusters, nothing shared."""
    panels, sources = [], []
    for source, document in documents:
        rows = document.get("offload", [])
        for weight in dict.fromkeys(row["weight"] for row in rows):
            for ratio in sorted({row["ratio"] for row in rows if row["way"].startswith("multicast")}):
                found = [row for row in rows if row["weight"] == weight and row["ratio"] == ratio]
                tokens = sorted({row["tokens"] for row in found})
                if len(tokens) < 2:
                    continue  # a ratio that was chosen for one number of tokens
                work = {row["tokens"]: row["tflops"] * row["us"] for row in found}
                bound = sorted({row["tokens"]: work[row["tokens"]] / max(row["resident_us"], row["link_us"])
                                for row in found}.items())
                speeds = [row["tflops"] for row in found] + [speed for _, speed in bound]
                ticks = log_ticks(min(speeds), max(speeds))
                panel = Panel(len(panels), f"{weight}, {100 * ratio:g} % remote, {document['gpu']}",
                              "rows (tokens)", "TFLOP/s", log_scale(tokens[0] / 1.2, tokens[-1] * 1.2),
                              [(value, f"{value:g}") for value in tokens], log_scale(ticks[0], ticks[-1]), ticks)
                panel.bound("max(compute, link)", bound)
                best = {}
                for row in found:
                    if row["way"].startswith("multicast"):
                        best[row["tokens"]] = max(best.get(row["tokens"], 0), row["tflops"])
                named = {way: {row["tokens"]: row["tflops"] for row in found if row["way"] == way}
                         for way in ("ring", "no multicast")}
                named["best cluster"] = best
                for colour, (way, points) in enumerate(named.items()):
                    if points:
                        panel.series(way, sorted(points.items()), colour, "TFLOP/s")
                panels.append(panel)
                sources.append(source)
    if panels:
        write_svg(out / "gemm_offload.svg", panels, ", ".join(dict.fromkeys(sources)))


def serve_panel(index, title, rows, axis, unit, curves):
    """`curves`: (label, value of a row or None). Logarithmic: a queue grows by powers of ten."""
    key, label = axis
    found = [(name, [(row[key], value(row)) for row in rows if value(row)]) for name, value in curves]
    values = [y for _, points in found for _, y in points]
    x_ticks, y_ticks = log_ticks(rows[0][key], rows[-1][key]), log_ticks(min(values), max(values))
    panel = Panel(index, title, label, unit, log_scale(x_ticks[0], x_ticks[-1]),
                  [(value, f"{value:g}") for value in x_ticks], log_scale(y_ticks[0], y_ticks[-1]), y_ticks)
    for colour, (name, points) in enumerate(found):
        if points:
            panel.series(name, points, colour, unit)
    return panel


def plot_serve(documents, out):
    """A server under a sweep of arrival rates, or of requests at a time: latency and what it gets done."""
    by_model = {}
    for source, document in documents:
        rows = [row for row in document["rows"] if row["answers"] > 0]
        axes = (("rate_per_s", "requests offered a second"), ("concurrency", "requests at a time"))
        axis = next((axis for axis in axes if len({row[axis[0]] for row in rows} - {None, "any"}) > 1), None)
        if axis is None:
            continue  # one point is no curve
        rows = sorted((row for row in rows if row[axis[0]] not in (None, "any")), key=lambda row: row[axis[0]])
        settings = document["settings"]
        model = document["server"]["model"] or "a server"
        about = f"{model}, {settings['prompt_tokens']} + {settings['output_tokens']} tokens"
        panels, sources = by_model.setdefault(model, ([], []))

        def percentiles(name, *shares):
            return [(f"{name.upper()} {share}", lambda row, share=share: row[f"{name}_ms"][share]) for share in shares]

        panels.append(serve_panel(len(panels), f"Time to the first token: {about}", rows, axis, "ms",
                                  percentiles("ttft", "p50", "p90", "p99")))
        panels.append(serve_panel(len(panels), f"Time between tokens: {about}", rows, axis, "ms",
                                  percentiles("tpot", "p50", "p99") + percentiles("itl", "p50", "p99")))
        goal = ", ".join(f"{name} {settings[key]:g} ms" for name, key in (("TTFT", "slo_ttft_ms"), ("TPOT", "slo_tpot_ms"))
                         if settings[key] > 0)
        curves = [("answers", lambda row: row["answers_per_s"])]
        if goal:
            curves.append(("goodput", lambda row: row["goodput_per_s"]))
        done = serve_panel(len(panels), f"Answers a second{', good within ' + goal if goal else ''}", rows, axis,
                           "answers/s", curves)
        if axis[0] == "rate_per_s":
            inside = [value for row in rows if (value := row["rate_per_s"]) <= max(row["answers_per_s"] for row in rows)]
            if len(inside) > 1:
                done.bound("as many as come", [(inside[0], inside[0]), (inside[-1], inside[-1])])
        panels.append(done)
        sources.append(source)
    for model, (panels, sources) in by_model.items():
        write_svg(out / f"serve_{slug(model)}.svg", panels, ", ".join(sources))


# Tables in docs; `dak probe` draws its own heat map.
NOT_PLOTTED = ("dak bench workload 1", "dak bench prefill 1", "dak hardware profile", "other engine 1", "bell 1")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/plots")
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE.json")
    args = parser.parse_args()
    decode, windows, gemms, serves = [], [], [], []
    for path in args.files or sorted((ROOT / "bench/results").glob("*.json")):
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            fail(f"{path}: {error}")
        if str(document.get("format", "")).startswith("dak bench decode"):
            if not all(row.get("kv_ratio") for row in document["rows"]):  # another axis
                decode.append((path.name, document))
            windows.append((path.name, document))
        elif str(document.get("format", "")).startswith("dak bench serve"):
            serves.append((path.name, document))
        elif document.get("window"):
            windows.append((path.name, document))
        elif "resident" in document or "offload" in document:
            gemms.append((path.name, document))
        elif not {"matmul", "attention", "figures", "cases"} & set(document) and document.get("format") not in NOT_PLOTTED:
            fail(f"{path}: neither a `dak bench` nor a split matmul result")
    plot_throughput(decode, args.out)
    plot_windows(windows, args.out)
    plot_gemm(gemms, args.out)
    plot_serve(serves, args.out)


if __name__ == "__main__":
    main()
