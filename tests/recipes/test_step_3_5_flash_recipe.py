"""The recipe: a smoke run, what it refuses; and of its study of MIS-PO that policy, engine and losses are as said."""

from __future__ import annotations

import html
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special

from consilience.errors import ConsilienceError
from consilience.files import read_json, read_jsonl
from consilience.learn import off_policy
from consilience.recipes.step_3_5_flash import bigram, truncation
from consilience.recipes.step_3_5_flash import recipe as module
from consilience.recipes.step_3_5_flash.claims import CLAIMS, measured
from consilience.recipes.step_3_5_flash.recipe import found_in, recipe
from consilience.recipes.step_3_5_flash.sizes import (
    ARMS,
    EXTRAS,
    LANGUAGE,
    METHODS,
    MISMATCHES,
    PARTS,
    PROMPTS,
    SCALES,
    TOKENS,
    TRUNCATED,
    Mismatch,
    Sizes,
)
from consilience.request import RunRequest
from consilience.units import Unit

SMALL = Sizes(iterations=3, batch=16, length=12)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken smoke run, not to be written."""
    out = tmp_path_factory.mktemp("mis_po") / "run"
    assert recipe().run(RunRequest("step_3_5_flash", scale="smoke", out=out)) == out
    return out


def comparable(directory: Path) -> list[object]:
    """What a run measured, but for processor time."""
    found = {
        key: [{k: v for k, v in r.items() if not k.startswith(("speedup", "plain_ms"))} for r in records]
        for key, records in found_in(directory).items()
    }
    tables = [table for table in read_json(directory / "tables.json") if "drafting" not in table["title"]]
    return [list(read_jsonl(directory / "metrics.jsonl")), tables, found]


# a run


def test_a_smoke_run_leaves_everything(run: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "claims.json", "tables.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert {row["verdict"] for row in read_json(run / "claims.json")} == {"not_measured"}
    found = found_in(run)
    extras = {("band", 0, "acceptance"), *(("cut", 0, method) for method in TRUNCATED)}
    extras.add(("drafting", 0, "heads"))
    assert set(found) == {(m, 0, method) for m in PARTS["engines"] for method in METHODS} | extras
    assert [r["arm"] for r in found["drafting", 0, "heads"] if r.get("final")] == ["cloned", "tuned"]
    for key, records in found.items():
        if key[0] in MISMATCHES:
            assert [r["step"] for r in records] == [1, 2]
            assert all(0 < r["reward"] < 1 and 0 <= r["kept_trajectories"] <= 1 for r in records)
    page = html.unescape((run / "report.html").read_text())
    assert all(claim.sentence in page for claim in CLAIMS)


def test_a_killed_run_goes_on_after_its_last_method(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, begun = tmp_path / "run", 0

    class Dying(bigram.Study):
        def __init__(self, *arguments: object) -> None:
            nonlocal begun
            begun += 1
            if begun == 4:
                raise KeyboardInterrupt
            super().__init__(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("consilience.recipes.step_3_5_flash.work.Study", Dying)
    with pytest.raises(KeyboardInterrupt):
        recipe().run(RunRequest("step_3_5_flash", scale="smoke", out=out))
    recipe().run(RunRequest("step_3_5_flash", scale="smoke", out=out, resume=True))
    assert begun == 1 + 2 * len(METHODS)
    assert comparable(out) == comparable(run)
    assert {r["verdict"] for r in read_json(out / "claims.json")} == {"not_measured"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"settings": {"lenght": 4}}, "did you mean 'length'"),
        ({"settings": {"batch": 9}}, "batch=9 must be a multiple of minibatches=4, such as 8"),
        ({"settings": {"lr": 0.0}}, "must be above 0"),
        ({"settings": {"seeds": 1.5}}, "must be of type int"),
        ({"settings": {"workers": "two"}}, "workers='two'"),
        ({"study": True, "part": "stale"}, "did you mean 'staleness'"),
        ({"scale": "paper"}, "mixture of experts"),
        ({"model": "hf:x"}, "leave it out"),
    ],
)
def test_what_a_run_refuses(
    fields: dict[str, object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "run_units", lambda *_, **__: pytest.fail("it got past the checks"))
    with pytest.raises(ConsilienceError) as caught:
        recipe().run(RunRequest("step_3_5_flash", **{"scale": "smoke", "out": tmp_path / "run", **fields}))  # type: ignore[arg-type]
    assert sentence in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_study_has_every_mismatch_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Unit] = []

    def capture(_: Path, units: list[Unit], *__: object, **___: object) -> None:
        seen.extend(units)
        raise InterruptedError

    monkeypatch.setattr(module, "run_units", capture)
    with pytest.raises(InterruptedError):
        recipe().run(RunRequest("step_3_5_flash", study=True, out=tmp_path / "run"))
    counts = {**dict.fromkeys((*EXTRAS, *MISMATCHES), SCALES["study"].seeds), **dict.fromkeys(LANGUAGE, 5)}
    assert {u.name for u in seen} == {f"{m}-seed{i}" for m, count in counts.items() for i in range(count)}
    seen.clear()
    with pytest.raises(InterruptedError):
        recipe().run(RunRequest("step_3_5_flash", study=True, part="gates", out=tmp_path / "other"))
    assert {u.name for u in seen} == {f"gates-seed{i}" for i in range(5)}


def test_every_claim_has_its_numbers_in_a_study(run: Path) -> None:
    found = dict(found_in(run))
    later = ("stale", "layouts", "gates", "experts", "optimizers")
    laptop = {name for claim in CLAIMS for name in claim.metrics if not name.startswith(later)}
    assert set(measured(found)) == laptop
    for name in PARTS["staleness"]:
        found |= {(name, 0, method): found["flips", 0, method] for method in METHODS}
    for part in LANGUAGE[1:]:
        numbers = {"dev_bits": 2.0, "test_bits": 2.1, "expert_load": 1.5, "group_load": 1.2}
        found |= {(part, 0, arm): [{"final": True, "step": 1, **numbers}] for arm in ARMS[part]}
    assert set(measured(found)) == {name for claim in CLAIMS for name in claim.metrics}
    difference = measured(found)["flips/reward/mis_po-gspo"][0].value
    ends = [np.mean([r["reward"] for r in found["flips", 0, m]]) for m in ("mis_po", "gspo")]
    assert difference == pytest.approx(ends[0] - ends[1])


def test_torch_stays_out_of_the_claims() -> None:
    code = "import sys, consilience.recipes.step_3_5_flash.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# policy and engine


def test_the_expected_reward_is_that_of_samples() -> None:
    rng = np.random.default_rng(0)
    logits, right = rng.normal(size=(PROMPTS, TOKENS, TOKENS)), bigram.right_successors(3)
    sample = bigram.roll_out(logits, 6000, 10, Mismatch("none", noise=0.0), rng)
    hits = (right[sample.prompt_B[:, None], sample.before_BT] == sample.token_BT).mean()
    assert hits == pytest.approx(bigram.expected_reward(logits, right, 10), abs=0.015)
    assert bigram.expected_reward(np.zeros_like(logits), right, 7) == pytest.approx(1 / TOKENS)
    sure = np.full_like(logits, -99.0)
    np.put_along_axis(sure, right[:, :, None], 99.0, 2)
    assert bigram.expected_reward(sure, right, 7) == pytest.approx(1)


def test_an_engine_without_noise_is_the_trainer_and_one_with_flips_is_not() -> None:
    logits = np.random.default_rng(1).normal(size=(PROMPTS, TOKENS, TOKENS))
    table = special.log_softmax(logits, axis=2)

    def gaps(mismatch: Mismatch) -> np.ndarray:
        sample = bigram.roll_out(logits, 200, 20, mismatch, np.random.default_rng(2))
        return np.abs(table[sample.prompt_B[:, None], sample.before_BT, sample.token_BT] - sample.logp_BT)

    assert gaps(Mismatch("none", noise=0.0)).max() == 0
    noisy = gaps(Mismatch("noise"))
    assert 0.02 < noisy.mean() < 0.06
    flipped = gaps(Mismatch("flips", noise=0.0, flips=0.1))
    assert 0.08 < (flipped > 0).mean() < 0.12
    assert flipped.max() > 1


def test_every_method_trains_by_the_formula_of_the_house() -> None:
    study = bigram.Study("none", MISMATCHES["flips"], SMALL, 0)
    study.logits_PVV.data += torch.randn(PROMPTS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(0)).double()
    data, _ = study.pack(bigram.roll_out(study.now(), 16, 12, MISMATCHES["flips"], study.rng))
    logp = bigram.log_probabilities(study.logits_PVV, data.place_M, data.token_M)
    assert torch.equal(logp.detach(), data.old_M)
    losses = {method: bigram.loss_of(method, study.logits_PVV, data) for method in METHODS}
    assert losses["none"].item() == pytest.approx(-(data.advantage_M * data.old_M).mean().item())
    assert losses["ppo"].item() == pytest.approx(-data.advantage_M.mean().item())
    assert losses["mis_po"].item() == pytest.approx(
        off_policy.mis_po_loss(data.old_M, data.advantage_M, data.kept_M).item()
    )
    assert losses["is"].item() == pytest.approx(
        off_policy.trajectory_is_loss(data.old_M, data.rollout_M, data.advantage_M, data.lengths_B).item()
    )
    gradients = {m: torch.autograd.grad(loss, study.logits_PVV)[0] for m, loss in losses.items()}
    assert torch.allclose(gradients["none"], gradients["ppo"])  # on the first step they are the same


def test_a_part_of_the_batch_is_a_part_of_every_field() -> None:
    study = bigram.Study("none", MISMATCHES["mild"], SMALL, 0)
    data, _ = study.pack(bigram.roll_out(study.now(), 16, 12, MISMATCHES["mild"], study.rng))
    halves = [data.part(slice(a, a + 8), 12) for a in (0, 8)]
    for name, whole in vars(data).items():
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), whole), name


def test_every_method_learns_where_engines_agree_almost() -> None:
    sizes = replace(Sizes(), iterations=6, batch=64, length=64, lr=40.0)
    for method in ("none", "mis_po_wide", "ppo"):
        study = bigram.Study(method, Mismatch("quiet", noise=0.001), sizes, 0)
        rewards = [study.iterate().reward for _ in range(6)]
        assert rewards[-1] > 0.16, method


def test_stale_weights_are_as_old_as_said() -> None:
    study = bigram.Study("none", Mismatch("old", noise=0.0, lag=2), SMALL, 0)
    numbers = [study.iterate().numbers for _ in range(4)]
    assert numbers[0]["gap"] < 1e-12
    assert all(n["gap"] > 1e-6 for n in numbers[1:])
    fresh = bigram.Study("none", Mismatch("new", noise=0.0), SMALL, 0)
    assert max(fresh.iterate().numbers["gap"] for _ in range(3)) < 1e-12
    assert len(study.past) == 3


def test_a_study_is_a_function_of_its_seed() -> None:
    found = [[bigram.Study("is", MISMATCHES["flips"], SMALL, s).iterate() for _ in range(2)] for s in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


def test_acceptance_rises_with_length_only_while_the_mismatch_is_small() -> None:
    assert bigram.acceptance(0.05, 16, 400, 0) < 0.35 < bigram.acceptance(0.05, 512, 100, 0)
    assert bigram.acceptance(0.2, 512, 50, 0) < 0.1


# the length limit


def test_the_value_of_a_search_is_that_of_samples() -> None:
    going = np.linspace(0.95, 0.6, truncation.LIMIT)
    success, length = truncation.unlimited(going)
    long = np.concatenate([going, np.full(188, going[-1])])
    found = truncation.search(long, 20_000, np.random.default_rng(0))
    assert not found.cut_N.any()
    assert found.reward_N.mean() == pytest.approx(success, abs=0.02)
    assert found.lengths_N.mean() == pytest.approx(length, abs=0.1)
    assert truncation.unlimited(np.ones(truncation.LIMIT)) == pytest.approx((1.0, 10.0))
    assert truncation.unlimited(np.zeros(truncation.LIMIT)) == pytest.approx((truncation.GUESS, 1.0))


def test_what_is_cut_off_has_made_all_its_decisions_and_earns_nothing() -> None:
    found = truncation.search(np.ones(truncation.LIMIT), 4000, np.random.default_rng(1))
    assert found.cut_N.mean() == pytest.approx(0.9**truncation.LIMIT, abs=0.03)
    assert (found.lengths_N[found.cut_N] == truncation.LIMIT).all()
    assert found.reward_N[found.cut_N].sum() == 0
    assert (found.reward_N[~found.cut_N] == 1).all()


def test_a_zero_for_the_cut_teaches_to_give_up_and_the_last_value_does_not() -> None:
    sizes = Sizes(iterations=60, batch=64)
    zero, aware = (list(truncation.train(bootstrap, sizes, 0)) for bootstrap in (False, True))
    assert 0.15 < zero[0]["cut"] < 0.3
    assert aware[-1]["success"] > zero[-1]["success"] + 0.1
    assert aware[-1]["length"] > zero[-1]["length"] + 1
