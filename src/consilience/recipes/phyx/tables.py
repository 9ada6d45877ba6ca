"""The tables of the report and of RESULTS.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from consilience.recipes.phyx.asked import CONDITIONS, TASKS
from consilience.recipes.phyx.claims import Found, bits
from consilience.recipes.phyx.faults import KINDS, OTHERS, PUBLISHED
from consilience.recipes.phyx.results import Results
from consilience.recipes.phyx.sizes import FORMATS, LEVELS, SHOWN, SOLVERS, STYLES, WORKING
from consilience.stats import t_interval, wilson
from consilience.worlds.physics_protocol import DOMAINS, REASONING

Table = dict[str, Any]
NOTE = "Simulated solvers, no model: random letters; physics from words; physics from words and labels; spoilt truth."
NANO = (
    "A nano fine-tuned on clean figures of a few families, cut to their labels; greedy. "
    "calculator: its own readings and formula, worked out exactly."
)
BROKEN_DOWN = ("oe_dr-image", "mc_dr-image")


def tables(found: Results) -> list[Table]:
    """Everything that was measured: forms under both rules, domains, sub-domains and reasoning types, kinds of error,
    what the reader reads, and the nano. Empty tables are left out."""
    made = [
        *(_forms(found.solvers, rule) for rule in ("strict", "official")),
        _facets(found, "domain", 0, tuple(DOMAINS)),
        _facets(found, "sub-domain", 1, tuple(name for names in DOMAINS.values() for name in names)),
        _facets(found, "reasoning type", 2, REASONING),
        _read(found),
        _faults(found),
        _named(found),
        _nano(found),
        _nano_faults(found),
    ]
    return [table for table in made if table["rows"]]


def _forms(solvers: Found, rule: str) -> Table:
    names = [f"{form}_{style}-{shown}" for shown in SHOWN for form in FORMATS for style in STYLES]
    rows = []
    for name in names:
        scores = {who: [bits(r, rule) for (_, w, f), r in solvers.items() if (w, f) == (who, name)] for who in SOLVERS}
        if any(scores.values()):
            label = name.replace("-image", "").replace("-text", ", caption")
            rows.append([label, *(share(np.concatenate(s)) if s else None for s in scores.values())])
    return {"title": f"Accuracy by form, {rule} rules", "columns": ["form", *SOLVERS], "rows": rows, "note": NOTE}


def _facets(found: Results, kind: str, column: int, names: Sequence[str]) -> Table:
    """Strict accuracy by domain, sub-domain or reasoning type, de-redundant text with the figure."""
    columns = [kind, "problems", *(f"{who}, {form[:2]}" for form in BROKEN_DOWN for who in SOLVERS[1:])]
    rows = []
    for name in names:
        mine = {
            seed: np.array([name == f[column] if column < 2 else name in f[column] for f in facets])
            for seed, facets in found.facets.items()
        }
        count = sum(int(mask.sum()) for mask in mine.values())
        cells = []
        for form in BROKEN_DOWN:
            for who in SOLVERS[1:]:
                scores = [bits(found.solvers[seed, who, form])[mask] for seed, mask in mine.items()]
                cells.append(share(np.concatenate(scores)) if count else None)
        if mine:
            rows.append([name, count, *cells])
    note = f"De-redundant text and the figure, strict rules. {NOTE}"
    more = " A problem can have several types." if column == 2 else ""
    return {"title": f"Accuracy by {kind}", "columns": columns, "rows": rows, "note": note + more}


def _read(found: Results) -> Table:
    rows = []
    for level in LEVELS:
        mine = [record for record in found.readings if record["level"] == level]
        right, total = (sum(record[name] for record in mine) for name in ("right", "total"))
        if total:
            rows.append([level, wilson(right, total).to_json()])
    return {"title": "Labels read right", "columns": ["level", "share of labels"], "rows": rows, "note": NOTE}


def _faults(found: Results) -> Table:
    """Kinds of error of the solvers that show their working, by form."""
    rows = []
    for who in WORKING:
        for form in dict.fromkeys(form for _, _, form in found.solvers):
            counts: Counter[str] = Counter()
            for (_, w, f), record in found.solvers.items():
                if (w, f) == (who, form):
                    counts.update(record["faults"])
            if counts:
                rows.append([who, form.replace("-image", "").replace("-text", ", caption"), *kinds(counts)])
    columns = ["solver", "form", "errors", *KINDS, *OTHERS]
    published = ", ".join(f"{name} {value:.1%}" for name, value in PUBLISHED.items())
    note = f"Decided by rules from the working and the known truth. PhyX, 96 errors of GPT-4o: {published}. {NOTE}"
    return {"title": "Kinds of error", "columns": columns, "rows": rows, "note": note}


def kinds(counts: Mapping[str, int]) -> list[Any]:
    """Errors, and the share of each kind."""
    total = sum(counts.values())
    return [total, *(wilson(counts.get(kind, 0), total).to_json() for kind in (*KINDS, *OTHERS))]


def _named(found: Results) -> Table:
    """Errors of known kinds by what the rules say."""
    counts: Counter[tuple[str, str]] = Counter()
    for made in found.erring.values():
        counts.update(made)
    rows = [[kind, *(counts[kind, said] for said in (*KINDS, *OTHERS))] for kind in KINDS] if counts else []
    note = "A simulation that errs in known ways; rows: the error made, columns: what the rules say."
    return {"title": "Errors of known kinds", "columns": ["made", *KINDS, *OTHERS], "rows": rows, "note": note}


def _nano(found: Results) -> Table:
    rows = []
    for task in TASKS:
        for condition in CONDITIONS:
            records = [r for (_, c, f), r in found.learnt.items() if (c, f) == (condition, task)]
            if records:
                read = np.concatenate([record["read"] for record in records])
                named = sum(record["formula"] for record in records)
                cells = [share(np.concatenate([bits(r, rule) for r in records])) for rule in _RULES]
                states = condition != "majority"
                rows.append([task, condition, *cells, _mean(read) if states else None, named / len(read)])
    columns = ["form", "sees", "strict", "official", "with calculator", "quantities read", "formula named"]
    return {"title": "Nano on physics figures", "columns": columns, "rows": rows, "note": NANO}


_RULES = ("strict", "official", "calculated")


def _nano_faults(found: Results) -> Table:
    rows = []
    for task in TASKS:
        counts: Counter[str] = Counter()
        for (_, condition, form), record in found.learnt.items():
            if (condition, form) == ("figures", task):
                counts.update(record["faults"])
        if counts:
            rows.append([task, *kinds(counts)])
    return {"title": "Nano: kinds of error", "columns": ["form", "errors", *KINDS, *OTHERS], "rows": rows, "note": NANO}


def share(right: np.ndarray) -> dict[str, Any]:
    """Share of ones with Wilson's interval; no value where there is none."""
    return wilson(int(right.sum()), len(right)).to_json() if len(right) else {"value": None}


