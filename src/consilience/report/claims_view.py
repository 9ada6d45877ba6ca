"""Claims as the page and the terminal show them. A claim is a row of `claims.json`, see `consilience.claims`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consilience.errors import InputError
from consilience.report.tables import signed

Claim = Mapping[str, Any]
FINDINGS = {"holds": ("✓", "holds"), "does_not_hold": ("✗", "does not hold"), "not_measured": ("–", "not measured")}


def claim_view(claim: Claim) -> dict[str, Any]:
    """What the page's template needs of one claim.

    Raises:
        InputError: the row has no sentence or no known verdict.
    """
    if claim.get("verdict") not in FINDINGS or "sentence" not in claim:
        raise InputError(f"claims.json: the claim {str(dict(claim))[:80]} lacks a sentence or one of {list(FINDINGS)}.")
    mark, verdict = FINDINGS[claim["verdict"]]
    return {
        "state": {"holds": "holds", "does_not_hold": "fails"}.get(claim["verdict"], "open"),
        "mark": mark,
        "verdict": verdict,
        "sentence": claim["sentence"],
        "figures": figures(claim),
        "rule": ": ".join(filter(None, [claim.get("comparison", ""), claim.get("note", "")])),
        "source": claim.get("source", ""),
    }


def figures(claim: Claim) -> list[str]:
    """The measured number, its interval, sample size and seeds, as far as they are known."""
    found = []
    if claim.get("value") is not None:
        found.append(signed(claim["value"]))
    if interval := interval_text(claim):
        found.append(f"95 % interval {interval}")
    if claim.get("n"):
        found.append(f"n {claim['n']:,}")
    if seeds := claim.get("seeds"):
        found.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    return found


def interval_text(claim: Claim) -> str:
    """`low to high`, empty where there is none."""
    if claim.get("low") is None or claim.get("high") is None:
        return ""
    return f"{signed(claim['low'])} to {signed(claim['high'])}"


def measured_first(claims: Sequence[Claim]) -> list[Claim]:
    """The claims in their order, those that this run did not measure at the end."""
    return sorted(claims, key=lambda claim: claim.get("verdict") == "not_measured")


def tally(claims: Sequence[Claim]) -> list[tuple[str, int]]:
    """How many claims hold, do not hold and were not measured; kinds that do not occur are left out."""
    verdicts = [claim["verdict"] for claim in claims]
    return [(word, verdicts.count(key)) for key, (_, word) in FINDINGS.items() if key in verdicts]


def claim_lines(claims: Sequence[Claim], *, origin: bool = False) -> list[str]:
    """Claims for a terminal: verdict and sentence, below them what was measured; with `origin`, when and how."""
    lines = []
    for claim in claims:
        mark, verdict = FINDINGS[claim["verdict"]]
        lines.append(f"{mark} {verdict:<14} {claim['sentence']}")
        below = [
            " · ".join(figures(claim)),
            f"{claim.get('date', '')}  {claim.get('command', '')}".strip() if origin else "",
        ]
        lines += [f"{'':17}{text}" for text in below if text]
    return lines
