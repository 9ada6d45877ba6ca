"""The language models of the recipe: what each arm changes and what it leaves, and the numbers claims are judged by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from consilience.learn import byte_language as bytes_
from consilience.nn.config import ModelConfig
from consilience.nn.count import count, kv_elements
from consilience.nn.decoder import Decoder
from consilience.nn.layers import Mixture
from consilience.protocols import Sampling
from consilience.recipes.step_3_5_flash import drafting, language
from consilience.recipes.step_3_5_flash.language_claims import best_arm, finals, value
from consilience.recipes.step_3_5_flash.language_tables import language_table
from consilience.recipes.step_3_5_flash.sizes import ARMS, LANGUAGE, SCALES, Sizes

TINY = SCALES["smoke"]


def small(seed: int = 0, **fields: Any) -> Decoder:
    model = Decoder(language.flash(TINY, **fields))
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def test_layouts_have_equal_parameters_but_for_more_heads() -> None:
    configs = {name: language.flash(Sizes(), name) for name in ("FFFF", "S1F1", "S3F1")}
    windows = {name: [layer.window for layer in config.blocks] for name, config in configs.items()}
    assert windows["S3F1"] == [0, 16, 16, 16, 0, 16, 16, 16]
    assert windows["S1F1"] == [0, 16] * 4
    assert windows["FFFF"] == [0] * 8
    assert len({count(config).total for config in configs.values()}) == 1
    more = language.flash(Sizes(), "S3F1", more=1.5)
    assert [layer.n_heads for layer in more.blocks] == [4, 6, 6, 6, 4, 6, 6, 6]
    assert kv_elements(configs["S3F1"], 1000) < kv_elements(configs["S1F1"], 1000) < kv_elements(configs["FFFF"], 1000)


def test_attention_is_counted_as_published() -> None:
    """Step 3.5 Flash: 4·64·128·12·n + 4·96·128·33·min(n, 512) operations a token, two to a multiplication."""
    published = ModelConfig(
        d_model=8,
        n_layers=45,
        n_kv_heads=8,
        head_dim=128,
        layers=tuple(
            replace(language.flash(Sizes()).blocks[0], n_heads=96 if far else 64, window=512 if far else 0)
            for far in [False] + [True, True, True, False] * 11
        ),
    )
    for n, operations in ((8192, 4.05e9), (32_768, 1.37e10), (131_072, 5.24e10)):
        assert 2 * language.attention_work(published, n) == pytest.approx(operations, rel=0.01)


@pytest.mark.parametrize(("part", "arm"), [(p, a) for p in LANGUAGE[1:] for a in list(ARMS[p])[::2]])
def test_every_arm_trains_and_is_measured(part: str, arm: str) -> None:
    *curve, last = language.compare(part, arm, TINY, 0)
    assert [record["step"] for record in curve] == [3]
    assert last["final"]
    assert 7 < last["test_bits"] < 9.5
    assert ("expert_load" in last) == (part == "experts")


def test_sinks_are_gates_that_do_not_depend_on_the_token() -> None:
    """One sink of mass e^c: the output is plain attention times Z / (Z + e^c); without it (c = −∞) plain attention."""
    from consilience.learn.byte_language_sinks import Sinks
    from consilience.nn.attention import attend_causal

    layers = language.flash(TINY).blocks
    sinks, generator = Sinks(layers).requires_grad_(False), torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 24, 8, generator=generator) for heads in (4, 2, 2))
    for layer in (0, 1):
        window = layers[layer].window
        plain = attend_causal(24)(layer, q, k, v, window=window)
        sinks.layers[layer].fill_(-torch.inf)
        assert torch.allclose(sinks.seeing(24)(layer, q, k, v, window=window), plain, atol=1e-6)
        sinks.layers[layer].copy_(torch.tensor([0.5, -1.0, 2.0, 0.0]))
        found = sinks.seeing(24)(layer, q, k, v, window=window)
        for head, c in enumerate([0.5, -1.0, 2.0, 0.0]):
            for t in (0, 3, 23):
                first = max(0, t - window + 1) if window else 0
                scores = (q[0, head, t] * 8**-0.5) @ k[0, head // 2, first : t + 1].T
                share = scores.exp().sum() / (scores.exp().sum() + torch.tensor(c).exp())
                assert torch.allclose(found[0, head, t], share * plain[0, head, t], atol=1e-5)


def test_sinks_are_trained_and_gates_are_there_only_where_said() -> None:
    assert any(".gate.weight" in name for name, _ in small().named_parameters())
    assert not any(".gate.weight" in name for name, _ in small(gate=False).named_parameters())
    *_, sink = language.compare("gates", "sink", TINY, 0)
    *_, neither = language.compare("gates", "neither", TINY, 0)
    assert sink["parameters"] == neither["parameters"] + 4 * language.LAYERS
    assert sink["test_bits"] != neither["test_bits"]


def test_loads_see_a_favourite() -> None:
    mixture = Mixture(language.EXPERTS, language.ACTIVE, 4, router="sigmoid", normalise=True)
    model = small(mixture=mixture)
    even = language.loads(model, TINY)
    for block in model.blocks[1:]:
        block.ffn.router.bias.data[:2] = 9.0  # type: ignore[union-attr,operator,index]
    assert language.loads(model, TINY) == {"expert_load": 8.0, "group_load": 4.0}
    assert even["expert_load"] < 8


def test_more_heads_are_copies_and_change_nothing_else() -> None:
    config = language.flash(TINY)
    one = Decoder(replace(config, drafts=config.blocks[1:2]))
    one.initialise(torch.Generator().manual_seed(0))
    three = drafting.with_heads(one, 3)
    for name, p in one.named_parameters():
        assert torch.equal(p, three.get_parameter(name)), name
    for a, b in zip(three.drafts[0].parameters(), three.drafts[2].parameters(), strict=True):
        assert torch.equal(a, b)


def test_answers_begin_where_the_test_text_says() -> None:
    text = bytes_.standard_library("test").tokens_N.tolist()
    asked = drafting.requests(TINY, 0.0, 3)
    assert asked[0].prompt.tokens == tuple(text[: drafting.PROMPT])
    assert asked[0].sampling == Sampling(temperature=0.0, max_tokens=8, seed=0)
    assert asked[2].prompt.tokens == tuple(text[-drafting.PROMPT :])


def final(**numbers: Any) -> dict[str, Any]:
    return {"final": True, "step": 1, **numbers}


def test_numbers_of_claims_by_hand() -> None:
    heads = [
        {"step": 10, "bits": 3.0},
        final(arm="cloned", sampled_tokens=1.8),
        final(arm="tuned", sampled_tokens=2.6, sampled_accepted=[0.7, 0.8, 0.9], greedy_tokens=3.0, speedup_1=1.2),
    ]
    by_seed = {0: finals({"heads": heads})}
    assert value("drafting", "sampled_tokens", "tuned-cloned", by_seed, 0) == pytest.approx(0.8)
    assert value("drafting", "beyond_first", "tuned", by_seed, 0) == pytest.approx(0.9)
    assert value("drafting", "overstated", "tuned", by_seed, 0) == pytest.approx(0.4)
    assert value("drafting", "speedup_1", "tuned", by_seed, 0) == 1.2
    assert value("gates", "test_bits", "sink-gate", {0: finals({"gate": [final(test_bits=2.0)]})}, 0) is None


def test_optimizers_are_compared_at_the_rate_that_is_best_on_dev() -> None:
    dev = {"adamw_0.0015": (2.0, 2.4), "adamw_0.005": (2.3, 2.0), "muon_0.005": (1.9, 1.9), "muon_0.015": (2.0, 1.7)}
    by_seed = {
        seed: finals({arm: [final(dev_bits=bits[seed], test_bits=bits[seed] + 0.5)] for arm, bits in dev.items()})
        for seed in (0, 1)
    }
    assert best_arm("adamw", by_seed) == "adamw_0.005"
    assert best_arm("muon", by_seed) == "muon_0.015"
    assert value("optimizers", "best", "adamw-muon", by_seed, 0) == pytest.approx(0.3)
    assert value("optimizers", "best", "adamw-muon", by_seed, 1) == pytest.approx(0.3)


def test_a_table_has_a_row_for_each_arm_that_ran() -> None:
    by_seed = {s: finals({a: [final(test_bits=2.0 + s, parameters=7)] for a in ("gate", "sink")}) for s in (0, 1)}
    table = language_table("gates", by_seed)
    assert [row[0].split(":")[0] for row in table["rows"]] == ["gate", "sink"]
    assert table["rows"][0][1]["value"] == 2.5
    assert table["rows"][0][2] == 7
