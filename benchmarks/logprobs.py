"""Peak memory of the log-probability pass, forward and backward: all logits at once beside pieces of at most 2^24.

    python benchmarks/logprobs.py [--record]

Each case runs in a process of its own; what counts is how far the highest resident memory rises above that just
before the pass. Both sides compute the same function (the largest difference of log-probabilities is shown).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

WIDTH = 128
CASES = ((4096, 8192), (8192, 32768))
"""(response tokens, vocabulary)."""


def naive(hidden_MD: Any, head: Any, targets_M: Any) -> tuple[Any, Any]:
    """log_softmax over the whole float32 matrix, and its entropy."""
    import torch

    logprob_MV = head(hidden_MD).float().log_softmax(-1)
    with torch.no_grad():
        entropy_M = -(logprob_MV.exp() * logprob_MV).sum(-1)
    return logprob_MV.gather(-1, targets_M[:, None])[:, 0], entropy_M


def work(side: str, tokens: int, vocabulary: int) -> None:
    """One pass in this process; prints megabytes, processor seconds and what was computed."""
    import torch

    from consilience.learn.forward import LOGITS_AT_ONCE, chunked_stats

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    weight_VD = (torch.randn(vocabulary, WIDTH, generator=generator) * 0.05).requires_grad_()
    hidden_MD = torch.randn(tokens, WIDTH, generator=generator).requires_grad_()
    targets_M = torch.randint(vocabulary, (tokens,), generator=generator)

    def head(h: Any) -> Any:
        return h @ weight_VD.T

    def run(count: int) -> tuple[Any, Any]:
        if side == "naive":
            return naive(hidden_MD[:count], head, targets_M[:count])
        return chunked_stats(hidden_MD[:count], head, targets_M[:count], LOGITS_AT_ONCE)

    sum(x.sum() for x in run(8)).backward()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    logprob_M, entropy_M = run(tokens)
    logprob_M.sum().backward()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "mib": (after - before) / 1024,
        "seconds": time.process_time() - began,
        "logprob": float(logprob_M.double().sum()),
        "entropy": float(entropy_M.double().sum()),
        "gradient": float(weight_VD.grad.double().norm()),
        "sample": logprob_M[:: tokens // 64].tolist(),
    }
    print(json.dumps(found))


def ask(side: str, tokens: int, vocabulary: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--worker", side, str(tokens), str(vocabulary)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker[0], *map(int, arguments.worker[1:]))
        return
    from _record import leave

    rows: list[list[Any]] = []
    for tokens, vocabulary in CASES:
        whole, pieces = (ask(side, tokens, vocabulary) for side in ("naive", "pieces"))
        apart = max(abs(a - b) for a, b in zip(whole["sample"], pieces["sample"], strict=True))
        rows.append(
            [
                f"{tokens} × {vocabulary}",
                tokens * vocabulary * 4 / 2**20,
                whole["mib"],
                pieces["mib"],
                whole["mib"] / pieces["mib"],
                pieces["seconds"] / whole["seconds"],
                f"{apart:.1e}",
            ]
        )
    columns = ["tokens × vocabulary", "one float32 matrix, MiB", "all at once, MiB", "in pieces, MiB", "memory ratio"]
    table = {
        "title": "Peak memory of log-probabilities, forward and backward",
        "columns": [*columns, "processor time ratio", "largest difference, nats"],
        "rows": rows,
        "note": f"Width {WIDTH}, one thread, float32; rise of the resident peak above that before the pass. Pieces are "
        "computed a second time for their gradient, which is the price.",
    }
    leave("logprobs", [table], record=arguments.record)


if __name__ == "__main__":
    main()
