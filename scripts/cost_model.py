"""The cost model of plan/cost.cc for decode steps at one remote share, for scripts/fit_costs: bytes and seconds by
operation. A test holds it to `dak plan`."""

import json
import math
import pathlib
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONSTANTS = ROOT / "src/plan/kernel_costs.json"
BLOCK_ROWS = 64
BYTES = 2  # of a weight's value and of the KV cache's
NORM_BYTES = 12  # a value
MANY = 64  # sequences: above, attention has a share of its own
# kernels/split_schedule.h: SMs that read a tier.
READER_BYTES_PER_S, LEAST_READERS, MOST_READERS = 8e9, 4, 16


@dataclass(frozen=True)
class Weight:
    rows: int
    cols: int
    count: int
    kind: str = "product"  # or "lookup"
    tied: bool = False  # a product, and the embeddings

    def bytes(self):
        return self.rows * self.cols * BYTES


@dataclass(frozen=True)
class Model:
    layers: int
    hidden: int
    kv_heads: int
    kv_rows: int  # of keys, and of values
    weights: dict  # name as in the feedback -> Weight

    def segments(self):
        """How many operations of a step are timed one by one: {name: count}."""
        counts = {name: weight.count for name, weight in self.weights.items()}
        counts["embedding"] += self.weights["embedding"].tied  # the lookup before it
        return {**counts, "layers.*.attention": 2 * self.layers, "layers.*.norms": 2 * self.layers, "pass": 2}


