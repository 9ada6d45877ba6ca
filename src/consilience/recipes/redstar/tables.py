"""The tables and curves of the report and of RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from consilience.recipes.redstar.claims import ALGORITHMS
from consilience.recipes.redstar.sizes import Sizes
from consilience.stats import t_interval
from consilience.synth.long_cot_scale import bands, samples_saved, trigger

Records = Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]
SIMULATED = "Simulation without a language model: a table of what to do for each skill."
LEVEL = 0.9
_DIFFICULTY = (50, 200, 800, 3200)
_UNSHOWN = ("in", "out", "sources", "ids")
_EPOCHS = f"Batches of 50 chains: more chains mean more updates; elsewhere there are 200. {SIMULATED}"
_EASIER = {
    f"{name}, {mix} prompts": f"{name}{end}"
    for name in ("reinforce", "baseline")
    for mix, end in (("easy", "_on_easy"), ("mixed", "_on_mixed"), ("hard", "_fixed"))
}
_STAGES = ("uniq", "clean", "level", "verified", "sft")
_GEO = {
    "geo_told": "skills told, not shown (upper bound)",
    "geo_base": "base, good reader",
    "geo_verbalised": "words first, good reader",
    "geo_direct": "directly, verified, good reader's teacher",
    "geo_direct_unverified": "directly, unverified",
    "geo_base_poor": "base, poor reader",
    "geo_verbalised_poor": "words first, poor reader",
    "geo_direct_poor": "directly, verified, poor reader's teacher",
    "geo_direct_unverified_poor": "directly, unverified, poor reader's teacher",
}


def tables(found: Records, sizes: Sizes) -> list[dict[str, Any]]:
    """Every table of what was measured, in the order of the experiments; empty ones are left out."""
    series = {f"{n} hard": f"hard_{n}" for n in sizes.series}
    sets = {f"{n} {mix}": f"{mix}_{n}" for n in _DIFFICULTY for mix in ("easy", "mixed", "hard") if n <= sizes.largest}
    models = {f"{rows} rows, {what}": f"r{rows}_{arm}" for rows in (80, 120) for what, arm in _KINDS.items()}
    noise = {f"200 hard, {p} % wrong steps": f"noise{p}" for p in (0, 3, 25, 50)}
    for n in (12, 25, 50, 100, 200):
        noise |= {
            f"{n} verified (3 % wrong)": f"verified_{n}",
            f"{4 * n} unverified (25 % wrong)": f"unverified_{4 * n}",
        }
    tokens = {
        label: arm
        for n in (50, 200)
        for label, arm in ((f"{n} hard", f"hard_{n}"), (f"easy, as many steps as {n} hard", f"easy_as_long_{n}"))
    }
    answers = {"base, steps": "answers_base", "answers only": "answers_direct", "steps": "answers_long"}
    start = {"base": "base", "base, majority of 8 final answers": "base_majority"}
    made = [
        _table(found, "E1: samples", {**start, **series}, SIMULATED),
        _table(found, "E1: samples at ten epochs", {f"{n} hard": f"epochs_{n}" for n in sizes.series}, _EPOCHS),
        _curve_table(found, sizes),
        _table(found, "E2: difficulty", {**start, **sets}, SIMULATED),
        _table(found, "E3 and E7: size of the model, and balance", models, f"160 rows are E1's. {SIMULATED}"),
        _table(found, "E4: verification", noise, SIMULATED),
        _table(found, "E5: equal steps instead of equal samples", tokens, SIMULATED),
        _table(found, "E6: reinforcement", _reinforced(), f"Chance that a sample solves a problem, exact. {SIMULATED}"),
        _sweep(found),
        _table(found, "E6: reinforcement on easier prompts", _EASIER, f"Step size 0.03. {SIMULATED}"),
        _pushed(found),
        _table(found, "E8: final answers, with steps and without", answers, f"Chance is 0.125. {SIMULATED}"),
        _table(found, "Geo: steps shown as pictures", {label: arm for arm, label in _GEO.items()}, SIMULATED),
        _reading(found),
        _table(found, "A small decoder (reported, never judged)", _DECODER, "Final answers, greedy; chance is 0.125."),
        _pipeline(found),
    ]
    return [table for table in made if table["rows"]]


_KINDS = {"base": "base", "800 hard": "hard", "640 hard and 160 easy": "mix"}
_DECODER = {
    "after short chains": "decoder_start",
    "then hard chains with steps": "decoder_long",
    "then hard chains, answers only": "decoder_short",
}


def _reinforced() -> dict[str, str]:
    kinds = {"step size chosen on dev": "", "step size 0.03": "_fixed", "random reward": "_coin"}
    return {"start": "start", **{f"{a}, {label}": f"{a}{end}" for label, end in kinds.items() for a in ALGORITHMS}}


def _seeds(found: Records) -> list[int]:
    return sorted({seed for seed, _ in found})


def _values(found: Records, arm: str, field: str) -> list[float]:
    """The mean of a field of an arm in each seed that has it."""
    records = (found[seed, arm][-1] for seed in _seeds(found) if (seed, arm) in found)
    return [float(np.mean(record[field])) for record in records if field in record]


def _cell(values: Sequence[float]) -> Any:
    if not values:
        return None
    return t_interval(values, LEVEL).to_json() if len(values) > 1 else values[0]


def _table(found: Records, title: str, arms: Mapping[str, str], note: str) -> dict[str, Any]:
    rows = []
    for label, arm in arms.items():
        cells = [_values(found, arm, split) for split in ("hard", "easy")]
        if any(cells):
            rows.append([label, *(_cell(values) for values in cells)])
    count = len(_seeds(found))
    over = f"Means over {count} seeds with {LEVEL:.0%} t intervals." if count > 1 else "One seed."
    return {"title": title, "columns": ["", "hard problems", "easy problems"], "rows": rows, "note": f"{over} {note}"}


def _curve_table(found: Records, sizes: Sizes) -> dict[str, Any]:
    """The fitted scaling curves, where they begin, and samples saved."""
    rows = []
    for mix, every in (("hard", sizes.series), ("mixed", _DIFFICULTY), ("easy", _DIFFICULTY)):
        n = [size for size in every if size <= sizes.largest]
        have = [seed for seed in _seeds(found) if all((seed, f"{mix}_{size}") in found for size in n)]
        if len(n) < 3 or not have:
            continue
        right = np.array([[found[seed, f"{mix}_{size}"][-1]["hard"] for size in n] for seed in have])
        fitted = bands(n, right, seed=0, resamples=200)
        accuracy = dict(zip(n, right.mean((0, 2)).tolist(), strict=True))
        base = float(np.mean(_values(found, "base", "hard")))
        hard = {size: float(np.mean(_values(found, f"hard_{size}", "hard"))) for size in sizes.series}
        saved = samples_saved(accuracy, hard, max(accuracy.values()))
        rows.append([mix, *(fitted[name].to_json() for name in fitted), trigger(base, accuracy), saved])
    columns = ["data", "e∞", "a", "b", "n_trigger", "samples for the same accuracy, against hard"]
    note = "error(n) = e∞ + a·n^−b on hard problems; 90 % bands draw seeds and problems again (200 times)."
    return {"title": "Scaling curves", "columns": columns, "rows": rows, "note": note}


def _sweep(found: Records) -> dict[str, Any]:
    rows = []
    for algorithm in ALGORITHMS:
        records = [record for seed in _seeds(found) for record in found.get((seed, f"sweep_{algorithm}"), ())]
        for lr, beta in sorted({(record["lr"], record["beta"]) for record in records}):
            values = [record["dev"] for record in records if (record["lr"], record["beta"]) == (lr, beta)]
            rows.append([algorithm, lr, beta if algorithm == "dpo" else None, _cell(values)])
    columns = ["algorithm", "step size", "β", "dev problems"]
    return {"title": "E6: sweep", "columns": columns, "rows": rows, "note": "Chosen on dev, never on test problems."}


def _pushed(found: Records) -> dict[str, Any]:
    rows = []
    for name in ("reinforce", "baseline"):
        cells = [_cell(_values(found, f"pushed_{name}", field)) for field in ("short", "long")]
        if any(cell is not None for cell in cells):
            rows.append([name, *cells])
    note = "Mean advantage of a step before any update, on mixed prompts."
    columns = ["algorithm", "chains of 1 and 2 steps", "of 5 and 6"]
    return {"title": "E6: whom the advantages push", "columns": columns, "rows": rows, "note": note}


def _reading(found: Records) -> dict[str, Any]:
    fields = ("read", "kept", "wrong_steps_all", "wrong_steps_kept")
    rows = []
    for label, arm in (("good reader", "geo_verbalised"), ("poor reader", "geo_verbalised_poor")):
        cells = [_cell(_values(found, arm, field)) for field in fields]
        if any(cell is not None for cell in cells):
            rows.append([label, *cells])
    columns = ["", "test steps read rightly", "chains kept", "wrong steps, all", "wrong steps, kept"]
    note = "A chain is kept if its final answer is right; that lets some misread chains through by luck."
    return {"title": "Geo: what verification removes", "columns": columns, "rows": rows, "note": note}


def _pipeline(found: Records) -> dict[str, Any]:
    rows = []
    for seed in _seeds(found):
        for record in found.get((seed, "curation"), ()):
            for stage in _STAGES:
                counts = record["counts"][stage]
                rest = {k: v for k, v in counts.items() if k not in _UNSHOWN and v not in (0, None)}
                said = "; ".join(f"{name} {_words(value)}" for name, value in rest.items())
                rows.append([stage, counts["in"], counts["out"], said])
    note = "Pictures of digits and scenes, put into words by detectors; teacher, target and judge are simulated."
    return {"title": "The data pipeline", "columns": ["stage", "in", "out", "counts"], "rows": rows, "note": note}


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {count}" for name, count in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def curves(found: Records, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Metric records: accuracy on hard problems over samples, a stage a mix."""
    for mix in ("easy", "mixed", "hard"):
        for n in sorted({*sizes.series, *_DIFFICULTY}):
            values = _values(found, f"{mix}_{n}", "hard")
            if values:
                yield {"stage": mix, "step": n, "accuracy on hard problems": float(np.mean(values))}
