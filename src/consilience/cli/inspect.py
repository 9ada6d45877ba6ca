"""`consilience inspect`: what a checkpoint directory holds and whether it fits its configuration."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.cli import Out
from consilience.errors import MissingExtra

if TYPE_CHECKING:
    from consilience.nn.inspect import Inspection

EXAMPLES = (
    "consilience inspect nano",
    "consilience inspect path/to/Step-3.5-Flash",
    "consilience inspect runs/my-model --json",
)
_SHOWN = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory",
        type=Path,
        metavar="CHECKPOINT_DIR",
        help="a directory with config.json: Qwen3, Step-3, Step 3.5 Flash, STEP3-VL-10B, or a model of this package; "
        "or nano, the shipped one",
    )


def run(args: argparse.Namespace, out: Out) -> Any:
    try:
        from consilience.nn.inspect import inspect
        from consilience.policy.local import nano_directory
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("torch", "safetensors"):
            raise MissingExtra("looking at checkpoints", "nano") from None
        raise
    shipped = str(args.directory) == "nano" and not args.directory.exists()
    directory = nano_directory() if shipped else args.directory
    found = inspect(directory)
    _show(found, out)
    return {"path": str(directory), **found.to_json()}


def _show(found: Inspection, out: Out) -> None:
    data = found.to_json()
    parts = ", ".join(f"{name} {_billions(n)}" for name, n in data["parts"].items() if n)
    far = f", {data['kv_bytes_per_far_token']:,} beyond all windows" if found.kv_far != found.kv_near else ""
    out(f"{found.architecture}: {found.counts.total:,} parameters ({parts})")
    out(f"active for a token of text: {found.counts.active:,} ({_billions(found.counts.active)})")
    for kind, n in data["layers"].items():
        out(f"  {n} × {kind}")
    out(f"KV cache: {data['kv_bytes_per_token']:,} bytes a token in 16 bits{far}; context {data['context']:,} tokens")
    memory = " · ".join(f"{_gigabytes(n)} in {name}" for name, n in data["memory_bytes"].items())
    out(f"memory for the weights: {memory}")
    size, types = _gigabytes(data["stored_bytes"]), ", ".join(data["stored_types"]) or "nothing"
    files = f"{found.shards} file{'s' if found.shards != 1 else ''}"
    out(f"on disk: {data['stored_tensors']:,} tensors, {size}, {types}, {files}")
    for sentence in data["damaged"]:
        out(sentence)
    for word in ("missing", "unexpected", "misshapen"):
        for name in data[word][:_SHOWN]:
            out(f"{word}: {name}")
        if len(data[word]) > _SHOWN:
            out(f"{word}: {len(data[word]) - _SHOWN:,} more (--json lists all)")
    if data["fits"]:
        out("every tensor is there and fits")


def _billions(count: int) -> str:
    return f"{count / 1e9:.1f}B" if count >= 1e8 else f"{count / 1e6:.2f}M"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
