"""Units, with powers, as they stand behind a number: what they measure, and their size."""

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tasks.grading.exact import Value

_TABLE: dict[str, dict[str, str]] = {
    "mass": {
        "mg milligram": "1/1000", "g gram": "1", "kg kilogram": "1000", "lb lbs pound": "453.59237",
        "oz ounce": "28.349523125", "ton tonne": "1000000",
    },
    "length": {
        "nm nanometer": "1/1000000000", "mm millimeter millimetre": "1/1000",
        "cm centimeter centimetre": "1/100", "dm decimeter": "1/10", "m meter metre": "1",
        "km kilometer kilometre": "1000", "in inch inche": "0.0254", "ft feet foot": "0.3048",
        "yd yard": "0.9144", "mi mile": "1609.344",
    },
    "time": {
        "ms millisecond": "1/1000", "s sec second": "1", "min minute": "60", "h hr hour": "3600",
        "day": "86400", "week": "604800",
    },
    "angle": {"degree deg": "1", "radian rad": "57.29577951"},
    "calendar": {"month": "1", "year yr": "12", "decade": "120"},
    "money": {"cent ¢": "1/100", "dollar buck usd $": "1"},
    "euros": {"euro eur €": "1"}, "sterling": {"gbp £": "1"}, "yen": {"yen yuan ¥ ￥": "1"},
    "rupees": {"rupee ₹": "1"},
    "volume": {"ml milliliter millilitre": "1/1000000", "l liter litre": "1/1000"},
}  # fmt: skip
_UNITS = {
    name: (kind, Fraction(size))
    for kind, sizes in _TABLE.items()
    for names, size in sizes.items()
    for name in names.split()
}
_PREFIXES = {"": "1", "k": "1000", "M": "1000000", "G": "1000000000", "m": "1/1000",
             "µ": "1/1000000", "μ": "1/1000000", "n": "1/1000000000",
             "p": "1/1000000000000"}  # fmt: skip
_SYMBOLS = {
    prefix + symbol: (symbol, Fraction(size))
    for symbol in "A C F J K N T W V Pa Hz Ω mol cal eV Wh".split()
    for prefix, size in _PREFIXES.items()
}
"""Those of which upper and lower case differ: MW and mW. C and F are degrees as well."""
_ALSO = {"T": ("ton",)} | dict.fromkeys(("degree", "degrees", "deg"), ("C", "F"))
"""What else a symbol stands for, where the other unit is one of these."""
_DEGREES = {
    f"{word} {scale}": scale[0].upper()
    for word in ("degrees", "degree", "deg")
    for scale in ("Celsius", "celsius", "Fahrenheit", "fahrenheit", "C", "F")
}
SHORT = frozenset(
    "g s h m L l N J W V A K C F Ω ° ¢ in lb lbs oz mph kph kW kWh TWh Hz kHz Pa kPa eV".split()
)
"""Symbols of one to three letters that may stand right behind a number, known above or not."""
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_FACTOR = re.compile(
    r"(?:(square|sq|cubic|cu)\.?\s+)?([a-zΩ$¢µμ€£¥￥₹]+)\.?(?:\s*\^\s*\{?\s*(-?\d)\s*\}?|\s+(squared|cubed))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Unit:
    """What a unit measures, and how much of it."""

    dimension: tuple[tuple[str, int], ...]
    """Kind and power, each kind once, in order."""
    size: Fraction


@lru_cache(1024)
def read(name: str) -> Unit | None:
    """Return a unit; None for one that is not known, as are things that are counted.

    >>> read("cm^2").size, read("square meters").size, read("apples") is None
    (Fraction(1, 10000), Fraction(1, 1), True)
    >>> read("km/h").dimension, read("m/s^2").dimension, read("mL").dimension
    ((('length', 1), ('time', -1)), (('length', 1), ('time', -2)), (('length', 3),))
    """
    powers: dict[str, int] = {}
    size = Fraction(1)
    name = re.sub(r"°\s*(?=[CF]$)", "", name.strip())
    name = _DEGREES.get(name, name)
    top, *bottoms = re.split(r"\s*/\s*|\s+per\s+", name.rstrip("."))
    for sign, factors in ((1, [top]), (-1, bottoms)):
        for factor in factors:
            found = _FACTOR.fullmatch(factor)
            known = found and _named(found[2])
            if not found or not known:
                return None
            kind, own = known
            power = sign * (
                int(found[3] or 0) or _POWERS.get((found[1] or found[4] or "").lower(), 1)
            )
            kind, times = ("length", 3) if kind == "volume" else (kind, 1)
            powers[kind] = powers.get(kind, 0) + power * times
            size *= own**power
    return Unit(tuple(sorted(powers.items())), size)


def convert(value: Value, unit: str, to: str) -> Value | None:
    """Return a value in another unit, the same where one of the two is not known.

    None where they measure different things.

    >>> convert(Fraction(5), "mA", "A"), convert(Fraction(5), "°C", "°F")
    (Fraction(1, 200), None)
    """
    wanted, got = _meanings(to), _meanings(unit)
    if not wanted or not got:
        return value
    for one, other in itertools.product(wanted, got):
        if one.dimension == other.dimension:
            return value * other.size / one.size
    return None


def _meanings(name: str) -> list[Unit]:
    name = name.strip()
    return [unit for one in (name, *_ALSO.get(name, ())) if (unit := read(one))]


def _named(name: str) -> tuple[str, Fraction] | None:
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    name = name.lower()
    return _UNITS.get(name) or _UNITS.get(name.removesuffix("s"))


def names() -> list[str]:
    """Return the names of all known units, singular and plural, but for signs."""
    known = [name for name in _UNITS if name.isalpha()]
    return [*_DEGREES, *known, *_SYMBOLS] + [f"{name}s" for name in known if len(name) > 2]
