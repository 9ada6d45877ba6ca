"""Sampling speed beside `transformers` generate: the same nano-size Qwen3 weights, prompts and sampling law.

    python benchmarks/sampling.py [--rounds N] [--record]

Both sides run in subprocesses of their own, one after the other, round by round; transformers in an environment made
from benchmarks/peers/transformers.txt. Each side is measured at {1, 2} threads × {float32, bfloat16} and compared at
its best, and once more at equal settings. In the mixed case answers end at random: neither side knows their lengths.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY = 384
ENDS = tuple(range(300, 310))
"""In the mixed case: with random weights about one token in forty ends an answer."""
SETTINGS = [(threads, dtype) for threads in (1, 2) for dtype in ("float32", "bfloat16")]
EQUAL = (1, "float32")
BUSY = 1.15
"""Wall time over processor time from which a measurement counts as disturbed."""


@dataclass(frozen=True)
class Case:
    """count prompts of shortest…longest tokens; `new` tokens each, or until an end token where `ends`; short cases are
    run `repeat` times a round."""

    name: str
    count: int
    shortest: int
    longest: int
    new: int
    target: float
    ends: bool = False
    peer_batches: tuple[int, ...] = (256,)
    repeat: int = 1

    def prompts(self) -> list[list[int]]:
        rng = random.Random(self.name)
        lengths = [rng.randint(self.shortest, self.longest) for _ in range(self.count)]
        return [[rng.randrange(256) for _ in range(length)] for length in lengths]


CASES = (
    Case("batch 1", 1, 32, 32, 192, 3.0, repeat=5),
    Case("batch 64", 64, 64, 64, 96, 1.5, repeat=2),
    Case("batch 256", 256, 64, 64, 96, 1.5),
    Case("1,024 mixed", 1024, 16, 128, 128, 2.0, ends=True, peer_batches=(64, 256)),
)

Run = Callable[[Case, int], int]
"""Samples a case (with the peer's batch size) and returns the number of tokens."""


def ours(model: str, dtype: str) -> Run:
    import torch

    from consilience.engine import Engine, Request, Vocabulary
    from consilience.nn.published.qwen3 import from_hf
    from consilience.nn.template import Prompt
    from consilience.protocols import Sampling

    decoder = from_hf(model)
    engines: dict[tuple[bool, int], Engine] = {}

    def run(case: Case, _batch: int) -> int:
        key = (case.ends, case.count)
        if key not in engines:
            words = Vocabulary(VOCABULARY, ENDS if case.ends else ())
            engines[key] = Engine(decoder, rows=min(256, case.count), dtype=getattr(torch, dtype), vocabulary=words)
        requests = [
            Request(Prompt(tuple(prompt)), Sampling(max_tokens=case.new, seed=i))
            for i, prompt in enumerate(case.prompts())
        ]
        return sum(len(samples[0].tokens) for samples in engines[key].generate(requests))

    return run


def transformers(model: str, dtype: str) -> Run:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    network = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    network.generation_config.eos_token_id = None

    def run(case: Case, batch: int) -> int:
        torch.manual_seed(0)
        prompts = sorted(case.prompts(), key=len)
        total = 0
        for first in range(0, len(prompts), batch):
            rows = prompts[first : first + batch]
            width = max(map(len, rows))
            ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
            mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
            with torch.inference_mode():
                output = network.generate(
                    ids,
                    attention_mask=mask,
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=1.0,
                    max_new_tokens=case.new,
                    eos_token_id=list(ENDS) if case.ends else None,
                    pad_token_id=0,
                )
            for row in output[:, width:].tolist():
                ended = next((i + 1 for i, token in enumerate(row) if case.ends and token in ENDS), len(row))
                total += ended
        return total

    return run


def work(side: str, model: str, dtype: str, threads: int) -> None:
    """The subprocess: a case by index and a batch size on each line, seconds and tokens back."""
    import torch

    torch.set_num_threads(threads)
    run = {"ours": ours, "transformers": transformers}[side](model, dtype)
    for line in sys.stdin:
        question = json.loads(line)
        case = CASES[question["case"]]
        start, used = time.perf_counter(), time.process_time()
        tokens = sum(run(case, question["batch"]) for _ in range(case.repeat))
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
        print(json.dumps({"seconds": seconds, "cpu": cpu, "tokens": tokens}), flush=True)


def measure(model: Path, rounds: int, cases: list[int]) -> dict[tuple[int, str, int, str, int], list[float]]:
    """Tokens per second of every round, by (case, side, threads, dtype, peer's batch size)."""
    from _peers import Worker, peer_python

    pythons = {"ours": Path(sys.executable), "transformers": peer_python("transformers")}
    rates: dict[tuple[int, str, int, str, int], list[float]] = {}
    waited = 1.0
    for threads, dtype in SETTINGS:
        workers = {
            side: Worker(
                [python, __file__, "--worker", side, "--model", model, "--settings", dtype, str(threads)], threads
            )
            for side, python in pythons.items()
        }
        for index in cases:
            case = CASES[index]
            for turn in range(rounds + 1):
                for side, worker in workers.items():
                    for batch in case.peer_batches if side == "transformers" else (0,):
                        answer = worker.ask({"case": index, "batch": batch})
                        if turn:  # the first one warms up
                            rate = answer["tokens"] / answer["seconds"]
                            rates.setdefault((index, side, threads, dtype, batch), []).append(rate)
                        waited = max(waited, answer["seconds"] / answer["cpu"])
            print(f"measured {case.name} at {threads} thread(s), {dtype}", file=sys.stderr, flush=True)
        for worker in workers.values():
            worker.close()
    if waited > BUSY:
        print(f"Other work ran meanwhile: a run took {waited:.1f} times its processor time. Repeat.", file=sys.stderr)
    return rates


def tables(rates: dict[tuple[int, str, int, str, int], list[float]], rounds: int) -> list[dict[str, Any]]:
    """Best against best, and equal settings; medians over the rounds."""
    columns = [
        "case",
        "consilience, tokens/s",
        "at",
        "transformers, tokens/s",
        "at",
        "ratio",
        "least of a round",
        "target",
    ]
    result = []
    for title, settings in (
        ("Sampling, each side at its best settings", SETTINGS),
        ("Sampling, both at one thread and float32", [EQUAL]),
    ):
        rows = []
        for index in sorted({key[0] for key in rates}):
            best = {}
            for side in ("ours", "transformers"):
                mine = {k: v for k, v in rates.items() if k[:2] == (index, side) and k[2:4] in settings}
                best[side] = max(mine.items(), key=lambda item: statistics.median(item[1]))
            (a, fast), (b, slow) = best["ours"], best["transformers"]
            ratio = statistics.median(fast) / statistics.median(slow)
            least = min(x / y for x, y in zip(fast, slow, strict=True))
            at = [f"{k[2]} × {k[3]}" + (f", batches of {k[4]}" if CASES[index].ends and k[4] else "") for k in (a, b)]
            target = f"≥ {CASES[index].target}" if len(settings) > 1 else ""
            speeds = [round(statistics.median(side)) for side in (fast, slow)]
            rows.append([CASES[index].name, speeds[0], at[0], speeds[1], at[1], ratio, least, target])
        note = f"Medians of {rounds} alternated rounds; 'at' is threads × precision."
        result.append({"title": title, "columns": columns, "rows": rows, "note": note})
    return result


def write_model(path: Path) -> None:
    import torch

    from consilience.nn.config import ModelConfig
    from consilience.nn.decoder import Decoder
    from consilience.nn.published.qwen3 import to_hf

    model = Decoder(ModelConfig(vocab_size=VOCABULARY))
    model.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.embedding.weight.mul_(0.1)  # flat distributions: every token stays possible
    to_hf(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", type=int, action="append", choices=range(len(CASES)), help="only these cases")
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--settings", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, arguments.model, arguments.settings[0], int(arguments.settings[1]))
        return
    from _peers import ROOT
    from consilience import results
    from consilience.machine import machine

    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "model")
        chosen = arguments.case or list(range(len(CASES)))
        rates = measure(Path(folder) / "model", arguments.rounds, chosen)
    config = {
        "command": " ".join(["python benchmarks/sampling.py", *sys.argv[1:]]),
        "created": time.strftime("%Y-%m-%d"),
        "machine": machine(),
    }
    text = results.section(config, tables(rates, arguments.rounds))
    print(text)
    if arguments.record:
        results.update(ROOT / "RESULTS.md", "benchmark-sampling", text)


if __name__ == "__main__":
    main()
