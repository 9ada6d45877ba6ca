"""How large each scale is, and which kinds of attention are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consilience.errors import InputError
from consilience.request import with_settings

EQUAL = ("mfa", "gqa", "mha", "mla")
"""Arms of equal cache, for the primary claims."""
ARMS: Mapping[str, str] = {
    "mfa": "MFA, 6 heads of 48",
    "gqa": "GQA, 6 heads of 16, 3 key heads",
    "mha": "MHA, 3 heads of 16",
    "mla": "MLA, 6 heads of 16, latent 80 + 16 rotated",
    "mqa": "MQA, 6 heads of 48, queries not factorised",
    "mha_double": "MHA, 6 heads of 16, twice the cache",
    "mfa_kr": "MFA-KR, 6 heads of 48, half the cache",
}
RATES = (1.5e-3, 3e-3, 6e-3)
"""Learning rates; every arm is measured with the one that is best for it on the dev split."""
PARTS = ("language", "disaggregation")


@dataclass(frozen=True)
class Sizes:
    """Counts of everything that takes time.

    seeds of the language models; steps, rows, length: their training at each learning rate, in optimizer steps,
    windows and bytes; windows: of the dev and test text. repeats: measured pairs of disaggregated runs; tokens: steps
    decoded in each; sequences: rows.
    """

    seeds: int = 1
    steps: int = 350
    rows: int = 16
    length: int = 128
    windows: int = 256
    repeats: int = 7
    tokens: int = 16
    sequences: int = 384


SCALES: Mapping[str, Sizes] = {
    "smoke": Sizes(steps=2, rows=2, length=16, windows=4, repeats=2, tokens=2, sequences=4),
    "laptop": Sizes(),
    "study": Sizes(seeds=5, repeats=15),
}


def sizes_of(scale: str, study: bool, settings: Mapping[str, Any]) -> Sizes:
    """The sizes of a scale with the caller's settings on top.

    Raises:
        UnknownName: a setting is not a field of `Sizes`.
        InputError: a setting has the wrong type or an impossible value.
    """
    sizes = with_settings(SCALES["study" if study and scale == "laptop" else scale], settings)
    for name, least in (("length", 2), ("repeats", 2), *((name, 1) for name in vars(sizes))):
        if getattr(sizes, name) < least:
            raise InputError(f"setting {name}={getattr(sizes, name)} must be at least {least}.")
    return sizes
