"""Official-layout checkpoints in and out, and a sentence for each of those that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from official_configs import FLASH, STEP3, STEP3_VL
from safetensors.torch import load_file
from tiny_published import (
    FLASH_SMALL,
    MARKS,
    STEP3_EYES,
    STEP3_SMALL,
    VL_SMALL,
    flash_shapes,
    random_weights,
    step3_shapes,
    vl_shapes,
    write,
)

from consilience.cli import main
from consilience.errors import CheckpointMismatch, InputError, UnknownName
from consilience.nn.checkpoint import save_model
from consilience.nn.config import ModelConfig, nano
from consilience.nn.decoder import Decoder
from consilience.nn.inspect import inspect
from consilience.nn.published import qwen3, step3, step3_vl_10b, step_3_5_flash, storage
from consilience.nn.published.storage import load, save

KINDS = {
    "step3": (step3, STEP3_SMALL, step3_shapes),
    "step3_with_eyes": (step3, STEP3_EYES, step3_shapes),
    "step_3_5_flash": (step_3_5_flash, FLASH_SMALL, flash_shapes),
    "step3_vl_10b": (step3_vl_10b, VL_SMALL, vl_shapes),
}


def written(path: Path, kind: str) -> dict[str, torch.Tensor]:
    _, config, shapes = KINDS[kind]
    weights = random_weights(shapes(config))
    write(path, config, weights)
    return weights


def stored(path: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in path.glob("*.safetensors") for name, t in load_file(file).items()}


@pytest.mark.parametrize("shard_bytes", [10_000, 10**9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_survives_the_round_trip_bit_by_bit(kind: str, shard_bytes: int, tmp_path: Path) -> None:
    weights = written(tmp_path / "a", kind)
    module = KINDS[kind][0]
    model = module.from_hf(tmp_path / "a")
    module.to_hf(model, tmp_path / "b", shard_bytes)
    again = stored(tmp_path / "b")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert (len(list((tmp_path / "b").glob("*.safetensors"))) > 1) == (shard_bytes == 10_000)
    back = load(tmp_path / "b")
    assert back.config == model.config
    assert all(torch.equal(p, q) for p, q in zip(back.parameters(), model.parameters(), strict=True))
    assert inspect(tmp_path / "b").to_json()["fits"]


def test_experts_may_be_stored_one_by_one(tmp_path: Path) -> None:
    weights = written(tmp_path / "a", "step_3_5_flash")
    split = {}
    for name, tensor in weights.items():
        stem, _, last = name.partition(".moe.")
        if last.endswith("_proj.weight"):
            middle = ".moe.experts." if "layers.1." in name else ".moe."
            split |= {f"{stem}{middle}{e}.{last}": tensor[e].clone() for e in range(len(tensor))}
        elif ".4." in name and "norm" in name:
            split[name.replace("layers.4.", "layers.4.transformer.")] = tensor
        else:
            split[name.replace("shared_head.output", "shared_head.head")] = tensor
    write(tmp_path / "b", FLASH_SMALL, split)
    one, other = load(tmp_path / "a"), load(tmp_path / "b")
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    del split["model.layers.2.moe.3.up_proj.weight"]
    split["model.layers.2.moe.9.up_proj.weight"] = torch.zeros(10, 24)
    write(tmp_path / "c", FLASH_SMALL, split)
    with pytest.raises(
        CheckpointMismatch, match=r"missing model\.layers\.2\.moe\.experts\.3\.up_proj\.weight; un.*moe\.9"
    ):
        load(tmp_path / "c")


def test_names_that_the_transformers_library_has_changed(tmp_path: Path) -> None:
    weights = written(tmp_path / "a", "step3_vl_10b")
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith(("vision_model.", "vit_large_projector.")):
            renamed[f"model.{name}"] = tensor
        else:
            renamed[name.replace("model.", "model.language_model.", 1)] = tensor
    write(tmp_path / "b", VL_SMALL, renamed)
    one, other = load(tmp_path / "a"), load(tmp_path / "b")
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_special_tokens_are_read_from_the_tokenizer_files(tmp_path: Path) -> None:
    written(tmp_path, "step3_vl_10b")
    tokens = load(tmp_path).config.vision.tokens  # type: ignore[union-attr]
    assert (tokens.patch, tokens.view_start, tokens.crop_end, tokens.row_end) == (60, 50, 53, 54)
    (tmp_path / "added_tokens.json").unlink()
    decoder = {str(number): {"content": token, "special": True} for token, number in MARKS.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    assert load(tmp_path).config.vision.tokens == tokens  # type: ignore[union-attr]
    (tmp_path / "tokenizer_config.json").unlink()
    assert load(tmp_path).config.vision.tokens.row_end == -1  # type: ignore[union-attr]


def test_precision_and_routers(tmp_path: Path) -> None:
    written(tmp_path, "step_3_5_flash")
    model = load(tmp_path, torch.bfloat16)
    types = {name: p.dtype for name, p in model.named_parameters()}
    assert types["embedding.weight"] == types["blocks.1.ffn.experts.down"] == torch.bfloat16
    assert types["blocks.1.ffn.router.weight"] == types["blocks.1.ffn.router.bias"] == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_do_not_fit_are_named(kind: str, tmp_path: Path) -> None:
    weights = written(tmp_path, kind)
    weights.pop("model.layers.1.self_attn.v_proj.weight")
    weights["model.layers.1.self_attn.sinks"] = torch.zeros(4)
    weights["model.norm.weight"] = torch.zeros(7)
    write(tmp_path, KINDS[kind][1], weights)
    with pytest.raises(CheckpointMismatch) as caught:
        load(tmp_path)
    sentence = str(caught.value)
    assert "missing model.layers.1.self_attn.v_proj.weight" in sentence
    assert "unexpected model.layers.1.self_attn.sinks" in sentence
    assert "model.norm.weight is (7,), not (24,)" in sentence
    found = inspect(tmp_path)
    assert found.fit.missing == ("model.layers.1.self_attn.v_proj.weight",)
    assert not found.to_json()["fits"]


def test_damaged_shards_are_named_before_anything_is_loaded(tmp_path: Path) -> None:
    written(tmp_path, "step3")
    shard = tmp_path / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model-00002-of-00003\.safetensors is truncated"):
        load(tmp_path)
    found = inspect(tmp_path)
    assert "model-00002-of-00003.safetensors is truncated" in found.damaged[0]
    assert found.fit.missing
    shard.unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00003\.safetensors is missing"):
        load(tmp_path)


def test_too_little_memory_is_a_sentence_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "step3")
    monkeypatch.setattr(storage, "available_memory", lambda: 1000)
    with pytest.raises(InputError, match=r"needs 0\.0 GB of memory in float32, 0\.0 GB are free"):
        load(tmp_path)


def test_quantised_tensors_are_a_sentence(tmp_path: Path) -> None:
    weights = written(tmp_path, "step3")
    weights["model.layers.0.self_attn.wq.weight"] = weights["model.layers.0.self_attn.wq.weight"].to(
        torch.float8_e4m3fn
    )
    write(tmp_path, STEP3_SMALL, weights)
    with pytest.raises(InputError, match="stores tensors of type F8_E4M3"):
        load(tmp_path)


def changed(config: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *outer, last = path.split(".")
    copy = json.loads(json.dumps(config))
    inner = copy
    for name in outer:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copy


@pytest.mark.parametrize(
    ("module", "config", "field", "value", "sentence"),
    [
        (step3, STEP3, "text_config", None, "lacks 'text_config'"),
        (step3, STEP3, "text_config.share_q_dim", None, "share_q_dim is missing"),
        (step3, STEP3, "text_config.num_attention_groups", 2, "num_attention_groups = 2 is not supported"),
        (
            step3,
            STEP3,
            "text_config.moe_layers_enum",
            "4,61",
            "moe_layers_enum lists layer 61, but there are 61 layers",
        ),
        (step3, STEP3, "text_config.moe_layers_enum", "4,x", "does not list layer numbers"),
        (step3, STEP3, "text_config.max_seq_len", 9, "max_position_embedding = 65536 and max_seq_len = 9 contradict"),
        (step3, STEP3, "text_config.moe_top_k", 60, "60 active experts of 48"),
        (step3, STEP3, "text_config.hidden_size", 7168.5, "hidden_size = 7168.5 is no integer"),
        (step3, STEP3, "text_config.norm_expert_weight", 1, "norm_expert_weight = 1 is neither true nor false"),
        (step3, STEP3, "understand_projector_stride", 1, "understand_projector_stride = 1 is not supported"),
        (step3, STEP3, "vision_config.image_size", 730, "view size 730 must be a multiple of the patch size 14"),
        (
            step_3_5_flash,
            FLASH,
            "layer_types",
            ["full_attention"] * 9,
            "layer_types must name .* for each of 48 layers",
        ),
        (step_3_5_flash, FLASH, "rope_theta", [1e4] * 40, "rope_theta has 40 entries for 48 layers"),
        (step_3_5_flash, FLASH, "rope_theta", "big", "rope_theta = 'big' is no number"),
        (step_3_5_flash, FLASH, "rope_scaling.rope_type", "yarn", "rope_type = 'yarn' is not supported"),
        (step_3_5_flash, FLASH, "attention_other_setting.num_attention_groups", 4, "num_attention_groups differs"),
        (step_3_5_flash, FLASH, "attention_other_setting.attention_type", "x", "attention_type = 'x'"),
        (step_3_5_flash, FLASH, "use_moe_router_bias", False, "use_moe_router_bias = False is not supported"),
        (step_3_5_flash, FLASH, "use_rope_layers", [1, 0], "use_rope_layers switches positions off"),
        (step_3_5_flash, FLASH, "sliding_window", -1, "sliding_window = -1 is no integer of at least 2"),
        (step3_vl_10b, STEP3_VL, "vision_config.use_cls_token", True, "use_cls_token = True is not supported"),
        (step3_vl_10b, STEP3_VL, "image_token_len", 168, "image_token_len is 168, but a view of 728 pixels gives 169"),
        (step3_vl_10b, STEP3_VL, "text_config.head_dim", None, "lacks head_dim"),
        (step3_vl_10b, STEP3_VL, "vision_config.heads", 17, "width 1536 does not divide into 17 heads"),
    ],
)
def test_configurations_that_cannot_be_read_name_the_field(
    module: Any, config: dict[str, Any], field: str, value: object, sentence: str
) -> None:
    module.config_from_hf(config)
    with pytest.raises(InputError, match=sentence):
        module.config_from_hf(changed(config, field, value))


def test_layers_may_be_listed_instead_of_written() -> None:
    assert step3.config_from_hf(
        changed(STEP3, "text_config.moe_layers_enum", list(range(4, 60)))
    ) == step3.config_from_hf(STEP3)


def test_an_unknown_model_type_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "step3p6"}')
    with pytest.raises(UnknownName, match="did you mean 'step3p5'"):
        load(tmp_path)


def test_decoders_with_other_parts_cannot_be_written(tmp_path: Path) -> None:
    written(tmp_path / "a", "step3")
    model = Decoder(step3.with_key_reuse(load(tmp_path / "a").config))
    with pytest.raises(InputError, match="such as windows, gates or MFA-KR"):
        step3.to_hf(model, tmp_path / "b")
    plain = Decoder(ModelConfig())
    for module, sentence in ((step3, "dense and expert"), (step_3_5_flash, "lacks some"), (step3_vl_10b, "Perception")):
        with pytest.raises(InputError, match=sentence):
            module.to_hf(plain, tmp_path / "b")
    with pytest.raises(InputError, match="layers are all alike"):
        qwen3.to_hf(Decoder(ModelConfig(n_layers=1, layers=ModelConfig(n_layers=1).blocks)), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_shards_are_not_written_over_something(tmp_path: Path) -> None:
    written(tmp_path / "a", "step3")
    model = load(tmp_path / "a")
    with pytest.raises(InputError, match="is not empty"):
        save(model, tmp_path / "a", step3.ARCHITECTURE, 1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_inspect_prints_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = written(tmp_path, "step_3_5_flash")
    assert main(["inspect", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    total = sum(w.numel() for w in weights.values())
    assert f"Step 3.5 Flash: {total:,} parameters" in shown
    assert "1 × attention to 4 tokens, 6/2 heads of 8, 2 of 6 experts and a shared one, gated, clipped" in shown
    assert "2 × drafting head, attention to 4 tokens" in shown
    assert "KV cache: 256 bytes a token in 16 bits, 128 beyond all windows" in shown
    assert "every tensor is there and fits" in shown
    weights.pop("model.norm.weight")
    write(tmp_path, FLASH_SMALL, weights)
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["missing"] == ["model.norm.weight"]
    assert (data["fits"], data["parameters"]) == (False, total)
    assert data["stored_bytes"] == 4 * (total - 24)
    assert data["kv_bytes_per_token"] == 2 * (2 + 2) * 2 * 2 * 8


def test_inspect_reads_house_checkpoints_and_bare_configurations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Decoder(nano())
    save_model(model, tmp_path / "nano")
    found = inspect(tmp_path / "nano")
    assert found.to_json()["fits"]
    assert found.counts.total == model.parameter_count
    (tmp_path / "config.json").write_text(json.dumps(FLASH))
    assert main(["inspect", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "199,384,301,376 parameters" in shown
    assert "active for a token of text: 11,459,365,952" in shown
    assert "model.safetensors is missing" in shown
    assert "missing: " in shown


def test_inspect_refuses_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "is no checkpoint directory: config.json is missing" in capsys.readouterr().err


def test_inspect_knows_the_shipped_model_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "nano"]) == 0
    assert f"{Decoder(nano()).parameter_count:,} parameters" in capsys.readouterr().out
    (tmp_path / "nano").mkdir()
    assert main(["inspect", "nano"]) == 2, "a directory of that name comes first"
