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


@dataclass(frozen=True)
class Unit:
    """What a unit measures, and how much of it."""

    dimension: tuple[tuple[str, int], ...]
    """Kind and power, each kind once, in order."""
    size: Fraction


def _unit(size: str | Fraction, **powers: int) -> Unit:
    kinds = sorted((kind, power) for kind, power in powers.items() if power)
    return Unit(tuple(kinds), Fraction(size))


_UNITS = {
    name: _unit(size, length=3) if kind == "volume" else _unit(size, **{kind: 1})
    for kind, sizes in _TABLE.items()
    for names, size in sizes.items()
    for name in names.split()
}
_PREFIXES = {"": "1", "k": "1000", "M": "1000000", "G": "1000000000", "m": "1/1000",
             "µ": "1/1000000", "μ": "1/1000000", "n": "1/1000000000",
             "p": "1/1000000000000"}  # fmt: skip
_DERIVED = {
    "A": ("1", 0, 0, 0, 1), "C": ("1", 0, 0, 1, 1), "F": ("1/1000", -1, -2, 4, 2),
    "H": ("1000", 1, 2, -2, -2), "Hz": ("1", 0, 0, -1, 0), "J": ("1000", 1, 2, -2, 0),
    "N": ("1000", 1, 1, -2, 0), "Pa": ("1000", 1, -1, -2, 0), "T": ("1000", 1, 0, -2, -1),
    "V": ("1000", 1, 2, -3, -1), "W": ("1000", 1, 2, -3, 0), "Wb": ("1000", 1, 2, -2, -1),
    "Ω": ("1000", 1, 2, -3, -2), "Wh": ("3600000", 1, 2, -2, 0), "cal": ("4184", 1, 2, -2, 0),
    "eV": ("1.602176634e-16", 1, 2, -2, 0), "atm": ("101325000", 1, -1, -2, 0),
}  # fmt: skip
"""Size, and powers of mass (in g), length, time and current: N/C is V/m, and N s is kg m/s."""
_SYMBOL = {
    name: _unit(size, mass=mass, length=length, time=time, current=current)
    for name, (size, mass, length, time, current) in _DERIVED.items()
} | {name: _unit("1", **{name: 1}) for name in ("K", "mol")}
_SYMBOLS = {
    prefix + symbol: Unit(unit.dimension, Fraction(size) * unit.size)
    for symbol, unit in _SYMBOL.items()
    for prefix, size in _PREFIXES.items()
}
"""Those of which upper and lower case differ: MW and mW. C and F are degrees as well."""
_WORDS = {
    "newton": "N", "joule": "J", "watt": "W", "volt": "V", "ohm": "Ω", "ampere": "A", "amp": "A",
    "coulomb": "C", "tesla": "T", "hertz": "Hz", "pascal": "Pa", "kelvin": "K", "kilojoule": "kJ",
    "kilowatt": "kW", "megawatt": "MW", "kilopascal": "kPa", "kilonewton": "kN",
}  # fmt: skip
_UNITS |= {word: _SYMBOLS[symbol] for word, symbol in _WORDS.items()}
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
    r"(?:(square|sq|cubic|cu)\.?\s+)?([a-zΩ$¢µμ€£¥￥₹]+)\.?(?:\s*\^\s*\{?\s*(-?\d)\s*\}?|\s+(squared|cubed)\b)?"
    r"(?:\s*[*·]\s*|\s+|$)",
    re.IGNORECASE,
)


@lru_cache(1024)
def read(name: str) -> Unit | None:
    """Return a unit; None for one that is not known, as are things that are counted.

    >>> read("cm^2").size, read("square meters").size, read("apples") is None
    (Fraction(1, 10000), Fraction(1, 1), True)
    >>> read("km/h").dimension, read("m/s^2").dimension, read("mL").dimension
    ((('length', 1), ('time', -1)), (('length', 1), ('time', -2)), (('length', 3),))
    >>> read("N/C") == read("V/m"), read("N s") == read("kg*m/s"), read("J") == read("V")
    (True, True, False)
    """
    name = re.sub(r"°\s*(?=[CF]$)", "", name.strip())
    name = _DEGREES.get(name, name)
    top, *bottoms = re.split(r"\s*/\s*|\s+per\s+", name.rstrip("."))
    powers: dict[str, int] = {}
    size = Fraction(1)
    for sign, part in [(1, top), *((-1, bottom) for bottom in bottoms)]:
        factors = _factors(part)
        if not factors or (sign < 0 and len(factors) > 1 and not part.startswith("(")):
            return None  # whether K is above or below in J/kg K is not told
        for unit, power in factors:
            for kind, times in unit.dimension:
                powers[kind] = powers.get(kind, 0) + sign * power * times
            size *= unit.size ** (sign * power)
    return _unit(size, **powers)


def _factors(part: str) -> list[tuple[Unit, int]]:
    """Return the units of a product, with their powers; none where one is not known."""
    found, at, part = [], 0, part.strip("() ")
    while at < len(part):
        one = _FACTOR.match(part, at)
        unit = _named(one[2]) if one else None
        if not one or not unit:
            return []
        power = int(one[3] or 0) or _POWERS.get((one[1] or one[4] or "").lower(), 1)
        found.append((unit, power))
        at = one.end()
    return found


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


def _named(name: str) -> Unit | None:
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    name = name.lower()
    return _UNITS.get(name) or _UNITS.get(name.removesuffix("s"))


def names() -> list[str]:
    """Return the names of all known units, singular and plural, but for signs."""
    known = [name for name in _UNITS if name.isalpha()]
    return [*_DEGREES, *known, *_SYMBOLS] + [f"{name}s" for name in known if len(name) > 2]
