"""Units of measurement: names, SI prefixes, compound expressions, and conversion by dimensional analysis.

A unit is a factor times powers of base dimensions. The base is metre, gram, second, ampere, kelvin, mole, candela,
plus radian (an angle without a unit counts as radians), bit, and one dimension for each currency. °C and °F are
dimensions of their own, because their zeros are elsewhere: only a temperature by itself converts to kelvin, as the
reading of a thermometer. Nouns that measure nothing ("apples") are not units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from consilience.verify.answers.scan import Token, names

Dimension = tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True)
class Unit:
    """factor · Π base^exponent. angle: power of π/180 in the factor, kept apart because it is irrational."""

    factor: Fraction
    dimension: Dimension = ()
    degrees: int = 0

    def times(self, other: Unit, power: Fraction = Fraction(1)) -> Unit:
        """self · other^power, for a whole power."""
        powers = dict(self.dimension)
        for base, exponent in other.dimension:
            powers[base] = powers.get(base, Fraction(0)) + exponent * power
        if power.denominator != 1:
            raise ValueError("units have whole powers")
        factor = self.factor * other.factor ** int(power)
        kept = tuple(sorted((base, exponent) for base, exponent in powers.items() if exponent))
        return Unit(factor, kept, self.degrees + other.degrees * int(power))

    @property
    def is_angle(self) -> bool:
        """Whether it measures an angle (degrees or radians)."""
        return self.dimension in ((), (("rad", Fraction(1)),)) and (self.degrees != 0 or bool(self.dimension))


NO_UNIT = Unit(Fraction(1))


def _unit(factor: Any, **powers: int) -> Unit:
    return Unit(Fraction(factor), tuple(sorted((base, Fraction(power)) for base, power in powers.items())))


PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "μ": -6, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18,
}  # fmt: skip
_PREFIX_WORDS = {
    "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deca": 1, "deci": -1, "centi": -2, "milli": -3, "micro": -6,
    "nano": -9, "pico": -12,
}  # fmt: skip
_PREFIXED = {  # symbol, full name: both take prefixes
    ("m", "meter", "metre"): _unit(1, m=1),
    ("g", "gram", "gramme"): _unit(1, g=1),
    ("s", "second", "sec"): _unit(1, s=1),
    ("A", "ampere", "amp"): _unit(1, A=1),
    ("K", "kelvin"): _unit(1, K=1),
    ("mol", "mole"): _unit(1, mol=1),
    ("cd", "candela"): _unit(1, cd=1),
    ("Hz", "hertz"): _unit(1, s=-1),
    ("N", "newton"): _unit(1000, g=1, m=1, s=-2),
    ("J", "joule"): _unit(1000, g=1, m=2, s=-2),
    ("W", "watt"): _unit(1000, g=1, m=2, s=-3),
    ("Pa", "pascal"): _unit(1000, g=1, m=-1, s=-2),
    ("C", "coulomb"): _unit(1, A=1, s=1),
    ("V", "volt"): _unit(1000, g=1, m=2, s=-3, A=-1),
    ("F", "farad"): _unit(Fraction(1, 1000), g=-1, m=-2, s=4, A=2),
    ("Omega", "ohm"): _unit(1000, g=1, m=2, s=-3, A=-2),
    ("T", "tesla"): _unit(1000, g=1, s=-2, A=-1),
    ("Wb", "weber"): _unit(1000, g=1, m=2, s=-2, A=-1),
    ("H", "henry"): _unit(1000, g=1, m=2, s=-2, A=-2),
    ("L", "l", "liter", "litre"): _unit(Fraction(1, 1000), m=3),
    ("bar",): _unit(10**8, g=1, m=-1, s=-2),
    ("eV", "electronvolt"): _unit(Fraction("1.602176634e-16"), g=1, m=2, s=-2),
    ("cal", "calorie"): _unit(4184, g=1, m=2, s=-2),
    ("b", "bit"): _unit(1, bit=1),
    ("B", "byte"): _unit(8, bit=1),
    ("rad", "radian"): _unit(1, rad=1),
    ("Bq", "becquerel"): _unit(1, s=-1),
    ("Gy", "gray"): _unit(1, m=2, s=-2),
    ("Sv", "sievert"): _unit(1, m=2, s=-2),
    ("lm", "lumen"): _unit(1, cd=1),
    ("lx", "lux"): _unit(1, cd=1, m=-2),
    ("kat", "katal"): _unit(1, mol=1, s=-1),
    ("siemens",): _unit(Fraction(1, 1000), g=-1, m=-2, s=3, A=2),
    ("Wh",): _unit(3_600_000, g=1, m=2, s=-2),
    ("Ah",): _unit(3600, A=1, s=1),
    ("Da", "dalton"): _unit(Fraction("1.66053906660e-24"), g=1),
    ("pc", "parsec"): _unit(Fraction("3.0856775814913673e16"), m=1),
}
_FOOT, _POUND = Fraction("0.3048"), Fraction("453.59237")
_FIXED = {
    ("min", "minute"): _unit(60, s=1),
    ("h", "hr", "hour"): _unit(3600, s=1),
    ("day", "d"): _unit(86400, s=1),
    ("week", "wk"): _unit(604800, s=1),
    ("month",): _unit(1, month=1),
    ("year", "yr"): _unit(12, month=1),
    ("decade",): _unit(120, month=1),
    ("century", "centurie"): _unit(1200, month=1),
    ("inch", "inche", "in"): _unit(_FOOT / 12, m=1),
    ("foot", "feet", "ft"): _unit(_FOOT, m=1),
    ("yard", "yd"): _unit(3 * _FOOT, m=1),
    ("mile", "mi"): _unit(5280 * _FOOT, m=1),
    ("acre",): _unit(43560 * _FOOT**2, m=2),
    ("hectare", "ha"): _unit(10000, m=2),
    ("tonne", "t"): _unit(10**6, g=1),
    ("ounce", "oz"): _unit(_POUND / 16, g=1),
    ("pound", "lb", "lbs"): _unit(_POUND, g=1),
    ("gallon", "gal"): _unit(Fraction("0.003785411784"), m=3),
    ("quart", "qt"): _unit(Fraction("0.003785411784") / 4, m=3),
    ("pint", "pt"): _unit(Fraction("0.003785411784") / 8, m=3),
    ("cup",): _unit(Fraction("0.003785411784") / 16, m=3),
    ("mph",): _unit(5280 * _FOOT / 3600, m=1, s=-1),
    ("kph", "kmh"): _unit(Fraction(1000, 3600), m=1, s=-1),
    ("knot",): _unit(Fraction(1852, 3600), m=1, s=-1),
    ("atm", "atmosphere"): _unit(101325000, g=1, m=-1, s=-2),
    ("torr", "mmHg"): _unit(Fraction(101325000, 760), g=1, m=-1, s=-2),
    ("psi",): _unit(_POUND * Fraction("9.80665") / (_FOOT / 12) ** 2, g=1, m=-1, s=-2),
    ("dyne", "dyn"): _unit(Fraction(1, 100), g=1, m=1, s=-2),
    ("erg",): _unit(Fraction(1, 10000), g=1, m=2, s=-2),
    ("horsepower", "hp"): _unit(550 * _FOOT * _POUND * Fraction("9.80665"), g=1, m=2, s=-3),
    ("angstrom",): _unit(Fraction(1, 10**10), m=1),
    ("lightyear", "ly"): _unit(9_460_730_472_580_800, m=1),
    ("AU",): _unit(149_597_870_700, m=1),
    ("amu",): _unit(Fraction("1.66053906660e-24"), g=1),
    ("gauss",): _unit(Fraction(1, 10), g=1, s=-2, A=-1),
    ("rpm",): _unit(Fraction(1, 60), s=-1),
    ("dollar", "usd", "USD", "buck"): _unit(1, dollar=1),
    ("cent", "¢", "penny", "pennie"): _unit(Fraction(1, 100), dollar=1),
    ("euro", "EUR", "eur"): _unit(1, euro=1),
    ("yuan", "CNY", "RMB"): _unit(1, yuan=1),
    ("rupee", "INR"): _unit(1, rupee=1),
    ("yen", "JPY"): _unit(1, yen=1),
    ("ruble", "rouble"): _unit(1, ruble=1),
    ("celsius", "degC"): _unit(1, celsius=1),
    ("fahrenheit", "degF"): _unit(1, fahrenheit=1),
    ("degree", "deg"): Unit(Fraction(1), (), 1),
    ("revolution",): Unit(Fraction(360), (), 1),
}
CURRENCY_SIGNS = {"$": "dollar", "€": "euro", "£": "sterling", "¥": "yen"}
MULTIPLIERS = {
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
    **dict.fromkeys(("percent", "pct", "percentage"), Fraction(1, 100)),
}
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
PLAIN_SYMBOLS = names(  # two or three letters that are units without \\text{…}; others are products of variables
    "cm km mm nm dm kg mg mL ml cL dL ms ns Hz kHz MHz GHz kW MW GW kJ MJ kN kV mV mA Pa kPa MPa eV keV MeV mol cal "
    "ft yd mi oz lb lbs gal hr hrs min sec mph kph in atm rad deg usd USD EUR eur kB MB GB TB bit bar rpm day sq cu "
    "per pct cup ohm GeV TeV kWh MWh Bq kBq MBq μm μs μg μL μA μV μF μC μJ μW μN μH μT amu psi erg"
)
SINGLE_LETTERS = names("m g s A K N J W C V F T H L l h d t b B")
_MEASURED_ONLY = {"u": "amu", "S": "siemens", "G": "gauss"}  # elsewhere these are variables
_NUMBER_WORDS = names("or and not times plus minus than if when where with is are to from")


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {"£": _unit(1, sterling=1), "sterling": _unit(1, sterling=1)}
    for spellings, unit in _FIXED.items():
        for name in spellings:
            table[name] = unit
            if len(name) > 2:
                table[name + "s"] = unit
    for (symbol, *words), unit in _PREFIXED.items():
        for name in (symbol, *words):
            prefixes = {"": 0, **(_PREFIX_WORDS if name != symbol and len(name) > 3 else PREFIXES)}
            for prefix, ten in prefixes.items():
                scaled = Unit(unit.factor * Fraction(10) ** ten, unit.dimension)
                table.setdefault(prefix + name, scaled)
                if len(name) > 2:
                    table.setdefault(prefix + name + "s", scaled)
    table["secs"] = table["second"]
    return table


UNITS = _table()


def lookup(word: str, *, measured: bool = False) -> Unit | None:
    """The unit of a word, in the spelling given or in small letters. measured: a quantity is expected, so that S is
    siemens and no variable."""
    if measured and word in _MEASURED_ONLY:
        return UNITS[_MEASURED_ONLY[word]]
    return UNITS.get(word) or (UNITS.get(word.lower()) if len(word) > 2 else None)


def kelvin(unit: Unit) -> tuple[Fraction, Fraction] | None:
    """(scale, shift) of a temperature by itself, which is (value + shift) · scale in kelvin; None for other units."""
    match unit.dimension:
        case (("K", Fraction(numerator=1, denominator=1)),):
            return unit.factor, Fraction(0)
        case (("celsius", Fraction(numerator=1, denominator=1)),):
            return Fraction(1), Fraction("273.15")
        case (("fahrenheit", Fraction(numerator=1, denominator=1)),):
            return Fraction(5, 9), Fraction("459.67")
    return None


def convertible(a: Unit, b: Unit) -> bool:
    """Whether two units measure the same; degrees, radians and no unit all measure angles."""
    return _dimension(a) == _dimension(b)


def _dimension(unit: Unit) -> Dimension:
    return tuple((base, power) for base, power in unit.dimension if base != "rad")


_WORD = re.compile(r"[A-Za-zμ¢£°]+")


@dataclass(frozen=True)
class Suffix:
    """What follows a number: its unit, a multiplier (dozen, percent), and whether words were left out as nouns."""

    unit: Unit
    multiplier: Fraction = Fraction(1)
    nouns: tuple[str, ...] = ()


def read_suffix(tokens: list[Token], *, measured: bool = False) -> Suffix | None:
    """The meaning of the tokens behind a value: units, "per", powers, multipliers and nouns; None if it is not that."""
    unit, multiplier, nouns = NO_UNIT, Fraction(1), []
    tokens = _joined([token for token in tokens if token.text not in ("{", "}", "(", ")") or token.kind != "op"])
    sign, power_word, at = 1, 1, 0
    last: Unit | None = None
    while at < len(tokens):
        token = tokens[at]
        at += 1
        if token.kind in ("word", "text", "cmd") or token.text in ("°", "$", "€", "£"):
            for word in _words(token):
                if word in ("per", "a", "an", "each"):
                    sign = -1 if word != "a" or sign == -1 else sign
                elif word in _NUMBER_WORDS:
                    return None
                elif word in _POWER_WORDS:
                    if word.endswith("d") and last is not None:
                        unit = unit.times(last, Fraction(sign * (_POWER_WORDS[word] - 1)))
                    else:
                        power_word = _POWER_WORDS[word]
                elif word in MULTIPLIERS:
                    multiplier *= MULTIPLIERS[word]
                else:
                    found = lookup(word, measured=measured)
                    if found is None:
                        nouns.append(word)
                        last, power_word = NO_UNIT, 1
                        continue
                    unit = unit.times(found, Fraction(sign * power_word))
                    last, power_word = found, 1
        elif (
            token.text == "^"
            and at < len(tokens)
            and tokens[at].text in ("circ", "degree", "°", "celsius", "fahrenheit")
        ):
            continue
        elif token.text == "^" and last is not None:
            power, at = _power(tokens, at)
            if power is None:
                return None
            unit = unit.times(last, Fraction(sign * (power - 1)))
        elif token.text == "/":
            sign = -1
        elif token.text in ("*", "-", "."):
            continue
        else:
            return None
    return Suffix(unit, multiplier, tuple(nouns))


def _words(token: Token) -> list[str]:
    if token.kind == "cmd":
        return {"cdot": [], "times": [], "circ": ["degree"]}.get(token.text, [token.text])
    if token.text in CURRENCY_SIGNS:
        return [CURRENCY_SIGNS[token.text]]
    if token.text == "°":
        return ["degree"]
    return _WORD.findall(token.text)


def _power(tokens: list[Token], at: int) -> tuple[int | None, int]:
    """A whole exponent at a position: (value, position behind it)."""
    sign = 1
    if at < len(tokens) and tokens[at].text == "-":
        sign, at = -1, at + 1
    digits = tokens[at].text if at < len(tokens) else ""
    return (sign * int(digits), at + 1) if digits.isdigit() and len(digits) < 3 else (None, at)


def _joined(tokens: list[Token]) -> list[Token]:
    """° C and ° F as one word each, and the prefixes of \\mu m and k\\Omega with their units."""
    out: list[Token] = []
    for token in tokens:
        before = out[-1].text if out else ""
        if before in ("°", "circ", "degree") and token.text in ("C", "F"):
            out[-1] = Token("word", "celsius" if token.text == "C" else "fahrenheit", False, 0)
        elif before in ("mu", "μ") and token.kind in ("word", "text", "cmd"):
            out[-1] = Token("word", "μ" + token.text, False, 0)
        elif token.text == "Omega" and before in PREFIXES and not token.spaced:
            out[-1] = Token("word", before + "Omega", False, 0)
        else:
            out.append(token)
    return out
