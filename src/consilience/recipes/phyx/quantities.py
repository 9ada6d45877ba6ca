"""Quantities as problems write them: in words, in figures, in worked solutions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from consilience.worlds.physics_family import Given

_QUANTITY = re.compile(r"(-?\d+(?:\.\d+)?) ?(.*)")


def si_value(given: Given, number: str, unit: str) -> float | None:
    """A number with one of the quantity's units in SI; None for another unit."""
    powers: Mapping[str, int] = {given.unit: 0, **given.other}
    return float(number) / 10.0 ** powers[unit] * given.si if unit in powers else None


def si_of(given: Given, text: str) -> float | None:
    """The SI value of a quantity as written (`12.5 m`, `20.0°`); None where it is none, or of another unit."""
    match = _QUANTITY.fullmatch(text.strip())
    return si_value(given, match[1], match[2].strip()) if match else None
