r"""The number that latex2sympy2 1.9.1 sees in a text, as MATH-Vision's script evaluates it.

The script (mathllm/MATH-V at a1f5cc3a, evaluation/utils.py) compares answers by
`round(eval(str(latex2sympy(answer))), 2)`, with the names of Python's `math` at hand. This is that
composition for what can come out a number, as a reader of its own: nothing is handed to `eval`.

What sets it apart from reading a formula: no end of the text is asked for, so that the longest
beginning that could go on as a formula is read and the rest left alone, "5.so, even" being 5 and
"12trees" 12 (`tr` is a word of the grammar), while an unfinished one ("2^") is nothing. A letter
stands for an unknown and makes the whole nothing. Nothing, too, comes of what the grammar's `str`
does not share with Python's `math`: |x|, ceilings, `\ln`, e itself.

Left out, for no answer has them: determinants, `\gcd`, values at a bar, `\mathit`, tau, and what
follows `x=` (the script cuts every answer at its last `=`).
Bounded by shape and not by a clock: `LENGTH` characters, `DEPTH` levels, integers of `BITS` bits.
"""

import math
import operator
import re
from functools import lru_cache

LENGTH = 4000
DEPTH = 40
BITS = 100_000

Number = int | float


class _Nothing(ValueError):
    """The text is not worth a number."""


@lru_cache(maxsize=20_000)
def value(text: str) -> Number | None:
    r"""Return what a text is worth, as Python would compute it; None where it is nothing.

    Args:
        text: LaTeX or plain, in lower case.

    >>> value(r"2\sqrt{3}") == 12**0.5, value("1:4"), value("1,234"), value("3!")
    (True, 0.25, 1234, 6)
    >>> value("5.so, even"), value("12trees"), value(r"25\%")
    (5, 12, 0.25)
    >>> value("2x"), value("50%"), value("2^"), value("3, 4"), value("9**9**9")
    (None, None, None, None, None)
    """
    try:
        return _Reader(_prepared(text[:LENGTH]), whole=len(text) <= LENGTH).all()
    except (ArithmeticError, ValueError, TypeError):
        return None


_ARRANGEMENTS = re.compile(r"\(([a-zA-Z0-9+\-*/\\ ]+?)\)_{([a-zA-Z0-9+\-*/\\ ]+?)}")


def _prepared(text: str) -> str:
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = text.replace(r"\mathrm{d}", "d").replace(r"{\rm d}", "d")
    text = _ARRANGEMENTS.sub(r"\\frac{(\1)!}{((\1)-(\2))!}", text)
    return re.sub(r"\\displaystyle|\\qq?uad|~|\\,|\$", " ", text)


_NUMBER = r"(?:[0-9]*(?:,[0-9]{3})*\.[0-9]+|[0-9]+(?:,[0-9]{3})*)"

# Tokens of the grammar, by what they are here. `ends`: can follow nothing, so that reading ends.
_SIGNS = {
    **dict.fromkeys("([{)]}", "bracket"),
    **dict.fromkeys(("\\{", "\\}"), "bracket"),
    **dict.fromkeys("+-*/:^_!'<>", "sign"),
    **dict.fromkeys((".", "&", "\\\\", "<->", "<=>"), "ends"),
    **dict.fromkeys(("\\|", "|", ",", ";", "==", "=", "!=", "!=="), "unknown"),
}
_COMMANDS = {
    **dict.fromkeys("lbrace rbrace lgroup rgroup lbrack rbrack lfloor rfloor".split(), "bracket"),
    **dict.fromkeys("llcorner lrcorner".split(), "bracket"),
    **dict.fromkeys("left right mleft mright".split(), "side"),
    **dict.fromkeys("times cdot div over".split(), "sign"),
    **dict.fromkeys("leq le leqslant geq ge geqslant".split(), "sign"),
    **dict.fromkeys("frac sqrt pi binom tbinom dbinom".split(), "value"),
    **dict.fromkeys("log exp sin cos tan sinh cosh tanh floor".split(), "function"),
    **dict.fromkeys("arcsin arccos arctan arsinh arcosh artanh".split(), "function"),
    **dict.fromkeys("arcsinh arccosh arctanh".split(), "function"),
    **dict.fromkeys("to rightarrow longrightarrow leftrightarrow xrightarrow".split(), "ends"),
    **dict.fromkeys("choose rvert rceil urcorner".split(), "ends"),
    # The rest is here for what it covers: of `\thetaone` the grammar sees `\theta`.
    **dict.fromkeys(
        """lvert vert lceil ulcorner lim int sum prod ln csc sec cot arccsc arcsec arccot gcd lcm
        ceil max min det mod mathit operatorname in equiv ne neq infty partial variable alpha beta
        gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron
        varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi omega wp nabla bigstar angle
        nexists diagdown measuredangle eth emptyset diagup sphericalangle clubsuit varnothing
        complement diamondsuit imath triangledown heartsuit jmath triangle spadesuit ell hbar
        vartriangle hslash blacklozenge lozenge blacksquare mho blacktriangle sharp prime flat
        square backprime natural surd acute bar overline breve check widecheck dot ddot grave hat
        tilde widetilde vec overrightarrow bm boldsymbol text textit mathbb mathbin mathbf mathcal
        mathclap mathclose mathellipsis mathfrak mathinner mathnormal mathop mathopen mathord
        mathpunct mathrel mathring mathrlap mathrm mathscr mathsf mathsterling mathtt""".split(),
        "unknown",
    ),
}
_WORDS = """arsinh arcsinh arcosh arccosh artanh arctanh gcd lcm floor ceil eye zeros ones cols rows
    diag norm rank trace tr rref hstack vstack orth ortho orthogonal orthogonalize nullspace eig
    eigen diagonalize eigenvals eigenvalues eigenvects eigenvectors svd matrix pmatrix bmatrix
    vmatrix""".split()


