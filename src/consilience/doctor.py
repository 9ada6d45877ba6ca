"""What is installed, what each extra and system package unlocks, and how to get the rest (`consilience doctor`).

Extras and their minimum versions are read from the package's own metadata; nothing heavy is imported.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from consilience.machine import machine

EXTRAS = {
    "nano": "train and run models here: demo, train, recipes at laptop scale, solve with the model nano",
    "hf": "models of the transformers library (--model hf:NAME), LoRA training",
    "data": "parquet files and Hugging Face datasets (synth --out FILE.parquet)",
    "serve": "the OpenAI-style gateway and its page (serve)",
    "verify": "symbolic comparison of answers",
    "ray": "benchmark runs and rollouts spread over several machines",
    "tensorboard": "training curves as TensorBoard files (report --tensorboard)",
    "wandb": "training curves as an offline W&B run (report --wandb)",
    "dev": "the tests and linters of this repository",
}
"""What each extra unlocks; an extra not named here is listed without a sentence."""

SYSTEM = {
    "espeak-ng": ("espeak-ng", "spoken questions and sounds"),
    "bubblewrap": ("bwrap", "running untrusted code in a sandbox"),
}
"""Debian package → (program, what it unlocks)."""

DISK_GIB = 3.0
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LEAST = re.compile(r">=\s*([0-9.]+)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)")


@dataclass(frozen=True)
class Row:
    """One thing to have. present: usable as it is; version: "" where absent or unknown; install: the remedy."""

    name: str
    kind: Literal["machine", "extra", "package", "system"]
    present: bool
    version: str
    unlocks: str
    install: str

    def to_json(self) -> dict[str, Any]:
        return vars(self).copy()


def examine(place: Path | None = None) -> list[Row]:
    """Rows on the machine, the extras with their packages, and the system packages.

    Args:
        place: the directory whose free disk space counts; the current one by default.
    """
    return [*_machine_rows(place or Path.cwd()), *_extra_rows(), *_system_rows()]


def _machine_rows(place: Path) -> Iterator[Row]:
    here = machine()
    python = sys.version_info >= (3, 11)
    yield Row("python", "machine", python, here["python"], "everything", "install Python 3.11 or newer")
    yield Row("processor", "machine", True, f"{here['cores']} cores", "laptop scale: 2 cores are enough", "")
    free = shutil.disk_usage(place).free / 2**30
    yield Row(
        "disk", "machine", free >= DISK_GIB, f"{free:.0f} GiB free", "installation and runs", "free some disk space"
    )
    card = _graphics_card()
    yield Row("gpu", "machine", bool(card), card, "recipes at gpu scale", "an NVIDIA GPU with its driver")


def _graphics_card() -> str:
    """Names of the NVIDIA GPUs, "" without any."""
    if not (program := shutil.which("nvidia-smi")):
        return ""
    try:
        query = [program, "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""


def _extra_rows() -> Iterator[Row]:
    for extra, packages in extras(requires("consilience") or []).items():
        install = f"pip install 'consilience[{extra}]'"
        rows = [_package_row(name, least, extra, install) for name, least in packages.items()]
        yield Row(extra, "extra", all(row.present for row in rows), "", EXTRAS.get(extra, ""), install)
        yield from rows


def extras(requirements: list[str]) -> dict[str, dict[str, str]]:
    """Extra → package → minimum version ("" for any), from requirement strings such as `torch>=2.6; extra == "nano"`.

    References to the project's own other extras are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        name, least, extra = _NAME.match(package.strip()), _LEAST.search(package), _EXTRA.search(marker)
        if name and extra and name[0] != "consilience":
            found.setdefault(extra[1], {})[name[0]] = least[1] if least else ""
    return found


def _package_row(name: str, least: str, extra: str, install: str) -> Row:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Row(name, "package", False, "", f"part of {extra}", install)
    fits = _numbers(installed) >= _numbers(least)
    note = f"part of {extra}" if fits else f"part of {extra}, which needs {least} or newer"
    return Row(name, "package", fits, installed, note, install)


def _numbers(text: str) -> list[int]:
    release = re.match(r"[0-9.]*", text)
    return [int(part) for part in release[0].split(".") if part] if release else []


def _system_rows() -> Iterator[Row]:
    for package, (program, unlocks) in SYSTEM.items():
        path = shutil.which(program)
        yield Row(package, "system", path is not None, _debian_version(package), unlocks, f"apt install {package}")


def _debian_version(package: str) -> str:
    """The installed version of a Debian package, "" elsewhere."""
    if not (query := shutil.which("dpkg-query")):
        return ""
    command = [query, "-W", "-f=${Version}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""
