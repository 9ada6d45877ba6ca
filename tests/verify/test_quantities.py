"""Quantities with units as physics writes them: prefixes, compound units, other names, temperatures."""

from __future__ import annotations

from fractions import Fraction

import pytest

from consilience.verify import verify
from consilience.verify.answers import units

SAME = [
    ("5 mT", "0.005 T"),
    ("3 nF", "3e-9 F"),
    ("2 µm", "2e-6 m"),
    (r"2 \mu m", "2e-6 m"),
    (r"2\,\mu\text{C}", "2e-6 C"),
    (r"25 \mu T", "0.025 mT"),
    (r"5 \mathrm{mT}", "5 mT"),
    ("2 Ω", "2 ohm"),
    (r"2 k\Omega", "2000 ohm"),
    ("7 kΩ", "7000 Ω"),
    ("0.5 S", "0.5 /ohm"),
    ("1 GeV", "1000 MeV"),
    ("12 Bq", "12 s^-1"),
    ("60 Hz", "60 /s"),
    ("1 kWh", "3.6 MJ"),
    ("3 A·h", "3 Ah"),
    ("1 T", "1 Wb/m^2"),
    ("1 H", "1 Wb/A"),
    ("3 G", "0.3 mT"),
    ("10 dyn", "1e-4 N"),
    ("5 kg m/s", "5 N s"),
    ("4 m s^-2", "4 m/s^2"),
    ("3 J/(kg·K)", "3 J kg^{-1} K^{-1}"),
    (r"\boxed{4\,\text{N}\cdot\text{m}}", "4 J"),
    (r"4.0\times 10^{-7}\ \text{H/m}", "0.4 μH/m"),
    ("12 kN/m^2", "12000 Pa"),
    ("550 nm", "5500 Å"),
    ("1 u", "1.66053906660e-27 kg"),
    ("x = 5 cm", "5 cm"),
    ("30°C", "303.15 K"),
    ("86 °F", "30 °C"),
    ("5cm", "5 cm"),
]
OTHER = [
    ("5 mT", "5 T"),
    ("3 nF", "3 pF"),
    ("5 m", "5 mT"),
    ("2 N/m", "2 N m"),
    ("5 MW", "5 mW"),
    ("5 g", "5 G"),
    ("5 s", "5 S"),
    ("5 kg", "5 K"),
    ("30 °C", "30 K"),
    ("2 x", "2 m"),
    ("12", "12 mT"),
]


@pytest.mark.parametrize(("prediction", "gold"), SAME)
def test_the_same_quantity_in_other_units_is_right_both_ways(prediction: str, gold: str) -> None:
    assert verify(prediction, gold, type="quantity").score == 1
    assert verify(gold, prediction, type="quantity").score == 1


@pytest.mark.parametrize(("prediction", "gold"), OTHER)
def test_another_quantity_is_wrong(prediction: str, gold: str) -> None:
    assert verify(prediction, gold, type="quantity").score == 0


def test_a_gold_with_a_plain_unit_lets_the_prediction_use_any() -> None:
    assert verify("the field is \\boxed{5 mT}", "0.005 T").score == 1


@pytest.mark.parametrize(("prediction", "gold"), [("2 mT", "2 Tm"), ("3 nC", "3 Cn"), ("5 S", "5 S"), ("4 u", "4u")])
def test_letters_stay_variables_where_no_quantity_is_expected(prediction: str, gold: str) -> None:
    assert verify(prediction, gold).score == 1


OTHER_UNITS = {"min", "Pa", "cd", "ft"}
"""Spellings that would be a prefix and a symbol but mean another unit."""


@pytest.mark.parametrize(
    "symbol", ["m", "g", "s", "A", "K", "N", "J", "W", "Pa", "C", "V", "F", "Omega", "T", "Wb", "H"]
)
def test_a_symbol_takes_every_prefix(symbol: str) -> None:
    base = units.UNITS[symbol]
    for prefix, ten in units.PREFIXES.items():
        if prefix + symbol not in OTHER_UNITS:
            found = units.UNITS[prefix + symbol]
            assert (found.factor, found.dimension) == (base.factor * Fraction(10) ** ten, base.dimension)
