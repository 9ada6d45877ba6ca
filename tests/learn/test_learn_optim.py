"""AdamW's settings, the schedules, and Muon with Polar Express."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learn_helpers import bits, learner, property_test, ragged_groups, tiny

from consilience.errors import UnknownName
from consilience.learn.optim import named
from consilience.learn.optim.adamw import adamw, cooldown, warmup
from consilience.learn.optim.muon import STEPS, Muon, orthogonalise, parts
from consilience.learn.sft import sft_step
from consilience.nn.decoder import Decoder


def test_adamw_decays_matrices_only() -> None:
    model = tiny(eyes=True)
    optimizer = adamw(model.parameters(), weight_decay=0.1)
    for group in optimizer.param_groups:
        assert group["betas"] == (0.9, 0.95)
        assert {p.ndim >= 2 for p in group["params"]} == {group["weight_decay"] == 0.1}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


def test_adamw_skips_frozen_parameters() -> None:
    model = tiny()
    model.embedding.weight.requires_grad_(False)
    trained = {id(p) for g in adamw(model.parameters()).param_groups for p in g["params"]}
    assert id(model.embedding.weight) not in trained


def test_schedules_by_hand() -> None:
    assert [warmup(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup(0, 0) == 1
    assert [cooldown(step, 3, 4) for step in range(9)] == [1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]


@property_test
@given(st.integers(0, 500), st.integers(0, 300), st.integers(1, 300))
def test_schedules_stay_in_bounds_and_never_turn(step: int, start: int, steps: int) -> None:
    assert 0 < warmup(step, steps) <= warmup(step + 1, steps) <= 1
    assert 0 <= cooldown(step + 1, start, steps) <= cooldown(step, start, steps) <= 1


def test_polar_express_by_singular_value() -> None:
    """Six steps take every singular value in [1e-3, 1] to within 0.006 of 1 (arXiv 2505.16932)."""
    values = torch.logspace(-2.99, -0.01, 200)
    for value in values:
        matrix = torch.diag(torch.tensor([float(value), float((1 - value**2) ** 0.5)]))
        found = torch.linalg.svdvals(orthogonalise(matrix))
        assert 0.9944 <= found.min() <= found.max() <= 1.0012


@pytest.mark.parametrize("shape", [(128, 256), (256, 128)])
def test_orthogonalise_finds_the_polar_factor(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert ((orthogonalise(matrix) - u @ v).norm() / (u @ v).norm()).item() < 0.0015


def test_steps_by_scalar_map() -> None:
    """Over [1e-3, 1]: within [0.846, 1.124] after five steps, [0.9944, 1.0012] after six (arXiv 2505.16932)."""
    x = torch.logspace(-3, 0, 20_001, dtype=torch.float64)
    bounds = []
    for a, b, c in STEPS:
        x = a * x + b * x**3 + c * x**5
        bounds.append((x.min().item(), x.max().item()))
    assert bounds[4] == pytest.approx((0.846, 1.124), abs=5e-4)
    assert bounds[5] == pytest.approx((0.9944, 1.0012), abs=5e-5)


def test_float16_is_nearer_than_bfloat16() -> None:
    """On a 128 × 256 Gaussian: an error of about 0.004 in float16 and 0.03 in bfloat16 (arXiv 2602.10604, §4.1.1)."""
    matrix = torch.randn(128, 256, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    error = {d: ((orthogonalise(matrix, d) - u @ v).norm() / 128**0.5).item() for d in (torch.float16, torch.bfloat16)}
    assert 0.002 < error[torch.float16] < 0.006
    assert 0.02 < error[torch.bfloat16] < 0.05


def test_orthogonalise_keeps_zero_and_forgets_the_scale() -> None:
    assert orthogonalise(torch.zeros(3, 5)).abs().max() == 0
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(orthogonalise(matrix), orthogonalise(1000 * matrix), atol=1e-4)
    assert orthogonalise(matrix.bfloat16()).dtype == torch.float32


def test_packed_matrices_and_their_parts() -> None:
    """Four query heads and two key heads of width 8; gate and up of width 48."""
    found = parts(tiny(eyes=True))
    assert found["blocks.0.attention.qkv.weight"] == [32, 16, 16]
    assert found["blocks.1.ffn.gate_up.weight"] == [48, 48]
    assert found["blocks.0.attention.out.weight"] == [32]
    assert found["blocks.0.ffn.down.weight"] == [32]
    assert len(found) == 8
    assert all(name.startswith("blocks.") for name in found)


def gradient_everywhere(model: Decoder, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def test_the_first_step_moves_each_part_by_its_own_polar_factor() -> None:
    """−lr · 0.2 · √max(rows, columns) · polar factor of the part, whose direction is the gradient's at first."""
    model, start = tiny(eyes=True), tiny(eyes=True)
    gradient_everywhere(model)
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    optimizer = Muon(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    before = dict(start.named_parameters())
    for name, p in model.named_parameters():
        moved = (p - before[name]).detach()
        if name in parts(model):
            rows = parts(model)[name]
            for part, gradient in zip(moved.split(rows), gradients[name].split(rows), strict=True):
                expected = -0.01 * 0.2 * max(part.shape) ** 0.5 * orthogonalise(gradient)
                assert torch.allclose(part, expected, atol=1e-5), name
        else:  # AdamW's first step is the gradient's sign
            assert torch.allclose(moved, -0.01 * gradients[name].sign(), atol=1e-4), name


def test_the_update_has_the_size_of_adamws() -> None:
    """RMS about 0.2 · lr whatever the shape: the polar factor of an m × n matrix has RMS 1/√max(m, n)."""
    for shape in ((96, 32), (32, 48), (64, 64)):
        factor = orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
        assert (0.2 * max(shape) ** 0.5 * factor).square().mean().sqrt().item() == pytest.approx(0.2, rel=0.1)


def test_momentum_is_nesterovs() -> None:
    """Two steps on one matrix: m ← .95 m + .05 g, direction .05 g + .95 m."""
    model = tiny()
    name = "blocks.0.ffn.down.weight"
    p = dict(model.named_parameters())[name]
    optimizer = Muon(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    momentum = torch.zeros_like(p)
    for seed in (1, 2):
        before = p.detach().clone()
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed))
        momentum = 0.95 * momentum + 0.05 * p.grad
        expected = -0.01 * 0.2 * max(p.shape) ** 0.5 * orthogonalise(0.05 * p.grad + 0.95 * momentum)
        optimizer.step()
        assert torch.allclose(p.detach() - before, expected, atol=1e-6)


