"""Arithmetic within bounds: rational values stay `Fraction`, others are floats or complex.

The work is bounded by size, not by a clock, so that a value does not depend on the machine.
"""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction

BITS = 8192
"""Of an exact value's numerator and denominator together."""

Value = Fraction | float | complex


FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "cot": lambda x: 1 / cmath.tan(x),
    "sec": lambda x: 1 / cmath.cos(x),
    "csc": lambda x: 1 / cmath.sin(x),
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "asin": cmath.asin,
    "acos": cmath.acos,
    "atan": cmath.atan,
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "ln": cmath.log,
    "log": cmath.log10,
    "lg": cmath.log10,
    "exp": cmath.exp,
}


class Unreadable(Exception):
    """A text that is no formula, or one whose value is beyond the bounds."""


def close(a: Value, b: Value) -> bool:
    """Whether two values are the same: exactly if both are rational, else but for rounding."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    try:
        first, second = complex(a), complex(b)
    except OverflowError:  # an exact number beyond all floats, beside a float
        return False
    size = max(abs(first), abs(second))
    return abs(first - second) <= 1e-9 * size or size < 1e-13


def checked(value: Value) -> Value:
    """Return a value in its simplest type; stop where it is too large or not finite."""
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > BITS:
            raise Unreadable
        return value
    if not cmath.isfinite(value):
        raise Unreadable
    if isinstance(value, complex) and value.imag == 0:
        return value.real
    return value


def plus(a: Value, b: Value) -> Value:
    """Return a + b."""
    return checked(a + b)


def times(a: Value, b: Value) -> Value:
    """Return a · b."""
    return checked(a * b)


def over(a: Value, b: Value) -> Value:
    """Return a / b."""
    return checked(a / b)


def real(value: Value) -> Fraction:
    """Return a value that must be rational."""
    if not isinstance(value, Fraction):
        raise Unreadable
    return value


def raised(base: Value, power: Value) -> Value:
    """Return a power; of a negative base and a third, the real root."""
    if isinstance(base, Fraction) and isinstance(power, Fraction):
        if power.denominator == 1:
            size = base.numerator.bit_length() + base.denominator.bit_length()
            if abs(power.numerator) * size <= BITS:
                return checked(base**power.numerator)
        elif base >= 0 and power.denominator <= 10:
            exact = _exact_root(base, power.denominator)
            if exact is not None:
                return raised(exact, Fraction(power.numerator))
    if isinstance(base, Fraction) and base < 0 and isinstance(power, Fraction):
        if power.denominator == 3:  # the real cube root, as in \sqrt[3]{-8}
            return times(Fraction(-1) ** power.numerator, raised(-base, power))
    if isinstance(base, complex) or isinstance(power, complex) or base < 0:
        return checked(complex(base) ** complex(power))
    return checked(float(base) ** float(power))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    parts = []
    for part in (value.numerator, value.denominator):
        if part.bit_length() > 1000:
            return None
        near = round(part ** (1 / degree))
        if near**degree != part:
            return None
        parts.append(near)
    return Fraction(parts[0], parts[1])


def factorial(value: Value) -> Fraction | float:
    """Return n!, up to 500; between integers, where letters have their values, Γ(n + 1)."""
    if not isinstance(value, Fraction) or not -100 < value <= 500:
        raise Unreadable
    if value.denominator != 1 and value < 100:
        return math.gamma(float(value) + 1)
    if value.denominator != 1 or value < 0:
        raise Unreadable
    return Fraction(math.factorial(value.numerator))


def choose(n: Value, k: Value) -> Fraction:
    """Return a binomial coefficient, up to 1000."""
    if not isinstance(n, Fraction) or not isinstance(k, Fraction):
        raise Unreadable
    if n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n <= 1000:
        raise Unreadable
    return Fraction(math.comb(n.numerator, k.numerator))
