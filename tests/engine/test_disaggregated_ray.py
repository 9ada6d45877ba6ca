"""Disaggregated decoding with Ray: an attention and an FFN actor on this machine."""

import os

import numpy as np
import pytest
import torch

from consilience.engine.disaggregated import Layout, WorkerLost
from consilience.engine.disaggregated.ray_placement import RayDisaggregated
from consilience.errors import InputError
from consilience.nn.attention import attend_causal
from consilience.nn.checkpoint import save_model
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Mixture
from consilience.protocols import Sampling

ray = pytest.importorskip("ray")
LAYERS = (Layer(2, query_rank=8, d_ff=12), Layer(2, query_rank=8, mixture=Mixture(4, 2, 6, shared=6)))
STEP3 = ModelConfig(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=8, max_context=32, layers=LAYERS)
PROMPTS = [[5, 6, 7], [9, 100]]
GREEDY = Sampling(max_tokens=3, temperature=0)


@pytest.mark.slow
def test_two_actors_equal_one_process_until_one_dies(tmp_path):
    model = Decoder(STEP3)
    model.initialise(torch.Generator().manual_seed(0))
    save_model(model, tmp_path / "model")
    with pytest.raises(InputError, match=r"call ray\.init"):
        RayDisaggregated(tmp_path / "model")
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    variables = {"env_vars": {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}}
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 100 * 2**20}
    ray.init(num_cpus=2, runtime_env=variables, **options)
    try:
        with RayDisaggregated(tmp_path / "model", Layout(wire="exact", micro_batches=2, timeout_s=20)) as workers:
            found = workers.decode(PROMPTS, GREEDY, logits=True)
            for prompt, output, logits in zip(PROMPTS, found.outputs, found.logits, strict=True):
                ids = torch.tensor([[*prompt, *output.tokens]])
                t = ids.shape[1]
                with torch.no_grad():
                    hidden = model(model.embed(ids), torch.arange(t)[None], attend_causal(t))
                    expected = model.logits(hidden[0, len(prompt) - 1 : -1]).numpy()
                assert np.abs(logits[: len(output.tokens)] - expected).max() <= 1e-5
            ray.kill(workers._actors[1])
            with pytest.raises(WorkerLost, match=r"the (FFN|attention) worker 0 \(rank [01]\)"):
                workers.decode(PROMPTS, GREEDY)
    finally:
        ray.shutdown()