def test_decay_is_decoupled_and_spares_vectors() -> None:
    model, start = tiny(), dict(tiny().named_parameters())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer = Muon(model, weight_decay=0.5)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.95 if p.ndim >= 2 else 1.0
        assert torch.allclose(p, start[name] * factor, atol=1e-6), name


def test_a_parameter_without_gradient_stays() -> None:
    model = tiny()
    Muon(model).step()
    assert bits(model) == bits(tiny())


def test_muon_lowers_a_quadratic() -> None:
    """½‖W − T‖² over every parameter falls by more than nine tenths."""
    model = tiny()
    generator = torch.Generator().manual_seed(4)
    targets = [p.detach() + 0.3 * torch.randn(p.shape, generator=generator) for p in model.parameters()]
    optimizer = Muon(model)
    history = []
    for step in range(60):
        loss = sum(((p - t).square().sum() / 2 for p, t in zip(model.parameters(), targets, strict=True)))
        assert isinstance(loss, torch.Tensor)
        history.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 60)
        optimizer.step()
    assert history[1] < history[0]
    assert history[-1] < history[0] / 10


def test_muon_trains_a_model() -> None:
    model = tiny(eyes=True)
    optimizer, groups = Muon(model), ragged_groups(1)
    history = [sft_step(model, optimizer, groups, 0.02)["loss"] for _ in range(20)]
    assert history[-1] < history[0] / 3


def test_adamw_and_muon_agree_on_vectors() -> None:
    """Muon's own AdamW for norms against PyTorch's, bit for bit but for rounding."""
    a, b = tiny(), tiny()
    muon, reference = Muon(a), learner(b).optimizer
    for step in range(5):
        for model, optimizer in ((a, muon), (b, reference)):
            gradient_everywhere(model, step)
            for group in optimizer.param_groups:
                group["lr"] = 1e-2
            optimizer.step()
    mine, theirs = dict(a.named_parameters()), dict(b.named_parameters())
    for name in mine:
        if name not in parts(a):
            assert torch.allclose(mine[name], theirs[name], atol=1e-6), name


def test_optimizers_have_the_names_of_settings() -> None:
    model = tiny()
    assert isinstance(named.optimizer("muon", model), Muon)
    decayed = named.optimizer("adamw", model, 0.1).param_groups
    assert [(group["weight_decay"], group["params"][0].ndim) for group in decayed] == [(0.1, 2), (0.0, 1)]
    with pytest.raises(UnknownName, match="muon"):
        named.optimizer("mu", model)
