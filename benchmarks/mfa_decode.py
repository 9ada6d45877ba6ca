"""Decoding attention of MFA at Step-3's head shapes: bytes a second against a copy, and torch's own kernels.

    python benchmarks/mfa_decode.py [--batch 64 128 256] [--context 4096 8192 16384 32768] [--rounds N] [--record]

One layer, 64 query heads of 256 numbers over one key head (arXiv 2507.19427, §2), bfloat16, one new token a row. All
candidates read the same cache; they run alternately, round by round, between events of the card, after a warm-up. The
bandwidth of a copy is measured in the same rounds: bytes read and written by `Tensor.copy_` of a buffer as large as the
cache (at most 4 GiB). Without a card sizes are tiny, the kernel is the torch fallback in float32, and the note says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from _record import leave
from consilience.nn.kernels.choose import triton_serves
from consilience.nn.kernels.decode import decode_attention
from consilience.stats import t_interval

HEADS, DIM = 64, 256
TARGET = 0.7
COPY_BYTES = 4 << 30
Candidate = Callable[[], Any]


def candidates(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Candidate]:
    """What computes the same: q (B, H, C) scaled, k and v (B, S, C)."""
    (b, s, _), device = k.shape, k.device
    start, end = torch.zeros(b, dtype=torch.int64, device=device), torch.full((b,), s, device=device)
    q4, k4, v4 = q[:, :, None], k[:, None], v[:, None]
    # torch takes heads of one key head side by side as positions, so that nothing is copied per head
    side = q[:, None]
    found: dict[str, Candidate] = {
        "consilience": partial(decode_attention, q, k, v, start, end),
        "SDPA, heads as rows": partial(F.scaled_dot_product_attention, side, k4, v4, scale=1.0),
        "SDPA, enable_gqa": partial(F.scaled_dot_product_attention, q4, k4, v4, scale=1.0, enable_gqa=True),
    }
    if device.type == "cuda":
        from torch.nn.attention.flex_attention import flex_attention

        flex = torch.compile(flex_attention, dynamic=False)
        found["FlexAttention"] = partial(flex, q4, k4, v4, scale=1.0, enable_gqa=True)
    return found


def seconds(run: Candidate, device: torch.device, repeats: int) -> float:
    """Of one call, mean of `repeats`."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(repeats):
            run()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / repeats
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def measure(batch: int, context: int, device: torch.device, rounds: int, repeats: int) -> dict[str, list[float]]:
    """Bytes a second of every candidate and of a copy, one number a round.

    Raises:
        RuntimeError: a candidate computes something else.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(0)
    make = partial(torch.randn, device=device, dtype=dtype, generator=generator)
    q, k, v = make(batch, HEADS, DIM) * DIM**-0.5, make(batch, context, DIM), make(batch, context, DIM)
    cache_bytes = 2 * k.numel() * k.element_size()
    source = torch.empty(min(cache_bytes, COPY_BYTES), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    runs: dict[str, tuple[Candidate, int]] = {"copy": (partial(target.copy_, source), 2 * len(source))}
    reference = torch.bmm((q.float() @ k.float().mT).softmax(-1), v.float()) if batch * context <= 1 << 20 else None
    for name, run in candidates(q, k, v).items():
        out = run().reshape(batch, HEADS, DIM).float()
        if reference is not None and (out - reference).abs().max() > (2e-2 if dtype == torch.bfloat16 else 1e-4):
            raise RuntimeError(f"{name} computes something else at batch {batch}, context {context}")
        runs[name] = run, cache_bytes
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, (run, moved) in runs.items():
            taken = seconds(run, device, repeats)
            if number:  # the first round warms up
                found[name].append(moved / taken)
    return found


def row(batch: int, context: int, found: dict[str, list[float]]) -> list[Any]:
    """A line of the table: GB/s, share of the copy, and how many times as fast as the others."""
    ours, others = found["consilience"], [name for name in found if name not in ("copy", "consilience")]
    share = [a / b for a, b in zip(ours, found["copy"], strict=True)]
    ratios = [[a / b for a, b in zip(ours, found[name], strict=True)] for name in others]
    gigabytes = [x / 1e9 for x in ours]
    return [f"{batch} × {context}", *(t_interval(x).to_json() for x in (gigabytes, share, *ratios))]


def main() -> None:
    card = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 128, 256] if card else [2])
    parser.add_argument("--context", type=int, nargs="+", default=[4096, 8192, 16384, 32768] if card else [256])
    parser.add_argument("--rounds", type=int, default=10 if card else 3)
    parser.add_argument("--record", action="store_true", help="write the table into RESULTS.md")
    given = parser.parse_args()
    device = torch.device("cuda" if card else "cpu")
    rows: list[list[Any]] = []
    columns: Sequence[str] = ()
    for batch in given.batch:
        for context in given.context:
            found = measure(batch, context, device, given.rounds, repeats=20 if card else 2)
            rows.append(row(batch, context, found))
            columns = ["batch × context", "GB/s", "share of a copy", *(f"times {name}" for name in list(found)[2:])]
    kernel = "Triton" if triton_serves(torch.empty(1, device=device)) else "torch fallback"
    where = torch.cuda.get_device_name() if card else "CPU, a check of the program and no measurement of the kernel"
    note = f"{where}; {kernel}; torch {torch.__version__}; {given.rounds} rounds. Target: {TARGET:.0%} of a copy."
    leave("mfa-decode", [{"title": "MFA decoding, 64 heads of 256", "columns": columns, "rows": rows, "note": note}],
          record=given.record)  # fmt: skip


if __name__ == "__main__":
    main()
