"""Decoding speed of the published architectures as nanos, beside the house's own model of the same width and depth.

    python benchmarks/architectures_decode.py [--rounds N] [--record]

Random weights, equal prompts and lengths, one thread, float32. Architectures take turns, round by round, and time is
processor time, so that other work on the machine does not count. Before that, each architecture's cache is compared
with the formula, number by number: keys and values that a step sees against `nn.count.kv_elements`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "reference"))

from official_configs import FLASH, STEP3_TEXT, STEP3_VL

from _record import leave
from consilience.engine import Engine, Request, Vocabulary
from consilience.nn.config import ModelConfig
from consilience.nn.count import count, kv_elements
from consilience.nn.decoder import Decoder
from consilience.nn.published import step3, step3_vl_10b, step_3_5_flash
from consilience.nn.published.shrink import shrink
from consilience.nn.template import Prompt
from consilience.protocols import Sampling

WIDTH, DEPTH, PROMPT, NEW = 64, 4, 32, 96
ROWS = (1, 64)
HOUSE = "GQA nano"


def nanos() -> dict[str, ModelConfig]:
    """The house's model, and each published architecture shrunk to its width and depth, or as many layers as it has
    kinds; eyes and drafting heads off."""
    large = {
        "Step-3 (MFA, experts)": step3.config_from_hf(STEP3_TEXT),
        "Step-3 (MFA-KR, experts)": step3.with_key_reuse(step3.config_from_hf(STEP3_TEXT)),
        "Step 3.5 Flash (windows, gates, experts)": step_3_5_flash.config_from_hf(FLASH),
        "STEP3-VL-10B (text)": step3_vl_10b.config_from_hf(STEP3_VL),
    }
    house = ModelConfig(d_model=WIDTH, n_layers=DEPTH, n_heads=4, n_kv_heads=2, head_dim=16, d_ff=5 * WIDTH // 2)
    small = {name: replace(shrink(config, WIDTH, DEPTH), vision=None, drafts=()) for name, config in large.items()}
    return {HOUSE: house, **small}


def requests(rows: int, vocabulary: int) -> list[Request]:
    rng = random.Random(rows)
    return [
        Request(
            Prompt(tuple(rng.randrange(min(256, vocabulary)) for _ in range(PROMPT))), Sampling(max_tokens=NEW, seed=i)
        )
        for i in range(rows)
    ]


def engine(config: ModelConfig, rows: int) -> Engine:
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(0))
    return Engine(model, rows=rows, dtype=torch.float32, vocabulary=Vocabulary(config.vocab_size, ()))


def check_cache(name: str, config: ModelConfig) -> None:
    """Raises AssertionError where the cache holds more or less than the formula says."""
    running = engine(config, 1)
    running.submit(requests(1, config.vocab_size)[0], lambda *_: None)
    for step in range(1, NEW):
        running.batch.step()
        held, formula = running.batch.cache.held(0), kv_elements(config, PROMPT - 1 + step)
        assert held == formula, f"{name}: {held} numbers in the cache, {formula} by the formula"


def measure(configs: dict[str, ModelConfig], rounds: int) -> dict[tuple[str, int], list[float]]:
    """Tokens per second of processor time of every round, by architecture and rows."""
    rates: dict[tuple[str, int], list[float]] = {}
    for rows in ROWS:
        engines = {name: engine(config, rows) for name, config in configs.items()}
        for turn in range(rounds + 1):
            for name, one in engines.items():
                start = time.process_time()
                outputs = one.generate(requests(rows, configs[name].vocab_size))
                seconds = time.process_time() - start
                if turn:  # the first one warms up
                    rates.setdefault((name, rows), []).append(sum(len(o[0].tokens) for o in outputs) / seconds)
    return rates


def table(configs: dict[str, ModelConfig], rates: dict[tuple[str, int], list[float]], rounds: int) -> dict[str, Any]:
    rows = []
    for name, config in configs.items():
        counts = count(config)
        cells: list[Any] = [name, config.n_layers, counts.total, counts.active]
        for n in ROWS:
            speed = statistics.median(rates[name, n])
            ratio = statistics.median(a / b for a, b in zip(rates[name, n], rates[HOUSE, n], strict=True))
            cells += [round(speed), ratio]
        rows.append([*cells, *(4 * kv_elements(config, n) for n in (PROMPT + NEW, 1024))])
    columns = ["nano", "layers", "parameters", "active"]
    for n in ROWS:
        columns += [f"tokens/s, {n} row{'s' if n > 1 else ''}", "of the house's"]
    columns += [f"KV bytes at {PROMPT + NEW} tokens", "at 1024"]
    note = (
        f"Medians of {rounds} alternated rounds, one thread, float32, processor time. KV bytes are what the cache held."
    )
    return {"title": "Decoding of nano architectures", "columns": columns, "rows": rows, "note": note}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help="write the section into RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    configs = nanos()
    for name, config in configs.items():
        check_cache(name, config)
    rates = measure(configs, arguments.rounds)
    leave("architectures-decode", [table(configs, rates, arguments.rounds)], record=arguments.record)


if __name__ == "__main__":
    main()
