r"""Arithmetic and algebra, in LaTeX or as typed: from text to a value. Standard library only.

A recursive descent over a fixed grammar; nothing is handed to `eval`. Rational values stay exact
(`Fraction`), all others are floats or complex. A letter stands for a fixed arbitrary number, so
that two formulas in letters are compared by their values at a few points: polynomials that agree
there agree everywhere, but for a chance of about one in ten thousand a point.

The work is bounded by the shape of the text, not by a clock, so that a verdict does not depend on
the machine: at most `LENGTH` characters, `DEPTH` levels, integers of `BITS` bits.
"""

import cmath
import math
import re
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

LENGTH = 400
DEPTH = 40
BITS = 8192
POINTS = 3

Value = Fraction | float | complex


@dataclass(frozen=True)
class Formula:
    """What a text is worth."""

    value: Value
    letters: frozenset[str]
    """The letters in it that stand for unknowns; their values are arbitrary."""


class _Unreadable(Exception):
    pass


_VULGAR = re.compile("[¼-¾⅐-⅞]")
_RAISED = re.compile("[⁰¹²³⁴-⁹⁻⁺]+")
_RAISED_TO = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SIGNS = {
    **dict.fromkeys("−–‒﹣－", "-"),
    **dict.fromkeys("×·⋅∙✕∗", "*"),
    **dict.fromkeys("÷∕⁄／", "/"),
    **dict.fromkeys("º˚", "°"),
    "π": r"\pi ",
    "√": r"\sqrt ",
    "∞": r"\infty ",
    "∪": r"\cup ",
    "∈": r"\in ",
    "±": r"\pm ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "≅": r"\approx ",
    "、": ",",
    "\u200b": "",
}
_LATEX = [
    (r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?)(?![a-zA-Z])", ""),
    (r"\\(?:displaystyle|textstyle|limits|boldsymbol|ensuremath)(?![a-zA-Z])", " "),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\(?:mathrm|mathbf|mathit|mathsf|operatorname|mathbb|bm|rm)\s*\{([^{}]*)\}", r" \1 "),
    (r"\^\s*\{?\s*(?:\\circ|\\degree|°)\s*\}?|\\degrees?(?![a-zA-Z])|\\circ(?![a-zA-Z])", "°"),
    (r"\{,\}", ","),
    (r"\\%", "%"),
    (r"(?<=\d)\\[,!:; ](?=\d{3}(?!\d))", ","),
    (r"(?<!\\)\\[,;:! ]|~|\\q?quad(?![a-zA-Z])", " "),
    (r"\\(?:leq?slant|leq)(?![a-zA-Z])", r"\\le "),
    (r"\\(?:geq?slant|geq)(?![a-zA-Z])", r"\\ge "),
    (r"\\(?:lt)(?![a-zA-Z])", "<"),
    (r"\\(?:gt)(?![a-zA-Z])", ">"),
    (r"\\(?:times|cdot|ast)(?![a-zA-Z])", "*"),
    (r"\\div(?![a-zA-Z])", "/"),
    (r"\*\*(?=\s*[-(\d])", "^"),
]
_LATEX_RULES = [(re.compile(pattern), new) for pattern, new in _LATEX]


def normal(text: str) -> str:
    r"""Return a text in one spelling: unicode signs as ASCII or LaTeX, LaTeX without its spacing.

    >>> normal("−3½ × 10²"), normal(r"\left(\dfrac{1}{2},\ 90^{\circ}\right)")
    ('-3 1/2 * 10^{2}', '(\\frac{1}{2}, 90°)')
    """
    text = _VULGAR.sub(lambda found: " " + unicodedata.normalize("NFKC", found[0]), text)
    text = _RAISED.sub(lambda found: "^{" + found[0].translate(_RAISED_TO) + "}", text)
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    text = unicodedata.normalize("NFKC", text)
    for pattern, new in _LATEX_RULES:
        text = pattern.sub(new, text)
    return text.strip()