def _longest_first(literals: list[str]) -> str:
    return "|".join(map(re.escape, sorted(literals, key=len, reverse=True)))


_TOKEN = re.compile(
    rf"""[ \t\r\n]*(?:
        (?P<number>{_NUMBER}(?P<percent>\\%)?)
      | (?P<top>\^\{{\\top\}})
      | \\(?P<command>{_longest_first(list(_COMMANDS))})
      | (?P<ending>\\end\{{(?:p|b|v)?matrix\}})
      | (?P<sign>{_longest_first(list(_SIGNS))})
      | (?P<word>{_longest_first(_WORDS)})
      | (?P<letter>[a-z])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_CLOSING = {
    "(": ")",
    "[": "]",
    "{": "}",
    "\\{": "\\}",
    "lbrace": "rbrace",
    "lgroup": "rgroup",
    "lbrack": "rbrack",
    "lfloor": "rfloor",
    "llcorner": "lrcorner",
}
_OPENING = {"left": "right", "mleft": "mright"}
_TIMES = {"*", "times", "cdot"}
_OVER = {"/", ":", "div", "over"}
_FUNCTIONS = {
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "asinh": math.asinh,
    "acosh": math.acosh,
    "atanh": math.atanh,
    "floor": math.floor,
}
_COMPARED = {
    "<": operator.lt,
    ">": operator.gt,
    **dict.fromkeys(("leq", "le", "leqslant"), operator.le),
    **dict.fromkeys(("geq", "ge", "geqslant"), operator.ge),
}


class _Reader:
    """One pass over the text; `kind` and `token` are of what stands next."""

    def __init__(self, text: str, whole: bool) -> None:
        self.text = text
        self.whole = whole
        self.at = 0
        self.depth = 0
        self.advance()

    def advance(self) -> str:
        """Step over the next token and return it."""
        passed = getattr(self, "token", "")
        found = _TOKEN.match(self.text, self.at)
        if not found or (found.end() == len(self.text) and not self.whole):
            raise _Nothing
        self.at = found.end()
        kind = str(found.lastgroup)
        self.token = found[kind]
        if kind == "percent":
            kind, self.token = "number", found["number"]
        elif kind == "command":
            kind = _COMMANDS[self.token]
        elif kind == "sign":
            kind = _SIGNS[self.token]
        elif kind in ("word", "ending"):
            kind = "ends"
        elif kind == "letter":
            kind = "function" if self.token == "e" else "unknown"
        self.kind = kind
        return passed

    def take(self, token: str) -> None:
        if self.token != token:
            raise _Nothing
        self.advance()

    def all(self) -> Number:
        left = self.sum()
        while self.token in _COMPARED:
            compare = _COMPARED[self.advance()]
            left = int(compare(left, self.sum()))
        over = self.kind in ("ends", "end", "bracket", "side", "top") or self.token in ("_", "^")
        if not over:
            raise _Nothing
        return left

    def sum(self, nofunc: bool = False) -> Number:
        self.depth += 1
        if self.depth > DEPTH:
            raise _Nothing
        left = self.product()
        while self.token in ("+", "-"):
            sign = self.advance()
            right = self.product()
            left = left + right if sign == "+" else left - right
        self.depth -= 1
        return left

    def product(self, nofunc: bool = False) -> Number:
        left = self.signed(nofunc)
        while self.token in _TIMES or self.token in _OVER:
            times = self.advance() in _TIMES
            right = self.signed(nofunc)
            left = _bounded(left * right if times else left / right)
        return left

    def signed(self, nofunc: bool) -> Number:
        if self.token in ("+", "-"):
            negative = False
            while self.token in ("+", "-"):
                negative ^= self.advance() == "-"
            read = self.signed(nofunc)
            return -read if negative else read
        left = self.postfix()
        while self.starts(nofunc):
            left = _bounded(left * self.postfix())
        return left

    def starts(self, nofunc: bool) -> bool:
        """Whether the next token starts a factor."""
        if self.kind == "function" or self.token == "sqrt":
            return not nofunc
        opens = self.token in _CLOSING or self.token in _OPENING
        return self.kind in ("number", "value") or opens

    def postfix(self) -> Number:
        read = self.powers()
        while True:
            if self.token == "!":
                self.advance()
                read = _factorial(read)
            elif self.token == "'" or self.kind == "top":  # a number transposed
                self.advance()
            else:
                return read

    def powers(self) -> Number:
        read = self.atom()
        while self.token == "^":
            self.advance()
            read = power(read, self.exponent())
            if self.token == "_":  # a subscript of a power is read and dropped
                self.advance()
                self.exponent()
        return read

    def exponent(self) -> Number:
        """Read braces, a number or pi."""
        if self.token == "{":
            return self.braces()
        if self.kind == "number":
            return _number(self.advance())
        self.take("pi")
        return math.pi

    def braces(self) -> Number:
        self.take("{")
        read = self.sum()
        self.take("}")
        return read

    def atom(self) -> Number:
        if self.kind == "number":
            return _number(self.advance())
        if self.token in _CLOSING or self.token in _OPENING:
            return self.group()
        if self.kind == "function":
            return self.function()
        if self.kind != "value":
            raise _Nothing
        name = self.advance()
        if name == "pi":
            return math.pi
        if name == "frac":
            return self.braces() / self.braces()
        if name == "sqrt":
            return self.root()
        return _choose(self.braces(), self.braces())

    def group(self) -> Number:
        side = _OPENING[self.advance()] if self.token in _OPENING else None
        if self.token not in _CLOSING:
            raise _Nothing
        opened = self.advance()
        read = self.sum()
        if self.token == "choose" and opened == "{" and side is None:
            self.advance()
            read = _choose(read, self.sum())
        if side is not None:
            self.take(side)
        self.take(_CLOSING[opened])
        return math.floor(read) if opened in ("lfloor", "llcorner") else read

    def root(self) -> Number:
        if self.token != "[":
            read = self.braces()
            return math.sqrt(read)
        self.take("[")
        degree = self.sum()
        self.take("]")
        return power(self.braces(), 1 / degree)

    def function(self) -> Number:
        name = self.advance()
        if name == "e":
            self.take("^")
            given = self.exponent()
            if given == 1:  # comes out as sympy's E, which Python does not know
                raise _Nothing
            return math.exp(given)
        to: Number | None = None
        base: Number = 10
        for _ in range(2):
            if self.token == "_":
                self.advance()
                base = self.exponent()
            elif self.token == "^" and to is None:
                self.advance()
                to = self.exponent()
        given = self.argument()
        if name == "log":
            read: Number = math.log(given, base)
        else:
            if to == -1 and name in ("sin", "cos", "tan", "sinh", "cosh", "tanh"):
                name, to = "a" + name, None
            name = re.sub("^arc?(?=sin|cos|tan)", "a", name)
            read = _FUNCTIONS[name](given)
        return power(read, to) if to else read

    def argument(self) -> Number:
        """Read what a function is applied to: parentheses, else a product without functions."""
        self.depth += 1
        if self.depth > DEPTH:
            raise _Nothing
        # `\left(` goes with or without its `\right` here; a group reads the same.
        read = self.group() if self.token == "(" else self.product(nofunc=True)
        self.depth -= 1
        return read


def _number(token: str) -> Number:
    if len(token) > LENGTH:
        raise _Nothing
    percent = token.endswith("\\%")
    whole, _, decimals = token.removesuffix("\\%").replace(",", "").partition(".")
    top, bottom = int(whole + decimals or "0"), 10 ** len(decimals) * (100 if percent else 1)
    return top // bottom if top % bottom == 0 else top / bottom


def _bounded(number: Number) -> Number:
    if isinstance(number, int) and number.bit_length() > BITS:
        raise _Nothing
    return number


def power(base: Number, to: Number) -> Number:
    """Raise a number to another; raises ValueError where that is too large, or complex."""
    if isinstance(base, int) and isinstance(to, int):
        if base.bit_length() * abs(to) > BITS:
            raise _Nothing
    raised = base**to
    if isinstance(raised, complex):
        raise _Nothing
    return raised


def _factorial(number: Number) -> int:
    if isinstance(number, float) or number > 2000:
        raise _Nothing
    return math.factorial(number)


def _choose(n: Number, k: Number) -> int:
    if isinstance(n, float) or isinstance(k, float) or max(n, k) > 2000:
        raise _Nothing
    return math.comb(n, k)
