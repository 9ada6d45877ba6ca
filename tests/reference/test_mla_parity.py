"""Latent attention against its reference, and in the rooms around it."""

import naive_mla
import pytest
import torch

from consilience.engine import Engine, Request
from consilience.errors import InputError
from consilience.nn.attention import attend_causal
from consilience.nn.checkpoint import load_model, save_model
from consilience.nn.config import ModelConfig
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Layer, Rope
from consilience.nn.norm import RMSNorm
from consilience.nn.parts.mla import LatentAttention
from consilience.nn.parts.rope import tables
from consilience.nn.template import Prompt
from consilience.protocols import Sampling

torch.set_num_threads(1)


def config(rank=0, **changes):
    layer = Layer(3, rope=Rope(theta=100.0, dims=4), latent_head=6, query_rank=rank, d_ff=12)
    sizes = {"d_model": 16, "n_layers": 2, "n_heads": 3, "n_kv_heads": 1, "head_dim": 14, "max_context": 32}
    return ModelConfig(**{**sizes, "layers": (layer, layer), **changes})


@pytest.mark.parametrize("rank", [0, 10])
def test_absorbed_attention_equals_that_of_the_paper(rank):
    layer = config(rank).layers[0]
    part = LatentAttention(16, layer, 14, RMSNorm, 1e-6).double()
    generator = torch.Generator().manual_seed(0)
    for p in part.parameters():
        torch.nn.init.uniform_(p, 0.2, 1.0, generator=generator)
        p.data -= 0.5 * (p.ndim > 1)
    x = torch.randn(1, 7, 16, generator=generator, dtype=torch.float64)
    cos, sin = (t.double() for t in tables(layer.rope, torch.arange(7)[None], 14))
    with torch.no_grad():
        found = part(x, cos, sin, 0, attend_causal(7))[0]
        expected = naive_mla.attention(dict(part.named_parameters()), list(x[0]), 3, 6, 4, rank, 100.0)
    assert found.std() > 0.1
    assert (found - torch.stack(expected)).abs().max() <= 1e-6  # angles are float32


@pytest.mark.parametrize("rank", [0, 10])
def test_it_decodes_as_it_reads_and_is_stored(rank, tmp_path):
    model = Decoder(config(rank))
    model.initialise(torch.Generator().manual_seed(1))
    prompt = Prompt((5, 6, 7, 80))
    engine = Engine(model, dtype=torch.float32)
    ((output,),) = engine.generate([Request(prompt, Sampling(max_tokens=6, temperature=0))])
    ids = torch.tensor([[*prompt.tokens, *output.tokens]])
    t = ids.shape[1]
    with torch.no_grad():
        logits = model.logits(model(model.embed(ids), torch.arange(t)[None], attend_causal(t)))[0, 3:-1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(output.tokens)[:, None])[:, 0]
    assert (torch.tensor(output.logprobs) - expected).abs().max() <= 1e-5
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model", expect=model.config).config == model.config


def test_deepseek_v3_has_the_parameters_of_its_published_sizes():
    """The matrices of a layer, whose FLOPs Step-3 (arXiv 2507.19427, Table 3) counts, and 2,048 gains."""
    layer = Layer(128, rope=Rope(dims=64), latent_head=128, query_rank=1536, d_ff=1)
    with torch.device("meta"):
        part = LatentAttention(7168, layer, 576, RMSNorm, 1e-6)
    assert sum(p.numel() for p in part.parameters()) == 187_105_280 + 1536 + 512


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_kv_heads": 3}, "one key head, not n_kv_heads 3"),
        ({"head_dim": 4}, "4 rotated dimensions leave no latent of head_dim 4"),
    ],
)
def test_impossible_sizes_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        config(**change)


def test_a_latent_layer_without_rotated_dimensions_is_refused():
    with pytest.raises(InputError, match=r"latent_head has rope\.dims"):
        Layer(2, latent_head=4, d_ff=8)


def test_the_first_weights_of_mfa_are_those_of_heads():
    """Its map down goes into queries, keys and values; residual outputs alone are scaled by 1/√(2·layers)."""
    wide = ModelConfig(d_model=256, n_kv_heads=1, head_dim=64, layers=(Layer(4, query_rank=64, d_ff=256),) * 4)
    model = Decoder(wide)
    model.initialise(torch.Generator().manual_seed(0))
    block = model.blocks[0]
    assert block.attention.down.weight.std().item() == pytest.approx(256**-0.5, rel=0.03)
    assert block.attention.out.weight.std().item() == pytest.approx(256**-0.5 / 8**0.5, rel=0.03)
    assert block.ffn.down.weight.std().item() == pytest.approx(256**-0.5 / 8**0.5, rel=0.03)
