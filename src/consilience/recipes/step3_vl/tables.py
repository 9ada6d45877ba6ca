"""The tables of the report and of RESULTS.md, and the curves behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from consilience.cost import load_model
from consilience.recipes.step3_vl.claims import Evaluations, Record, above_chance, difference, pointing, widest
from consilience.recipes.step3_vl.measure import ARMS, NAMES, ONE, PARALLEL
from consilience.recipes.step3_vl.work import BINARY, DECAY, MODEL, TRAINED, UNTRAINED
from consilience.stats import Estimate, t_interval, wilson

TITLES = {
    TRAINED: "Counts after training in synthesis",
    UNTRAINED: "Counts of the warm start, untrained in synthesis",
    MODEL: "Counts of the model at the endpoint",
}
REWARDS = {DECAY: "decays with distance", BINARY: "hit or miss"}
CAPACITY = ("step3_vl_10b", "step3", "deepseek_v3", "qwen3_235b_a22b")


def tables(evaluations: Evaluations) -> list[dict[str, Any]]:
    """Counts of each kind with what they cost, where parallel trajectories gain, pointing, and what the attention of
    the real model can hold."""
    out = []
    for kind in TITLES:
        seeds = _of(evaluations, kind)
        if seeds:
            out += [_counts(kind, seeds), _gains(kind, seeds)]
    found = [(kind, _of(evaluations, kind)) for kind in REWARDS]
    if any(seeds for _, seeds in found):
        out.append(_pointing([(kind, seeds) for kind, seeds in found if seeds]))
    return [*out, capacity()]


def _of(evaluations: Evaluations, kind: str) -> list[Mapping[str, Record]]:
    return [records for (_, name), records in sorted(evaluations.items()) if name == kind and records]


def _counts(kind: str, seeds: list[Mapping[str, Record]]) -> dict[str, Any]:
    rows = []
    for name in seeds[0]:
        found = [records[name] for records in seeds]
        first = found[0]
        right = [wilson(sum(r["right"]), len(r["right"])) for r in found]
        tokens = sum(sum(r["tokens"]) / len(r["tokens"]) for r in found) / len(found)
        lost = sum(sum(r["lost"]) / len(r["lost"]) for r in found) / len(found)
        width = first["width"] or "–"
        rows.append([NAMES[first["arm"]], width, first["width"] + 1, _over(right), round(tokens, 1), round(lost, 4)])
    rows.sort(key=lambda row: [NAMES[arm] for arm in ARMS].index(row[0]))
    return {
        "title": TITLES[kind],
        "columns": ["", "K", "trajectories", "right", "tokens a problem", "no synthesis"],
        "rows": rows,
        "note": "Generated tokens; Wilson intervals, of several seeds the mean with a t interval. Always giving the "
        f"most frequent answer is right in {_guess(seeds[0]):.3f}."
        + ("" if above_chance(seeds[0][ONE]) else " This model is not surely better: its claims are not judged."),
    }


def _guess(records: Mapping[str, Record]) -> float:
    truth = records[ONE]["truth"]
    return max(Counter(truth).values()) / len(truth)


def _gains(kind: str, seeds: list[Mapping[str, Record]]) -> dict[str, Any]:
    """The widest parallel schedule against the other arms, and against one trajectory by what there is to find."""
    pairs: list[tuple[str, list[tuple[Record, Record]]]] = [
        (f"[K] − {NAMES[arm]}", [(widest(r, PARALLEL), widest(r, arm)) for r in seeds]) for arm in ARMS[:-1]
    ]
    ones = pairs[0][1]
    for words, keep in (("counts of 0 or 1", lambda n: n <= 1), ("counts of 2 and more", lambda n: n >= 2)):
        chosen = [(_where(a, keep), _where(b, keep)) for a, b in ones]
        if all(len(a["right"]) for a, _ in chosen):
            pairs.append((f"[K] − {NAMES[ONE]}, {words}", chosen))
    return {
        "title": f"{TITLES[kind]}: differences at the widest schedule",
        "columns": ["", "problems", "right"],
        "rows": [[words, len(p[0][0]["right"]), _over([difference(*pair) for pair in p])] for words, p in pairs],
        "note": "Paired on the same problems (Tango's interval). The last rows ask whether what needs an exhaustive "
        "look gains more.",
    }


def _where(record: Record, keep: Callable[[int], bool]) -> Record:
    return {"right": [r for r, truth in zip(record["right"], record["truth"], strict=True) if keep(truth)]}


def _pointing(found: list[tuple[str, list[Mapping[str, Record]]]]) -> dict[str, Any]:
    names = ("pass@1", "pass@N", "greedy", "entropy", "length")
    rows = []
    for kind, seeds in found:
        records = [records["pointing"] for records in seeds]
        changes = [pointing(record, seed) for seed, record in enumerate(records)]
        rows.append([REWARDS[kind], *(_over([change[name] for change in changes]) for name in names)])
    looks = found[0][1][0]["pointing"]["looks"]
    return {
        "title": "Pointing: what PPO changes",
        "columns": ["reward", "hits of one try", f"of any of {looks}", "greedy hits", "entropy (nats)", "tokens"],
        "rows": rows,
        "note": "After minus before, on the same test problems, at temperature 1 but for greedy; bootstrap intervals, "
        "of several seeds the mean with a t interval.",
    }


def capacity() -> dict[str, Any]:
    """What a layer's attention can hold, from the published sizes: nothing of it is measured here."""
    rows = []
    for name in CAPACITY:
        attention = load_model(name).layers[0].attention
        rows.append(
            [name, attention.effective_rank, attention.shared_dim, int(attention.cache_bytes(1) / attention.kv_bytes)]
        )
    return {
        "title": "Attention of the published models, by their sizes",
        "columns": ["model", "total effective rank", "shared latent dimension", "cached numbers a token and layer"],
        "rows": rows,
        "note": "Measures of arXiv 2412.19255 and 2507.19427, §5.1.",
    }


def _over(estimates: list[Estimate]) -> dict[str, Any]:
    return (estimates[0] if len(estimates) == 1 else t_interval([e.value for e in estimates])).to_json()


def curves(evaluations: Evaluations, seed: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(kind, metric records) of one seed: accuracy of each arm; the steps are generated tokens a problem."""
    for kind in TITLES:
        found = []
        for record in evaluations.get((seed, kind), {}).values():
            right, line = wilson(sum(record["right"]), len(record["right"])), f"accuracy/{NAMES[record['arm']]}"
            numbers = {line: right.value, f"{line}_low": right.low, f"{line}_high": right.high}
            tokens = sum(record["tokens"]) / len(record["tokens"])
            found.append({"stage": TITLES[kind], "step": round(tokens), **numbers})
        if found:
            yield kind, sorted(found, key=lambda entry: int(entry["step"]))
