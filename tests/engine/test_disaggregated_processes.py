"""Disaggregated decoding for real: an attention and an FFN process, and what is said when one is lost."""

import os
import signal
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch

from consilience.engine.disaggregated import Disaggregated, Layout, WorkerLost
from consilience.errors import InputError
from consilience.nn.attention import attend_causal
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Mixture
from consilience.protocols import Sampling

torch.set_num_threads(1)
MFA = Layer(4, query_rank=12, d_ff=20)
EXPERTS = Layer(4, query_rank=12, mixture=Mixture(experts=5, active=3, width=10, shared=14))
STEP3 = ModelConfig(
    d_model=24, n_layers=3, n_heads=4, n_kv_heads=1, head_dim=8, qk_norm=False, max_context=64,
    tie_embeddings=False, layers=(MFA, EXPERTS, EXPERTS),
)  # fmt: skip
PROMPTS = [[5, 6, 7, 80, 90], [9, 100, 101], [70, 71, 72, 73], [66, 67]]
GREEDY = Sampling(max_tokens=4, temperature=0)


@pytest.fixture(scope="module")
def model():
    made = Decoder(STEP3)
    made.initialise(torch.Generator().manual_seed(0))
    return made


@torch.no_grad()
def whole(model, prompt, tokens):
    """Logits of each token of the response, (R, V), from one forward over everything, without a cache."""
    ids = torch.tensor([[*prompt, *tokens]])
    t = ids.shape[1]
    hidden = model(model.embed(ids), torch.arange(t)[None], attend_causal(t))
    return model.logits(hidden[0, len(prompt) - 1 : -1]).numpy()


def check(found, model):
    for prompt, output, logits in zip(PROMPTS, found.outputs, found.logits, strict=True):
        assert np.abs(logits[: len(output.tokens)] - whole(model, prompt, output.tokens)).max() <= 1e-5


def test_two_processes_equal_one_until_one_of_them_dies(model):
    with Disaggregated(model, Layout(wire="exact", timeout_s=30)) as workers:
        found = workers.decode(PROMPTS, GREEDY, logits=True)
        check(found, model)
        again = workers.decode(PROMPTS, GREEDY)
        assert again.outputs == found.outputs
        assert again.logits == ()
        pace = again.pace
        assert pace.step_s > 0
        assert 0 < pace.attention_idle < 1
        assert 0 < pace.ffn_idle < 1
        assert pace.sent == 24 * 4 + 6 * 3 * 2 / 3  # mean over a dense and two mixed layers
        assert pace.received == 24 * 4
        os.kill(workers._workers[1][0].pid, signal.SIGKILL)
        with pytest.raises(WorkerLost, match=r"the FFN worker 0 \(rank 1\) died \(exit code -9\)"):
            workers.decode(PROMPTS, GREEDY)
        with pytest.raises(InputError, match="open Disaggregated again"):
            workers.decode(PROMPTS, GREEDY)


@contextmanager
def frozen(pid):
    """The process stands still, even where something else wakes it now and then."""
    over = threading.Event()

    def freeze():
        with suppress(ProcessLookupError):
            while not over.wait(0.003):
                os.kill(pid, signal.SIGSTOP)

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(
    ("rank", "words"),
    [
        (1, r"FFN worker 0 \(rank 1\) was silent for 1 s.*raise timeout_s"),
        (0, r"attention worker 0 \(rank 0\) was silent for 1 s"),
    ],
)
def test_a_silent_worker_is_named(rank, words, model):
    with (
        Disaggregated(model, Layout(timeout_s=1)) as workers,
        frozen(workers._workers[rank][0].pid),
        pytest.raises(WorkerLost, match=words),
    ):
        workers.decode(PROMPTS, GREEDY)


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json is missing"):
        Disaggregated(tmp_path)
