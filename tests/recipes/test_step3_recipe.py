"""Recipe step3: a smoke run, what it refuses, that arms are equal where they must be, and how claims read records."""

import html
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from consilience.claims import evaluate
from consilience.engine.disaggregated import Decoded, Pace
from consilience.errors import InputError, UnknownName
from consilience.files import read_json, read_jsonl
from consilience.recipes.step3 import work
from consilience.recipes.step3.arms import PARAMETERS, WIDTH, arm, fresh, parameters
from consilience.recipes.step3.claims import CLAIMS, measured
from consilience.recipes.step3.costs import PRINTED, matching_cells
from consilience.recipes.step3.recipe import found_in, recipe
from consilience.recipes.step3.sizes import ARMS, EQUAL, RATES, SCALES, sizes_of
from consilience.recipes.step3.tables import tables
from consilience.request import RunRequest, Silent

torch.set_num_threads(1)
BY_ID = {claim.id: claim for claim in CLAIMS}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("step3") / "run"
    assert recipe().run(RunRequest("step3", scale="smoke", out=out)) == out
    return out


def test_a_smoke_run_leaves_everything(run):
    for name in ("config.json", "metrics.jsonl", "claims.json", "tables.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert {row["verdict"] for row in read_json(run / "claims.json")} == {"not_measured"}
    found = found_in(run)
    assert set(found) == {"disaggregation", *(f"{name}-seed0" for name in EQUAL)}
    assert found["disaggregation"][0]["difference"] <= 1e-5
    assert [record["arm"] for name in EQUAL for record in found[f"{name}-seed0"]] == list(EQUAL)
    assert [row["step"] for row in read_jsonl(run / "metrics.jsonl")] == [1, 2]
    page = html.unescape((run / "report.html").read_text())
    assert all(claim.sentence in page for claim in CLAIMS)


def test_a_resumed_run_trains_nothing_again(run, monkeypatch):
    monkeypatch.setattr(work, "language", None)
    monkeypatch.setattr(work, "pipeline", None)
    before = read_json(run / "tables.json")
    recipe().run(RunRequest("step3", scale="smoke", out=run, resume=True))
    assert read_json(run / "tables.json") == before


@pytest.mark.parametrize(
    ("request_of", "error", "words"),
    [
        ({"scale": "gpu"}, InputError, "--scale laptop"),
        ({"model": "hf:x"}, InputError, "takes no --model"),
        ({"study": True, "part": "speed"}, UnknownName, "unknown part 'speed'"),
        ({"settings": {"steps": 0}}, InputError, "steps=0 must be at least 1"),
        ({"settings": {"repeats": 1}}, InputError, "repeats=1 must be at least 2"),
    ],
)
def test_what_it_cannot_do_is_refused(request_of, error, words, tmp_path):
    with pytest.raises(error, match=words):
        recipe().run(RunRequest("step3", out=tmp_path / "run", **request_of))
    assert not (tmp_path / "run").exists()


def test_arms_have_equal_parameters_and_the_said_cache():
    for name in ARMS:
        made = arm(name, 32)
        assert abs(parameters(made.config) - PARAMETERS) <= 3 * WIDTH / 2, name
        config = made.config
        per_token = config.n_kv_heads * config.head_dim * (1 if name in ("mla", "mfa_kr") else 2)
        assert made.cached == per_token == {"mha_double": 192, "mfa_kr": 48}.get(name, 96), name


def test_all_108_cells_of_the_cost_table():
    assert matching_cells() == 12 * len(PRINTED) == 108


def record(name, seed, bits, rounded=None):
    made = {"arm": name, "seed": seed, "cached": 96, "attention": 1, "parameters": 2, "rate": 3e-3, "text": ""}
    made |= {"bits_W": bits, "file_W": [0, 0, 1, 1]}
    return [made | ({"rounded_W": rounded} if rounded else {})]


def test_claims_compare_arms_window_by_window():
    found = {}
    for seed in range(5):
        base = np.array([2.0, 2.1, 1.9, 3.0]) + seed
        found[f"mfa-seed{seed}"] = record("mfa", seed, base.tolist(), (base + 0.001).tolist())
        found[f"gqa-seed{seed}"] = record("gqa", seed, (base + 0.05 + 0.01 * seed).tolist())
        found[f"mla-seed{seed}"] = record("mla", seed, (base - 0.05).tolist())
    numbers = measured(found)
    assert numbers["bits/gqa-mfa"][2].value == pytest.approx(0.07)
    assert evaluate(BY_ID["mfa_beats_gqa"], numbers).verdict == "holds"
    assert evaluate(BY_ID["mfa_beats_mla"], numbers).verdict == "does_not_hold"
    assert evaluate(BY_ID["mfa_beats_mha"], numbers).verdict == "not_measured"
    assert evaluate(BY_ID["fp8_messages_cost_nothing"], numbers).verdict == "holds"
    assert evaluate(BY_ID["cost_table"], numbers).verdict == "holds"
    one = measured({name: rows for name, rows in found.items() if name.endswith("0")})
    assert evaluate(BY_ID["mfa_beats_gqa"], one).verdict == "not_measured"
    assert tables(found)[0]["rows"][0][0] == ARMS["mfa"]


def pace(step, attention, ffn):
    return vars(Pace(step, attention, ffn, 0.1, 0.2, 134.0, 128.0))


@pytest.mark.parametrize(("speed", "law", "verdicts"), [(1.5, 0.1, "holds"), (1.05, -0.3, "does_not_hold")])
def test_the_pipeline_is_judged_by_its_pairs(speed, law, verdicts):
    pair = {
        "speed": speed,
        "law": law,
        "predicted_s": 0.02,
        "one": pace(0.03, 2e-3, 2e-3),
        "three": pace(0.02, 1e-3, 1e-3),
    }
    records = [{"difference": 2e-6}, pair, {**pair, "speed": speed + 0.01, "law": law * 1.01}, pair]
    numbers = measured({"disaggregation": records})
    assert evaluate(BY_ID["same_logits"], numbers).verdict == "holds"
    assert evaluate(BY_ID["pipeline_is_faster"], numbers).verdict == verdicts
    assert evaluate(BY_ID["pipeline_law"], numbers).verdict == verdicts
    assert len(tables({"disaggregation": records})[0]["rows"]) == 3


def test_the_law_is_that_of_the_slowest_stage():
    """Four layers, stages of 2, 0.5 + 0.5 and 1 ms: three micro-batches take 3 · 2 ms a layer."""
    one = Decoded((), Pace(4 * 4e-3, 2e-3, 1e-3, 0, 0, 0, 0))
    three = Decoded((), Pace(0.03, 2e-3, 1e-3, 0, 0, 0, 0))
    found = work._pair(one, three)
    assert found["travel_s"] == pytest.approx(1e-3)
    assert found["predicted_s"] == pytest.approx(4 * 6e-3)
    assert found["law"] == pytest.approx(0.03 / 0.024 - 1)
    assert found["speed"] == pytest.approx(0.016 / 0.03)


def test_rounded_messages_move_the_numbers_a_little():
    model = fresh(arm("mfa", 16).config, 0)
    text = work.standard_library("dev")
    before, _ = work.window_bits(model, text, 16, 8)
    work.round_messages(model)
    after, _ = work.window_bits(model, text, 16, 8)
    assert 0 < np.abs(after - before).max() < 0.1


def test_same_seed_same_curve():
    sizes = SCALES["smoke"]
    runs = [work.language("mla", 3, sizes, Silent(), "x") for _ in range(2)]
    assert runs[0] == runs[1]
    record, curve = runs[0]
    assert record["rate"] == RATES[int(np.argmin(record["dev"]))]
    assert len(curve) == sizes.steps
    assert SimpleNamespace(**asdict(sizes_of("laptop", True, {}))).seeds == 5
