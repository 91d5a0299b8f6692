r"""The number that latex2sympy2 1.9.1 sees in a text, as MATH-Vision's script evaluates it.

The script (mathllm/MATH-V at a1f5cc3a, evaluation/utils.py) compares answers by
`round(eval(str(latex2sympy(answer))), 2)`, with the names of Python's `math` at hand. This is that
composition for what can come out a number: a reader of its own builds the same sympy expression,
sympy spells it (slips and all: `-6/.25` becomes `-6/1/4`), and `arithmetic.py` computes it.

What sets it apart from reading a formula: no end of the text is asked for, so that the longest
beginning that could go on as a formula is read and the rest left alone, "5.so, even" being 5 and
"12trees" 12 (`tr` is a word of the grammar), while an unfinished one ("2^") is nothing. A letter
stands for an unknown and makes the whole nothing. Nothing, too, comes of what sympy's spelling does
not share with Python's `math`: |x|, ceilings, `\ln`, e itself.

Left out, for no answer has them: determinants, `\gcd`, values at a bar, `\mathit`, tau, and what
follows `x=` (the script cuts every answer at its last `=`). Bounded by shape and not by a clock.
"""

import re
from functools import lru_cache
from typing import Any

from tasks.grading import arithmetic

LENGTH = 4000
"""Characters."""
TOKENS = 300
DEPTH = 40

Number = int | float


class _Nothing(ValueError):
    """The text is not worth a number."""


_PLAIN = re.compile(r"[0-9]{1,15}")


@lru_cache(maxsize=20_000)
def value(text: str, names: bool = True) -> Number | None:
    r"""Return what a text is worth, as Python would compute it; None where it is nothing.

    Args:
        text: LaTeX or plain, in lower case.
        names: Whether roots, pi and functions are known where the expression is computed.

    >>> value(r"2\sqrt{3}") == 2 * 3**0.5, value("1:4"), value("1,234"), value("3!")
    (True, 0.25, 1234, 6)
    >>> value("5.so, even"), value("12trees"), value(r"25\%"), value(r"2\sqrt{3}", names=False)
    (5, 12, 0.25, None)
    >>> value("2x"), value("50%"), value("2^"), value("3, 4"), value("9**9**9")
    (None, None, None, None, None)
    """
    if _PLAIN.fullmatch(text):
        return int(text)
    try:
        read = _Reader(_prepared(text[:LENGTH]), whole=len(text) <= LENGTH).all()
        return arithmetic.worth(str(read), arithmetic.MATH if names else None)
    except (ArithmeticError, ValueError, TypeError, RecursionError):
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
        (?P<number>{_NUMBER}(?:\\%)?)
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
_COMPARED = {
    "<": "StrictLessThan",
    ">": "StrictGreaterThan",
    **dict.fromkeys(("leq", "le", "leqslant"), "LessThan"),
    **dict.fromkeys(("geq", "ge", "geqslant"), "GreaterThan"),
}


