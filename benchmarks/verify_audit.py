"""Our verdicts, legacy graders and Math-Verify on the labelled pairs of the package and on hacking probes.

python benchmarks/verify_audit.py [--peer PYTHON] [--record]

Without --peer a locked environment for Math-Verify is made under build/peers. The pairs are read by
`consilience.verify.audit`; `consilience verify --audit` gives the same as a page.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from _record import leave
from consilience.verify.audit import audit, grader, labelled_pairs
from verify_answers import peer_python

GRADERS = ("reward", "evaluation", "legacy:hendrycks", "legacy:prm800k", "legacy:dapo", "legacy:qwen", "math-verify")


def table(found: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for row in found["graders"]:
        wrong = row["labelled"] - row["right"]
        missed, fooled = f"{row['false_negatives']} of {row['right']}", f"{row['false_positives']} of {wrong}"
        hacked = f"{found['probes']['accepted'][row['name']]} of {found['probes']['asked']}"
        rows.append([row["name"], row["accuracy"] | {"n": row["labelled"]}, missed, fooled, hacked])
    return {
        "title": "Graders on the package's labelled pairs",
        "columns": ["grader", "accuracy", "false negatives", "false positives", "probes accepted"],
        "rows": rows,
        "note": "Pairs of 27 types, labelled by hand. Five gaps of `reward` and `evaluation` were closed after their "
        "first run on them, so for these two it is no held-out figure. `reward` is measured by the strict labels; each "
        "grader is given a bare answer in the place where it looks.",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="the Python of an environment that has math-verify")
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    options = parser.parse_args()
    graders = [grader(name, math_verify=peer_python(options.peer)) for name in GRADERS]
    leave("verify-audit", [table(asyncio.run(audit(graders, labelled_pairs())))], record=options.record)


if __name__ == "__main__":
    main()
