"""The cache with attention in one kernel decodes as the plain one does."""

from itertools import chain

import pytest
import torch

from consilience.engine import Engine, Request
from consilience.engine.fused import FusedCache
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer
from consilience.nn.template import Prompt
from consilience.protocols import Sampling

torch.set_num_threads(1)
GROUPED = ModelConfig(d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=20, max_context=128)
FACTORED = (Layer(3, query_rank=6, d_ff=9),) * 2
MFA = ModelConfig(d_model=16, n_layers=2, n_heads=3, n_kv_heads=1, head_dim=8, max_context=128, layers=FACTORED)


@pytest.mark.parametrize("config", [GROUPED, MFA], ids=["grouped-query attention", "MFA"])
def test_rows_that_come_and_go_decode_as_with_plain_products(config, monkeypatch):
    model = Decoder(config)
    model.initialise(torch.Generator().manual_seed(0))
    requests = [
        Request(Prompt(tuple(range(65, 65 + length))), Sampling(max_tokens=steps, seed=length), n)
        for length, steps, n in ((4, 50, 1), (9, 12, 1), (2, 70, 1), (6, 9, 3), (3, 20, 1))
    ]
    plain = Engine(model, rows=3, dtype=torch.float32).generate(requests)
    fused = []

    def make(config, dtype, device):
        fused.append(FusedCache(config, dtype, device))
        return fused[-1]

    monkeypatch.setattr("consilience.engine.batch.make_cache", make)
    found = Engine(model, rows=3, dtype=torch.float32).generate(requests)
    assert fused
    for mine, theirs in zip(chain(*found), chain(*plain), strict=True):
        assert mine.tokens == theirs.tokens
        assert mine.finish == theirs.finish
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)