class _Reader:
    """One pass over the text; `kind` and `token` are of what stands next."""

    def __init__(self, text: str, whole: bool) -> None:
        import sympy

        self.sympy = sympy
        self.text = text
        self.whole = whole
        self.at = 0
        self.depth = 0
        self.left = TOKENS
        self.token = ""
        self.advance()

    def advance(self) -> str:
        """Step over the next token and return it."""
        passed = self.token
        self.left -= 1
        found = _TOKEN.match(self.text, self.at)
        if not found or not self.left or (found.end() == len(self.text) and not self.whole):
            raise _Nothing
        self.at = found.end()
        kind = str(found.lastgroup)
        self.token = found[kind]
        if kind == "command":
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

    # Expressions, put together as latex2sympy2 does: unevaluated, in its order.

    def plus(self, a: Any, b: Any) -> Any:
        return self.sympy.Add(*_terms(a, "is_Add"), *_terms(b, "is_Add"), evaluate=False)

    def times(self, a: Any, b: Any) -> Any:
        return self.sympy.Mul(*_terms(a, "is_Mul"), *_terms(b, "is_Mul"), evaluate=False)

    def power(self, base: Any, to: Any) -> Any:
        return self.sympy.Pow(base, to, evaluate=False)

    def over(self, a: Any, b: Any) -> Any:
        return self.sympy.Mul(a, self.power(b, -1), evaluate=False)

    def minus(self, a: Any) -> Any:
        return -a if a.is_Rational else self.times(-1, a)

    def choose(self, n: Any, k: Any) -> Any:
        if not (n.is_Integer and k.is_Integer and max(n, k) <= 2000):
            raise _Nothing
        return self.sympy.binomial(n, k)

    def exp(self, to: Any) -> Any:
        return self.sympy.exp(to) if to.is_Rational else self.sympy.exp(to, evaluate=False)

    # The grammar

    def all(self) -> Any:
        left = self.sum()
        while self.token in _COMPARED:
            relation = getattr(self.sympy, _COMPARED[self.advance()])
            left = relation(left, self.sum(), evaluate=False)
        over = self.kind in ("ends", "end", "bracket", "side", "top") or self.token in ("_", "^")
        if not over:
            raise _Nothing
        return left

    def sum(self) -> Any:
        self.depth += 1
        if self.depth > DEPTH:
            raise _Nothing
        left = self.product()
        while self.token in ("+", "-"):
            sign = self.advance()
            right = self.product()
            left = self.plus(left, right if sign == "+" else self.minus(right))
        self.depth -= 1
        return left

    def product(self, nofunc: bool = False) -> Any:
        left = self.signed(nofunc)
        while self.token in _TIMES or self.token in _OVER:
            times = self.advance() in _TIMES
            right = self.signed(nofunc)
            left = self.times(left, right) if times else self.over(left, right)
        return left

    def signed(self, nofunc: bool) -> Any:
        signs = ""
        while self.token in ("+", "-"):
            signs += self.advance()
        factors = [self.postfix()]
        while self.starts(nofunc):
            factors.append(self.postfix())
        read = factors.pop()
        while factors:
            read = self.times(factors.pop(), read)
        for _ in range(signs.count("-")):
            read = self.minus(read)
        return read

    def starts(self, nofunc: bool) -> bool:
        """Whether the next token starts a factor."""
        if self.kind == "function" or self.token == "sqrt":
            return not nofunc
        opens = self.token in _CLOSING or self.token in _OPENING
        return self.kind in ("number", "value") or opens

    def postfix(self) -> Any:
        read = self.powers()
        while True:
            if self.token == "!":
                self.advance()
                read = self.sympy.factorial(read, evaluate=False)
            elif self.token == "'" or self.kind == "top":  # a number transposed
                self.advance()
            else:
                return read

    def powers(self) -> Any:
        read = self.atom()
        while self.token == "^":
            self.advance()
            read = self.power(read, self.exponent())
            self.subscript()
        return read

    def subscript(self) -> None:
        """Read and drop the subscript of a power."""
        if self.token == "_":
            self.advance()
            self.exponent()

    def exponent(self) -> Any:
        """Read braces, a number or pi."""
        if self.token == "{":
            return self.braces()
        if self.kind == "number":
            return self.number()
        self.take("pi")
        return self.sympy.pi

    def number(self) -> Any:
        token = self.advance()
        percent = token.endswith("\\%")
        read = self.sympy.Rational(token.removesuffix("\\%").replace(",", ""))
        return read / 100 if percent else read

    def braces(self) -> Any:
        self.take("{")
        read = self.sum()
        self.take("}")
        return read

    def atom(self) -> Any:
        if self.kind == "number":
            return self.number()
        if self.token in _CLOSING or self.token in _OPENING:
            return self.group()
        if self.kind == "function":
            return self.function()
        if self.kind != "value":
            raise _Nothing
        name = self.advance()
        if name == "pi":
            return self.sympy.pi
        if name == "sqrt":
            return self.root()
        top, bottom = self.braces(), self.braces()
        return self.over(top, bottom) if name == "frac" else self.choose(top, bottom)

    def group(self) -> Any:
        side = _OPENING[self.advance()] if self.token in _OPENING else None
        if self.token not in _CLOSING:
            raise _Nothing
        opened = self.advance()
        read = self.sum()
        if self.token == "choose" and opened == "{" and side is None:
            self.advance()
            read = self.choose(read, self.sum())
        if side is not None:
            self.take(side)
        self.take(_CLOSING[opened])
        floored = opened in ("lfloor", "llcorner")
        return self.sympy.floor(read, evaluate=False) if floored else read

    def root(self) -> Any:
        if self.token != "[":
            return self.power(self.braces(), self.sympy.S.Half)
        self.take("[")
        degree = self.sum()
        self.take("]")
        if not degree.is_Rational:
            raise _Nothing
        return self.power(self.braces(), 1 / degree)

    def function(self) -> Any:
        name = self.advance()
        if name == "e":
            if self.token != "^":
                return self.sympy.E
            self.advance()
            read = self.exp(self.exponent())
            self.subscript()
            return read
        to: Any = None
        base: Any = 10
        for _ in range(2):
            if self.token == "_":
                self.advance()
                base = self.exponent()
            elif self.token == "^" and to is None:
                self.advance()
                to = self.exponent()
        given = self.argument()
        if name == "log":
            read = self.sympy.log(given, base, evaluate=False)
        elif name == "exp":
            read = self.exp(given)
        else:
            if to == -1 and name in ("sin", "cos", "tan", "sinh", "cosh", "tanh"):
                name, to = "a" + name, None
            name = re.sub("^arc?(?=sin|cos|tan)", "a", name)
            read = getattr(self.sympy, name)(given, evaluate=False)
        return self.power(read, to) if to else read

    def argument(self) -> Any:
        """Read what a function is applied to: parentheses, else a product without functions."""
        self.depth += 1
        if self.depth > DEPTH:
            raise _Nothing
        read = self.group() if self.token == "(" else self.product(nofunc=True)
        self.depth -= 1
        return read


def _terms(expression: Any, kind: str) -> tuple[Any, ...]:
    return expression.args if getattr(expression, kind, False) else (expression,)