def read(text: str, point: int = 0) -> Formula | None:
    r"""Return what a formula is worth, at one of the points; None where it is not one.

    A number before a fraction is a mixed number: `3\frac{1}{2}` and `3 1/2` are 7/2.

    >>> read(r"-\frac{3}{6}").value, read("1,234.50").value, read("3 1/2").value
    (Fraction(-1, 2), Fraction(2469, 2), Fraction(7, 2))
    >>> read(r"2\sqrt{3}").value == 12**0.5, sorted(read("2ab + 1").letters)
    (True, ['a', 'b'])
    >>> read("9**9**9**9") is None, read("((((") is None, read("twelve") is None
    (True, True, True)
    """
    text = re.sub(r"\\[()\[\]]|[$]", " ", text)
    if len(text) > LENGTH:
        return None
    try:
        reader = _Reader(normal(text), point)
        value = reader.all()
    except (_Unreadable, ArithmeticError, ValueError):
        return None
    return Formula(value, frozenset(reader.letters))


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
    if not close(first.value, second.value):
        return False
    if not first.letters and not second.letters:
        return True
    for point in range(1, POINTS):
        first, second = read(a, point), read(b, point)
        if first is None or second is None or not close(first.value, second.value):
            return False
    return True


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


_TOKEN = re.compile(
    r"""(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
      | (?P<command>\\[a-zA-Z]+) | (?P<word>[a-zA-Z]+) | (?P<sign>[-+*/^_!%°(){}\[\]|:])""",
    re.VERBOSE,
)
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
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
_TURNS = {"sin", "cos", "tan", "cot", "sec", "csc"}
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_CONSTANTS: dict[str, Value] = {"pi": math.pi, "e": math.e, "i": 1j}
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega",
    "Delta", "Omega", "ell",
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
            if text[place].isspace():
                place += 1
                continue
            found = _TOKEN.match(text, place)
            if not found:
                raise _Unreadable
            self.tokens += _letters(found["word"]) if found["word"] else [found[0]]
            place = found.end()

    def all(self) -> Value:
        value = self.sum()
        if self.at < len(self.tokens):
            raise _Unreadable
        return _checked(value)

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
            raise _Unreadable
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.peek()
            self.at += 1
            other = self.product()
            value = _plus(value, other if sign == "+" else _times(Fraction(-1), other))
        self.depth -= 1
        return value

    def product(self) -> Value:
        value = self.signed()
        while True:
            if self.take("*"):
                value = _times(value, self.signed())
            elif self.take("/") or self.take(":"):
                value = _over(value, self.signed())
            elif self.goes_on():
                value = _times(value, self.power())
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
        return _times(Fraction(-1), value) if negative else value

    def power(self) -> Value:
        mixed = self.mixed()
        value = self.atom() if mixed is None else mixed
        while True:
            if self.take("^"):
                value = _raised(value, self.exponent())
            elif self.take("!"):
                value = _factorial(value)
            elif self.take("%"):
                value = _over(value, Fraction(100))
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
            return Fraction(whole) + _real(self.atom())
        top, bottom = self.peek(1), self.peek(3)
        if top.isdecimal() and bottom.isdecimal() and self.peek(2) == "/" and int(bottom):
            self.at += 4
            return Fraction(whole) + Fraction(int(top), int(bottom))
        return None

    def exponent(self) -> Value:
        self.depth += 1
        if self.depth > DEPTH:
            raise _Unreadable
        negative = self.take("-")
        value = self.atom()
        if self.take("^"):
            value = _raised(value, self.exponent())
        self.depth -= 1
        return _times(Fraction(-1), value) if negative else value

    def atom(self) -> Value:
        token = self.peek()
        self.at += 1
        if not token:
            raise _Unreadable
        if token[0].isdecimal() or token[0] == ".":
            if self.peek() == "_":  # a number in another base
                raise _Unreadable
            return _number(token)
        if token in _CLOSING:
            bars, self.bars = self.bars, 0
            value = self.sum()
            self.bars = bars
            if not self.take(_CLOSING[token]):
                raise _Unreadable
            return value
        if token == "|":
            self.bars += 1
            value = self.sum()
            self.bars -= 1
            if not self.take("|"):
                raise _Unreadable
            return Fraction(abs(value)) if isinstance(value, Fraction) else abs(value)
        name = token.removeprefix("\\")
        if name == "frac":
            return _over(self.argument(), self.argument())
        if name == "binom":
            return _choose(self.argument(), self.argument())
        if name == "sqrt":
            return self.root()
        if name in _FUNCTIONS:
            return self.function(name)
        if name in _CONSTANTS and self.peek() != "_":
            return _CONSTANTS[name]
        if name in _GREEK or (len(token) == 1 and token.isalpha()):
            return self.letter(name)
        raise _Unreadable

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
        raise _Unreadable

    def root(self) -> Value:
        degree: Value = Fraction(2)
        if self.take("["):
            degree = self.sum()
            if not self.take("]"):
                raise _Unreadable
        token = self.peek()
        number = token and token[0].isdecimal()
        return _raised(self.atom() if number else self.argument(), _over(Fraction(1), degree))

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
            raise _Unreadable
        bracketed = self.peek() in _CLOSING
        given = self.power()
        while not bracketed and self.goes_on() and self.peek().lstrip("\\") not in _FUNCTIONS:
            given = _times(given, self.power())  # \sin 2x, but \sin(2) x
        self.depth -= 1
        if self.degrees and name in _TURNS:
            given = given * math.pi / 180
        self.degrees = outer
        value: Value = _checked(_FUNCTIONS[name](complex(given)))
        if base is not None:
            value = _over(value, _checked(cmath.log10(complex(base))))
        return value if power is None else _raised(value, power)

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
    if word in _FUNCTIONS or word in ("sqrt", "pi"):
        return [word]
    if len(word) > 3:  # a word, not a product of letters
        raise _Unreadable
    return list(word)


