"""Tables of docs/measurements: one function for each form of JSON that benchmarks write."""

import re
import statistics

GIB = 2 ** 30


def number(value, digits=3):
    """`value` to `digits` significant digits, without an exponent; '' for None."""
    if value is None:
        return ""
    if isinstance(value, int) or value == 0:
        return f"{value:,}"
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if "e" in text or abs(value) >= 10 ** (digits - 1) else text


def percent(share):
    return "" if share is None else f"{100 * share:.1f}"


def table(columns, rows):
    """A Markdown table without the columns that are empty in every row."""
    rows = [[str(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    lines = [[columns[i] for i in kept], ["---"] * len(kept)] + [[row[i] for i in kept] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def remote_tiers(machine):
    return [tier["name"] for tier in machine["tiers"][1:]]


def error(predicted, measured):
    return "" if predicted is None else f"{100 * (predicted / measured - 1):+.1f}"


def decode_row(row, tiers):
    shown = [row["mode"], row.get("placement") or "", row["batch"], row["past_tokens"] if row["skipped"] is None else ""]
    budget = row["hbm_budget_bytes"]
    window = row["window_asked_bytes"]
    shown += [number(budget / GIB) if budget else "", f"{window // 1024:,}" if window else ""]
    if row["skipped"] is not None:
        return [*shown, "", "", f"not run: {row['skipped']}", *[""] * (len(tiers) + 6)]
    read = [number(row.get("gb_s_" + re.sub(r"\W", "_", tier)), 4) for tier in tiers]
    return [*shown, percent(row["offload_ratio"]), percent(row.get("kv_ratio") or None),
            number(1e3 * row["tpot_s"], 4), number(row["tokens_per_s"]), *read, number(row["eb_gb_s"]),
            number(row["percent_of_bound"]), row["bound_by"], error(row.get("predicted_tpot_s"), row["tpot_s"]),
            number(row.get("j_per_token"))]


def decode(document):
    tiers = [tier["name"] for tier in document["machine"]["tiers"]]
    columns = ["mode", "placement", "batch", "past", "budget, GiB", "window, KiB", "weights remote, %", "KV remote, %",
               "ms a step", "tokens/s", *[f"{tier} GB/s" for tier in tiers], "EB, GB/s", "% of the bound", "bound by",
               "predicted then, %", "J/token"]
    return table(columns, [decode_row(row, tiers) for row in document["rows"]])


def prefill(document):
    columns = ["mode", "prompt", "weights remote, %", "passes", "TTFT, ms", "tokens/s", "bound, ms", "% of the bound",
               "bound by", "predicted then, %", "link reads of a byte"]
    return table(columns, [
        [row["mode"], number(row["prompt_tokens"]), percent(row["offload_ratio"]), row["passes"],
         number(1e3 * row["ttft_s"]), number(row["tokens_per_s"]), number(1e3 * row["bound_s"]),
         number(row["percent_of_bound"]), row["bound_by"], error(row.get("predicted_s"), row["ttft_s"]),
         "" if row["read_amplification"] is None else f"{row['read_amplification']:.2f}"]
        for row in document["rows"] if row.get("skipped") is None])


def workload(document):
    columns = ["placement", "budget, GiB", "weights remote, %", "tokens/s", "entry", "ms", "% of the bound",
               "predicted then, %"]
    rows = []
    for row in document["rows"]:
        if row["skipped"] is not None:
            rows.append([row["placement"], number(row["hbm_budget_bytes"] / GIB), "", f"not run: {row['skipped']}", "",
                         "", "", ""])
            continue
        for entry in row["entries"]:
            rows.append([row["placement"], number(row["hbm_budget_bytes"] / GIB), percent(row["offload_ratio"]),
                         number(row["tokens_per_s"]), f"`{entry['workload']}`", number(1e3 * entry["measured_s"]),
                         number(100 * entry["bound_s"] / entry["measured_s"]) if entry.get("bound_s") else "",
                         error(entry["predicted_s"], entry["measured_s"])])
    return f"`{document['workload']}`\n\n" + table(columns, rows)


def serve(document):
    columns = ["requests/s", "at a time", "answers", "errors", "answers/s", "good answers/s", "TTFT p50, ms", "p99",
               "TPOT p50, ms", "p99"]
    return table(columns, [
        [row["rate_per_s"] if row["rate_per_s"] is not None else "", row["concurrency"], row["answers"], row["errors"],
         number(row["answers_per_s"]), number(row["goodput_per_s"]), number(row["ttft_ms"]["p50"]),
         number(row["ttft_ms"]["p99"]), number(row["tpot_ms"]["p50"]), number(row["tpot_ms"]["p99"])]
        for row in document["rows"]])


def least_and_median(values):
    return f"{min(values):.1f} / {statistics.median(values):.1f}"


def cross(rows, down, across, cell):
    """Cells of the rows that have one value of `down` and one of `across`; `down` in the order of the rows."""
    columns = sorted({row[across] for row in rows})
    lines = []
    for key in dict.fromkeys(row[down] for row in rows):
        found = [[row for row in rows if row[down] == key and row[across] == column] for column in columns]
        lines.append([key, *[cell(cells) if cells else "" for cells in found]])
    return columns, lines


def ratio_columns(ratios):
    return [f"{100 * ratio:g} % remote" for ratio in ratios]


def split_matmul(document):
    shapes = len({row["weight"] for row in document["matmul"]})
    ratios, lines = cross(document["matmul"], "batch", "ratio",
                          lambda rows: least_and_median([row["percent_in_graph"] for row in rows]))
    parts = [f"Per cent of the bound in a graph of rotating weights, least / median of {shapes} shapes; the same bits at "
             f"every ratio: {'yes' if all(row['bitwise_equal'] for row in document['matmul']) else 'NO'}.\n",
             table(["batch", *ratio_columns(ratios)], lines)]
    if document.get("chain"):
        parts += ["Four linear layers of OPT-30B one after the other, per cent of the bound with overlapped launches / "
                  "without:\n"]
        ratios, lines = cross(document["chain"], "batch", "ratio",
                              lambda rows: f"{rows[0]['percent_overlapped']:.1f} / {rows[0]['percent_not']:.1f}")
        parts += [table(["batch", *ratio_columns(ratios)], lines)]
    if document.get("window"):
        parts += ["Bytes in flight over the link (`fc1`, batch 8), and what HBM keeps:\n",
                  table(["window", "KiB", "round trip, us", "HBM, GB/s", "link, GB/s", "% of HBM alone"],
                        [[row["mode"], number(row["window_bytes"] // 1024), number(row["delay_us"]),
                          number(row["local_gb_s"], 4), number(row["remote_gb_s"]), number(row["percent"])]
                         for row in document["window"]])]
    return "\n".join(parts)


def gemm(document):
    parts = []
    if document.get("resident"):
        tokens, lines = cross(document["resident"], "weight", "tokens",
                              lambda rows: f"{rows[0]['percent_of_cublaslt']:.0f} ({rows[0]['tflops']:.0f})")
        parts += ["Nothing remote: per cent of cuBLASLt's best of four algorithms in the same run (TFLOP/s).\n",
                  table(["weight", *[f"{count} tokens" for count in tokens]], lines)]
    parts += ["With a part remote, through the ring: per cent of the link's speed where the link is the bound, of the speed "
              "with nothing remote where arithmetic is; least / median of all weights and shares.\n"]
    ring = [row for row in document["offload"] if row["way"] == "ring"]
    tokens, lines = cross(ring, "bound_by", "tokens",
                          lambda rows: least_and_median([row["percent_of_bound"] for row in rows]))
    parts += [table(["bound by", *[f"{count} tokens" for count in tokens]], lines)]
    ways, lines = cross(document["offload"], "tokens", "way",
                        lambda rows: f"{max(row['amplification'] for row in rows):.2f}")
    parts += ["Link reads of a remote byte, the most of all cells, by the way that token tiles share it:\n",
              table(["tokens", *ways], lines)]
    return "\n".join(parts)


def attention(document):
    rows = [{**row, "what": f"{row['shape']}, {row['sequences']:,} x {row['tokens']:,}"} for row in document["attention"]]
    ratios, lines = cross(rows, "what", "ratio",
                          lambda cells: f"{cells[0]['percent_of_bound']:.1f} ({number(cells[0]['ms'])} ms)")
    return ("One query a sequence: per cent of the bound (time).\n\n" +
            table(["shape, sequences x tokens", *ratio_columns(ratios)], lines))


def prompt_attention(document):
    rows = []
    for row in document["cases"]:
        shape, rest = row["case"].split(maxsplit=1)
        place, ratio = rest.rsplit(", ratio ", 1)
        count, past = place.split(" rows at ")
        rows.append({**row, "what": f"{shape}, {int(count):,} rows at {int(past):,}", "ratio": float(ratio)})
    ratios, lines = cross(rows, "what", "ratio",
                          lambda cells: f"{cells[0]['tflop_per_s']:.0f} ({cells[0]['percent_of_bound']:.0f})")
    return ("A prompt's rows behind so many past tokens: TFLOP/s (per cent of the bound).\n\n" +
            table(["shape, rows", *ratio_columns(ratios)], lines))


def profile(document):
    rows = [[tier["name"], number(tier["read_gb_s"], 4), number(tier.get("sustained_gb_s"), 4), number(tier.get("write_gb_s")),
             number(tier.get("copy_in_gb_s")), number(tier.get("copy_out_gb_s")), number(tier.get("local_under_load_gb_s"), 4),
             number(tier.get("idle_round_trip_us")), number(tier.get("loaded_round_trip_us")),
             number(tier["least_window_bytes"] // 1024) if tier.get("least_window_bytes") else "",
             number(tier["most_window_bytes"] // 1024) if tier.get("most_window_bytes") else ""]
            for tier in document["tiers"]]
    columns = ["tier", "read, GB/s", "sustained", "written", "copied in", "copied out", "HBM beside it, GB/s",
               "round trip idle, us", "loaded", "window from, KiB", "to"]
    peaks = ", ".join(f"{dtype} {number(value)} TFLOP/s" for dtype, value in sorted(document["peak_tflops"].items()))
    launch = (f"A launch in a graph: {number(document['launch_overhead_us'])} us, overlapped "
              f"{number(document['launch_overlapped_us'])} us.") if document.get("launch_overhead_us") else ""
    return table(columns, rows) + f"\n{peaks}. {launch}\n"


def bell(document):
    """From a kernel to host threads and back, and what these read when woken so."""
    floats = sorted({trip["floats_out"] for trip in document["round_trips"]})
    backs, trips = cross(document["round_trips"], "floats_out", "floats_back", lambda cells: number(cells[0]["median_us"]))
    reads = [{**read, "who": f"{read['threads']} threads{', the link busy' if read['beside_link'] else ''}"}
             for read in document["reads"]]
    sizes, lines = cross(reads, "who", "mb_an_operation", lambda cells: f"{cells[0]['host_gb_s']:.0f}" + (
        f" ({cells[0]['link_gb_s']:.0f})" if cells[0]["beside_link"] else ""))
    return (f"{document['about']}\n\nRound trip, us, by floats out ({', '.join(f'{one:,}' for one in floats)}) and back:\n\n" +
            table(["out", *[f"{back:,} back" for back in backs]], trips) +
            "\nGB/s that host threads read, by MB an operation (GB/s of the link meanwhile):\n\n" +
            table(["", *[f"{size} MB" for size in sizes]], lines))


def engine(document):
    rows = [[row["model"], row.get("engine", ""), row["placement"], row["batch"], row["phase"], number(row.get("tokens_per_s")),
             number(row.get("tpot_ms")), number(row.get("ttft_ms")), percent(row.get("miss_rate"))] for row in document["rows"]]
    columns = ["model", "engine", "where", "batch", "what", "tokens/s", "TPOT, ms", "TTFT, ms", "missed experts, %"]
    return f"Weights: {document['weights']}.\n\n" + table(columns, rows)
