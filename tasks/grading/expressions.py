r"""Arithmetic and algebra, in LaTeX or as typed: from text to a value. Standard library only.

A recursive descent over a fixed grammar; nothing is handed to `eval`. Rational values stay exact
(`Fraction`), all others are floats or complex. A letter stands for a fixed arbitrary number, so
that two formulas in letters are compared by their values at a few points: polynomials that agree
there agree everywhere, but for a chance of about one in ten thousand a point.

The work is bounded by the shape of the text, not by a clock: at most `LENGTH` characters and
`DEPTH` levels, and values within the bounds of `exact`.
"""

import cmath
import math
import re
import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tasks.grading import exact
from tasks.grading.exact import Unreadable, Value
from tasks.grading.spelling import normal

LENGTH = 400
DEPTH = 40
POINTS = 3


@dataclass(frozen=True)
class Formula:
    """What a text is worth."""

    value: Value
    letters: frozenset[str]
    """The letters in it that stand for unknowns; their values are arbitrary."""


@lru_cache(8192)
def read(text: str, point: int = 0) -> Formula | None:
    r"""Return what a formula is worth, at one of the points; None where it is not one.

    A number before a fraction is a mixed number: `3\frac{1}{2}` and `3 1/2` are 7/2.

    >>> read(r"-\frac{3}{6}").value, read("1,234.50").value, read("3 1/2").value
    (Fraction(-1, 2), Fraction(2469, 2), Fraction(7, 2))
    >>> read(r"2\sqrt{3}").value == 12**0.5, sorted(read("2ab + 1").letters)
    (True, ['a', 'b'])
    >>> read("9**9**9**9") is None, read("((((") is None, read("twelve") is None
    (True, True, True)
    >>> read(r"0.1\overline{6}").value, read("1 200").value
    (Fraction(1, 6), Fraction(1200, 1))
    """
    if len(text) > LENGTH:
        return None
    try:
        reader = _Reader(normal(_MATH.sub(" ", text)), point)
        value = reader.all()
    except (Unreadable, ArithmeticError, ValueError):
        return None
    return Formula(value, frozenset(reader.letters))


_MATH = re.compile(r"\\[()\[\]]|[$]")


def same(a: str, b: str) -> bool | None:
    r"""Whether two formulas are worth the same; None where one is not a formula.

    >>> same(r"\frac{1}{2}", "0.5"), same("(x+1)^2", "x^2+2x+1"), same("x+1", "x+2")
    (True, True, False)
    >>> same("1/3", "0.33"), same("1/3", "a third") is None
    (False, True)
    """
    first, second = read(a), read(b)
    if first is None or second is None:
        return None
    if not exact.close(first.value, second.value):
        return False
    if not first.letters and not second.letters:
        return True
    for point in range(1, POINTS):
        first, second = read(a, point), read(b, point)
        if first is None or second is None or not exact.close(first.value, second.value):
            return False
    return True


_TOKEN = re.compile(
    r"""\s+
      | (?P<number>\d*\.\d*\s?\\(?:overline|bar|dot)\s?\{?\s?\d+\s?\}?
          | \d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)? | \d{1,3}(?:[ ]\d{3})+(?![ ]?[\d/])
          | (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<command>\\[a-zA-Z]+) | (?P<word>[a-zA-Z]+) | (?P<sign>[-+*/^_!%°(){}\[\]|:])""",
    re.VERBOSE,
)
_TURNS = {"sin", "cos", "tan", "cot", "sec", "csc"}
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_CONSTANTS: dict[str, Value] = {"pi": math.pi, "e": math.e, "i": 1j}
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
    "Delta", "Omega", "ell", "infty",
}  # fmt: skip
_CLOSING = {"(": ")", "{": "}", "[": "]"}
_STARTS = re.compile(r"[(\[{\\a-zA-Z]")


