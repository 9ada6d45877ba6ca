"""What decoding takes in memory: the published figures, and what the caches hold while they run."""

from __future__ import annotations

import random

import pytest
import torch
from naive_engine import prompt, tiny

from consilience.engine import Engine, Memory, Request, Vocabulary, memory
from consilience.errors import InputError
from consilience.nn.count import kv_elements
from consilience.nn.layers import Layer, Rope
from consilience.protocols import Sampling

LAYERS = {
    "plain": {},
    "windows": {"layers": (Layer(4, d_ff=24), Layer(4, Rope(100.0), window=5, d_ff=24))},
    "factored": {"n_kv_heads": 1, "layers": (Layer(4, query_rank=12, d_ff=24),) * 2},
    "key reuse": {
        "n_kv_heads": 1,
        "layers": (Layer(4, query_rank=12, d_ff=24), Layer(4, query_rank=12, reuse=True, d_ff=24)),
    },
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_row_holds_what_the_formula_says(kind: str) -> None:
    torch.set_num_threads(1)
    model = tiny(**LAYERS[kind])  # type: ignore[arg-type]
    engine = Engine(model, rows=2, dtype=torch.float32, vocabulary=Vocabulary(384, ()))
    for length in (4, 19):
        engine.submit(Request(prompt(random.Random(0), length), Sampling(max_tokens=99)), lambda *_: None)
    for step in range(1, 40):
        engine.batch.step()
        for row, length in enumerate((4, 19)):
            assert engine.batch.cache.held(row) == kv_elements(model.config, length - 1 + step)


def test_memory_is_counted_from_the_configuration() -> None:
    """Step 3.5 Flash at 128K: 6.512 GB of cache in 16 bits (arXiv 2602.10604, §2)."""
    layers = tuple(
        Layer(96 if far else 64, window=512 if far else 0, d_ff=8) for far in [False] + [True, True, True, False] * 11
    )
    config = tiny(layers=()).config
    large = type(config)(
        d_model=16,
        n_layers=45,
        n_kv_heads=8,
        head_dim=128,
        layers=layers,
        drafts=(Layer(96, window=512, d_ff=8),) * 3,
        max_context=262_144,
    )
    assert memory(large, 1, 131_072).cache == 2 * (24_576 * 131_072 + 34_603_008)
    assert memory(large, 1, 131_072).cache == pytest.approx(6.512e9, rel=1e-3)
    assert memory(large, 4, 131_072, torch.float8_e4m3fn).cache == pytest.approx(4 * 3.256e9, rel=1e-3)
    assert memory(large, 2, 10_000, drafts=3).drafting_cache == 2 * 2 * 3 * 2048 * 512
    model = tiny()
    assert memory(model.config, 3, 100, torch.float32) == Memory(
        4 * model.parameter_count, 4 * 3 * kv_elements(model.config, 100)
    )
    assert memory(model.config, 3, 100).total == 2 * (model.parameter_count + 3 * kv_elements(model.config, 100))
    for rows, context in ((0, 5), (1, 0), (1, 257)):
        with pytest.raises(InputError, match="context 1 to 256"):
            memory(model.config, rows, context)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_prefilled_prompt_is_let_go_once_its_samples_run(samples: int) -> None:
    torch.set_num_threads(1)
    engine = Engine(tiny(), rows=12, dtype=torch.float32, vocabulary=Vocabulary(384, ()))
    for i in range(4):
        request = Request(prompt(random.Random(i), 9), Sampling(max_tokens=20), samples)
        engine.submit(request, lambda *_: None)
    engine.batch.step()
    running = {id(job): job for job, _ in engine.batch.owners}
    assert len(running) == 4
    assert all(job.block is None for job in running.values())


def test_the_store_of_rows_grows_little_past_what_is_needed() -> None:
    torch.set_num_threads(1)
    engine = Engine(tiny(), rows=300, dtype=torch.float32, vocabulary=Vocabulary(384, ()))
    for i in range(300):
        engine.submit(Request(prompt(random.Random(i), 9), Sampling(max_tokens=2)), lambda *_: None)
    engine.batch.step()
    assert len(engine.batch.owners) == 300
    assert 300 <= engine.batch.cache.rows.size <= 300 + 128