def model_of(name, layers=None):
    c = json.loads((ROOT / "configs" / name / "config.json").read_text())
    opt = c["model_type"] == "opt"
    layers = layers or c["num_hidden_layers"]
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    size = c.get("head_dim") or hidden // heads
    kv = (c.get("num_key_value_heads") or heads) * size
    inner = c["ffn_dim"] if opt else c["intermediate_size"]
    tied = c.get("tie_word_embeddings", opt)
    weights = {"embedding": Weight(c["vocab_size"], hidden, 1, "product" if tied else "lookup", tied),
               "layers.*.qkv": Weight(heads * size + 2 * kv, hidden, layers),
               "layers.*.output": Weight(hidden, heads * size, layers),
               "layers.*.up" if opt else "layers.*.gate_up": Weight(inner if opt else 2 * inner, hidden, layers),
               "layers.*.down": Weight(hidden, inner, layers)}
    if opt:
        weights["positions"] = Weight(c["max_position_embeddings"], hidden, 1, "lookup")
    if not tied:
        weights["lm_head"] = Weight(c["vocab_size"], hidden, 1)
    return Model(layers, hidden, kv // size, kv, weights)


def readers(bytes_per_s):
    return min(MOST_READERS, max(LEAST_READERS, -(-bytes_per_s // READER_BYTES_PER_S)))


def product_class(costs, rows):
    """The entry for passes of `rows` rows."""
    entries = costs["products"] + costs["products_tma"]
    return next((one for one in entries if one["rows"] is None or rows <= one["rows"]), entries[-1])


def value(costs, name):
    return (costs["constants_tma"].get(name) or costs["constants"][name])["value"]


def product_s(costs, machine, rows, local, remote, flops=0.0):
    """Seconds; `machine`: {"local", "remote" [bytes/s of each remote tier], "sm_count", "loss", "flops"}; `remote`: bytes
    in each of them."""
    one = product_class(costs, rows)
    lose = [max(machine["loss"], one["reader_share"] * readers(rate) / machine["sm_count"]) for rate in machine["remote"]]
    fixed = 1e-6 * one["local_fixed_us"]
    per_byte = 1 / (machine["local"] * one["local_share"])
    whole = (local + sum(remote)) * per_byte + fixed
    lines = [local * per_byte + fixed + sum(size / rate * loss for size, rate, loss in zip(remote, machine["remote"], lose))]
    for size, rate in zip(remote, machine["remote"]):
        limit = one["link_gb_s"] * 1e9
        lines.append(size / (min(rate, limit) if limit else rate) + min(1e-6 * one["link_fixed_us"], whole))
    compute = 0.0
    if flops and machine["flops"]:
        compute = flops / (machine["flops"] * value(costs, "peak_share")) + fixed
    link = max(lines[1:], default=0.0)
    return max(lines[0], link + one["overlap_loss"] * compute, compute + one["overlap_loss"] * link)


def attention_s(costs, machine, model, sequences, local, remote):
    """A layer's; `local`, `remote`: bytes of its KV cache that a step reads."""
    share = "attention_many_local_share" if sequences > MANY else "attention_local_share"
    lines = [local / (machine["local"] * value(costs, share))]
    for size, rate in zip(remote, machine["remote"]):
        runs = sequences * model.kv_heads / readers(rate) if size else 0
        lines += [size / rate, 1e-6 * runs * value(costs, "attention_run_us")]
        lines[0] += size / rate * max(machine["loss"], readers(rate) / machine["sm_count"])
    return max(lines) + 1e-6 * value(costs, "attention_fixed_us")


def shares(machine):
    """Of what is remote, each tier's: in proportion to its bandwidth."""
    total = sum(machine["remote"])
    return [rate / total for rate in machine["remote"]]


def weight_s(costs, machine, weight, rows, local, remote):
    """Of one weight. A lookup reads a row for each token; tied embeddings are looked up too."""
    share = min(1.0, rows / weight.rows)
    lookup = max([local * share / machine["local"]] +
                 [size * share / rate for size, rate in zip(remote, machine["remote"])])
    if weight.kind == "lookup":
        return lookup
    product = product_s(costs, machine, rows, local, remote, 2.0 * rows * weight.rows * weight.cols)
    return product + (lookup if weight.tied else 0.0)


def in_order(model):
    """Names of a pass's weights, a layer after the other."""
    layered = [name for name in model.weights if name.startswith("layers.")]
    before = [name for name in ("embedding", "positions") if name in model.weights]
    return before + model.layers * layered + [name for name in ("lm_head",) if name in model.weights]


def placed(model, ratio, shares_of_tiers):
    """(name, local bytes, [bytes in each remote tier]) of each weight: plan/planner.cc's uniform placement, in whole row
    blocks, rounding errors carried on from weight to weight and from tier to tier."""
    wanted = there = 0.0  # bytes so far; rounded as there, so in the same order
    owed = [0.0] * len(shares_of_tiers)
    for name in in_order(model):
        weight = model.weights[name]
        block, blocks = BLOCK_ROWS * weight.cols * BYTES, -(-weight.rows // BLOCK_ROWS)
        wanted += ratio * (blocks * block)
        count = min(blocks, max(0, math.floor((wanted - there) / block + 0.5)))
        there += count * block
        owed = [one + share * count * block for one, share in zip(owed, shares_of_tiers)]
        tiers, left = [], count
        for one in owed:
            tiers.append(max(0, min(left, math.floor(one / block + 1e-9))))
            left -= tiers[-1]
        for _ in range(left):
            tiers[max(range(len(tiers)), key=lambda t: owed[t] - tiers[t] * block)] += 1
        owed = [one - number * block for one, number in zip(owed, tiers)]
        yield name, (blocks - count) * block, [number * block for number in tiers]


def step(costs, machine, model, rows, context, ratio, kv_ratio=0.0):
    """{name: seconds of all of them} of a decode step of `rows` sequences, each `context` tokens long."""
    times = dict.fromkeys(model.weights, 0.0)
    known = {}  # the layers are mostly alike
    for name, local, remote in placed(model, ratio, shares(machine)):
        key = (name, local, *remote)
        if key not in known:
            known[key] = weight_s(costs, machine, model.weights[name], rows, local, remote)
        times[name] += known[key]
    kv = rows * context * 2 * model.kv_rows * BYTES
    remote = [share * kv * kv_ratio for share in shares(machine)]
    times["layers.*.attention"] = model.layers * attention_s(costs, machine, model, rows, kv * (1 - kv_ratio), remote)
    norm = 1e-6 * value(costs, "norm_us") + NORM_BYTES * rows * model.hidden / machine["local"]
    times["layers.*.norms"] = 2 * model.layers * norm
    times["pass"] = 1e-6 * value(costs, "pass_us")
    return times