class _Reader:
    def __init__(self, text: str, point: int) -> None:
        self.tokens: list[str] = []
        self.point = point
        self.letters: set[str] = set()
        self.at = 0
        self.depth = 0
        self.degrees = False
        self.bars = 0
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if not found:
                raise Unreadable
            if found["word"]:
                self.tokens += _letters(found["word"])
            elif found.lastgroup:
                self.tokens.append(found[0])
            place = found.end()

    def all(self) -> Value:
        value = self.sum()
        if self.at < len(self.tokens):
            raise Unreadable
        return exact.checked(value)

    def peek(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def take(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.at += 1
        return True

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.peek()
            self.at += 1
            other = self.product()
            value = exact.plus(value, other if sign == "+" else exact.times(Fraction(-1), other))
        self.depth -= 1
        return value

    def product(self) -> Value:
        value = self.signed()
        while True:
            if self.take("*"):
                value = exact.times(value, self.signed())
            elif self.take("/") or self.take(":"):
                value = exact.over(value, self.signed())
            elif self.goes_on():
                value = exact.times(value, self.power())
            else:
                return value

    def goes_on(self) -> bool:
        """Whether a factor follows without a sign between."""
        token = self.peek()
        if token == "|":
            return not self.bars
        if token and token[0].isdecimal():
            return self.tokens[self.at - 1] in "})"  # 2^{12} 13^2, but not 2 3
        return bool(_STARTS.match(token))

    def signed(self) -> Value:
        negative = False
        while self.peek() in ("+", "-"):
            negative ^= self.peek() == "-"
            self.at += 1
        value = self.power()
        return exact.times(Fraction(-1), value) if negative else value

    def power(self) -> Value:
        mixed = self.mixed()
        value = self.atom() if mixed is None else mixed
        while True:
            if self.take("^"):
                value = exact.raised(value, self.exponent())
            elif self.take("!"):
                value = exact.factorial(value)
            elif self.take("%"):
                value = exact.over(value, Fraction(100))
            elif self.take("°"):
                self.degrees = True
            else:
                return value

    def mixed(self) -> Value | None:
        r"""Read `3 1/2` or `3\frac{1}{2}`."""
        whole = self.peek()
        if not whole.isdecimal():
            return None
        if self.peek(1) == r"\frac":
            shape = r"\\frac(?:\{\d+\}\{\d+\}|\d{2}|\d\{\d+\}|\{\d+\}\d)"
            if not re.match(shape, "".join(self.tokens[self.at + 1 : self.at + 8])):
                return None
            self.at += 1
            return Fraction(whole) + exact.real(self.atom())
        top, bottom = self.peek(1), self.peek(3)
        if top.isdecimal() and bottom.isdecimal() and self.peek(2) == "/" and int(bottom):
            self.at += 4
            return Fraction(whole) + Fraction(int(top), int(bottom))
        return None

    def exponent(self) -> Value:
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable
        negative = self.take("-")
        value = self.atom()
        if self.take("^"):
            value = exact.raised(value, self.exponent())
        self.depth -= 1
        return exact.times(Fraction(-1), value) if negative else value

    def atom(self) -> Value:
        token = self.peek()
        self.at += 1
        if not token:
            raise Unreadable
        if token[0].isdecimal() or token[0] == ".":
            if self.peek() == "_":  # a number in another base
                raise Unreadable
            return _number(token)
        if token in _CLOSING:
            bars, self.bars = self.bars, 0
            value = self.sum()
            self.bars = bars
            if not self.take(_CLOSING[token]):
                raise Unreadable
            return value
        if token == "|":
            self.bars += 1
            value = self.sum()
            self.bars -= 1
            if not self.take("|"):
                raise Unreadable
            return Fraction(abs(value)) if isinstance(value, Fraction) else abs(value)
        name = token.removeprefix("\\")
        if name == "frac":
            return exact.over(self.argument(), self.argument())
        if name == "binom":
            return exact.choose(self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in exact.FUNCTIONS:
            return self.function(name)
        if name in _CONSTANTS and self.peek() != "_":
            return _CONSTANTS[name]
        if name in _GREEK or (len(token) == 1 and token.isalpha()):
            return self.letter(name)
        raise Unreadable

    def argument(self) -> Value:
        r"""Read what a command takes: braces, or a single sign as in `\frac12` and `\sqrt2`."""
        token = self.peek()
        if token == "{" or token.startswith("\\") or token == "(":
            return self.atom()
        if token and token[0].isdecimal():
            if len(token) > 1:  # \frac12: only the first digit is meant
                self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
            return self.atom()
        if len(token) == 1 and token.isalpha():
            return self.atom()
        raise Unreadable

    def root(self) -> Value:
        degree: Value = Fraction(2)
        if self.take("["):
            degree = self.sum()
            if not self.take("]"):
                raise Unreadable
        token = self.peek()
        number = token and token[0].isdecimal()
        return exact.raised(
            self.atom() if number else self.argument(), exact.over(Fraction(1), degree)
        )

    def function(self, name: str) -> Value:
        power: Value | None = None
        base: Value | None = None
        if name == "log" and self.take("_"):
            base = self.argument()
        if self.take("^"):
            power = self.exponent()
            if power == -1 and name in _INVERSE:
                name, power = _INVERSE[name], None
        outer, self.degrees = self.degrees, False
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable
        bracketed = self.peek() in _CLOSING
        given = self.power()
        while not bracketed and self.goes_on() and self.peek().lstrip("\\") not in exact.FUNCTIONS:
            given = exact.times(given, self.power())  # \sin 2x, but \sin(2) x
        self.depth -= 1
        if self.degrees and name in _TURNS:
            given = given * math.pi / 180
        self.degrees = outer
        value: Value = exact.checked(exact.FUNCTIONS[name](complex(given)))
        if base is not None:
            value = exact.over(value, exact.checked(cmath.log10(complex(base))))
        return value if power is None else exact.raised(value, power)

    def letter(self, name: str) -> Value:
        if self.take("_"):
            self.take("{")
            name += "_" + self.peek()
            self.at += 1
            self.take("}")
        self.letters.add(name)
        # Between 1/2 and 5/2, rational: powers stay exact, roots and logarithms stay real.
        return Fraction(1, 2) + Fraction(zlib.crc32(f"{name}{self.point}".encode()) % 10007, 5003)


def _letters(word: str) -> list[str]:
    if word in exact.FUNCTIONS or word in ("sqrt", "pi"):
        return [word]
    if len(word) > 3:  # a word, not a product of letters
        raise Unreadable
    return list(word)


_REPEATING = re.compile(r"(\d*)\.(\d*)\D+(\d+)\D*")


def _number(token: str) -> Fraction:
    if len(token) > 200 or re.search(r"[eE][-+]?\d{4,}$", token):
        raise Unreadable
    if "\\" in token and (parts := _REPEATING.fullmatch(token)):  # 0.1\overline{6}
        whole, fixed, period = parts.groups()
        all_of, first = int(whole + fixed + period), int((whole + fixed) or 0)
        return Fraction(all_of - first, 10 ** len(fixed) * (10 ** len(period) - 1))
    return Fraction(re.sub("[, ]", "", token).rstrip("."))