def _number(token: str) -> Fraction:
    if len(token) > 200 or re.search(r"[eE][-+]?\d{4,}$", token):
        raise _Unreadable
    return Fraction(token.replace(",", "").rstrip("."))


def _checked(value: Value) -> Value:
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > BITS:
            raise _Unreadable
        return value
    if not cmath.isfinite(value):
        raise _Unreadable
    if isinstance(value, complex) and value.imag == 0:
        return value.real
    return value


def _plus(a: Value, b: Value) -> Value:
    return _checked(a + b)


def _times(a: Value, b: Value) -> Value:
    return _checked(a * b)


def _over(a: Value, b: Value) -> Value:
    return _checked(a / b)


def _real(value: Value) -> Fraction:
    if not isinstance(value, Fraction):
        raise _Unreadable
    return value


def _raised(base: Value, power: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(power, Fraction):
        if power.denominator == 1:
            size = base.numerator.bit_length() + base.denominator.bit_length()
            if abs(power.numerator) * size <= BITS:
                return _checked(base**power.numerator)
        elif base >= 0 and power.denominator <= 10:
            exact = _exact_root(base, power.denominator)
            if exact is not None:
                return _raised(exact, Fraction(power.numerator))
    if isinstance(base, Fraction) and base < 0 and isinstance(power, Fraction):
        if power.denominator == 3:  # the real cube root, as in \sqrt[3]{-8}
            return _times(Fraction(-1) ** power.numerator, _raised(-base, power))
    if isinstance(base, complex) or isinstance(power, complex) or base < 0:
        return _checked(complex(base) ** complex(power))
    return _checked(float(base) ** float(power))


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


def _factorial(value: Value) -> Fraction:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= 500:
        raise _Unreadable
    return Fraction(math.factorial(value.numerator))


def _choose(n: Value, k: Value) -> Fraction:
    if not isinstance(n, Fraction) or not isinstance(k, Fraction):
        raise _Unreadable
    if n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n <= 1000:
        raise _Unreadable
    return Fraction(math.comb(n.numerator, k.numerator))