def _mean(values: np.ndarray) -> Any:
    return t_interval(values).to_json() if len(values) > 1 else float(values[0])


def of_model(records: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> list[Table]:
    """Tables of a model: forms, domains, sub-domains, reasoning types, kinds of error, and those that people named."""
    made = [_asked_forms(records)]
    for kind, field in (("domain", "category"), ("sub-domain", "subfield"), ("reasoning type", "reasoning_type")):
        made.append(_asked_facets(records, kind, field))
    rows = []
    for form in dict.fromkeys(record["form"] for record in records):
        counts = Counter(record["fault"] for record in records if record["form"] == form and record["fault"])
        if counts:
            rows.append([form, *kinds(counts)])
    columns = ["form", "errors", *KINDS, *OTHERS]
    made.append({"title": "Kinds of error", "columns": columns, "rows": rows, "note": "Decided by rules."})
    found = Counter(labels.values())
    if labels:
        people = [[kind, found[kind], wilson(found[kind], len(labels)).to_json(), PUBLISHED[kind]] for kind in KINDS]
        columns = ["kind", "answers", "share", "PhyX, GPT-4o"]
        made.append({"title": "Kinds of error named by people", "columns": columns, "rows": people})
    return [table for table in made if table["rows"]]


def _asked_forms(records: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for form in dict.fromkeys(record["form"] for record in records):
        mine = [record for record in records if record["form"] == form]
        tokens = float(np.mean([record["tokens"] for record in mine]))
        cut = float(np.mean([record["truncated"] for record in mine]))
        undecided = float(np.mean([record["strict"] is None for record in mine]))
        rows.append([form, *(_decided(mine, rule) for rule in ("official", "strict")), undecided, tokens, cut])
    columns = ["form", "official rules or judge", "strict rules", "undecided", "tokens", "cut off"]
    note = "Undecided answers count in neither direction under the strict rules."
    return {"title": "Accuracy by form", "columns": columns, "rows": rows, "note": note}


def _asked_facets(records: Sequence[Mapping[str, Any]], kind: str, field: str) -> Table:
    def values(record: Mapping[str, Any]) -> Iterable[str]:
        return [record[field]] if isinstance(record[field], str) else record[field]

    forms = list(dict.fromkeys(record["form"] for record in records))
    rows = []
    for name in sorted({value for record in records for value in values(record) if value}):
        mine = [record for record in records if name in values(record)]
        rows.append([name, *(_decided([r for r in mine if r["form"] == form], "official") for form in forms)])
    return {"title": f"Accuracy by {kind}", "columns": [kind, *forms], "rows": rows, "note": "Official rules or judge."}


def _decided(records: Sequence[Mapping[str, Any]], rule: str) -> dict[str, Any]:
    return share(np.array([record[rule] for record in records if record[rule] is not None], dtype=bool))
