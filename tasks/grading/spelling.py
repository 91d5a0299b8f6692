r"""One spelling of a formula or sentence: Unicode signs and LaTeX's many ways become one.

What comes out has ASCII signs, `\frac`, `\sqrt`, `\le`, `\cup` and the like, `^{2}` for `²`, `°`
for every degree mark, a comma in thousands however they were parted, Greek letters by their names
(`\epsilon`, no `\varepsilon` and no `ϵ`), and no spacing commands.
"""

import re
import unicodedata
from functools import lru_cache

_NEGATIVE = re.compile(r"负\s?(?=\d)")
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_RAISED = re.compile("[⁰¹²³⁴-⁹⁻⁺]+")
_RAISED_TO = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_GREEK = {
    **dict(zip("αβγδζηθικλνξρστυφχψω", (
        "alpha beta gamma delta zeta eta theta iota kappa lambda nu xi rho sigma tau upsilon phi "
        "chi psi omega"
    ).split(), strict=True)),
    **{"ε": "epsilon", "ϵ": "epsilon", "ϑ": "theta", "ϕ": "phi", "ϱ": "rho", "ς": "sigma"},
}  # fmt: skip
"""But for μ and Ω, which are of units as well."""
_SIGNS = str.maketrans({
    **{sign: rf"\{name} " for sign, name in _GREEK.items()},
    **dict.fromkeys("−–‒﹣－", "-"),
    **dict.fromkeys("×·⋅∙✕∗", "*"),
    **dict.fromkeys("÷∕⁄／", "/"),
    **dict.fromkeys("º˚", "°"),
    **dict.fromkeys("→⇒⟹➔∴", " => "),
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
    "⟨": "(",
    "⟩": ")",
    "、": ",",
    "\u200b": "",
})  # fmt: skip
_RULES = [
    (re.compile(pattern), new)
    for pattern, new in [
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])", ""),
        (
            r"\\(?:(?:display|text)style|limits|boldsymbol|ensuremath|tiny|small|normalsize|[lL]arge"
            r"|LARGE|[hH]uge|bf|it|rm|sf)(?![a-zA-Z])",
            " ",
        ),
        (r"\\(?:text)?color\s*\{\w*\}|\\(?:underline|emph)(?=\s*\{)", ""),
        (r"\\[dtc]frac", r"\\frac"),
        (
            r"\\(?:mathrm|mathbf|mathit|mathsf|operatorname|mathbb|bm|rm)\s*"
            r"\{((?:[^{}]|\{[^{}]*\})*)\}",
            r" \1 ",
        ),
        (r"\\(?:mathrm|mathbf|mathit|mathsf|bm)(?=\s*\{)", ""),
        (r"\^\s*\{?\s*(?:\\circ|\\degree|°)\s*\}?|\\(?:degrees?|deg|circ)(?![a-zA-Z])", "°"),
        (r"(?<=\d)\s?\^\s?\{?o\}?(?!\w)", "°"),
        (r"\\langle(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])", ")"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\%", "%"),
        (r"(?<=\d)(?:\{,\}|\\[,!:; ]|,\\!|['’])\s?(?=\d{3}(?!\d))", ","),
        (r"\{,\}", ","),
        (r"(?<!\\)\\[,;:! ]|~|\\q?quad(?![a-zA-Z])", " "),
        (r"(?<=\.)(\d*?)(\d)\2+\s?(?:\\[lc]?dots|\.\.\.)", r"\1\\overline{\2}"),
        (r"(?<=\.)(\d+)\s?(?:\\[lc]?dots|\.\.\.)", r"\1"),
        (r"\{([^{}\\]*)\\over(?![a-zA-Z])([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r"^([^{}=]*)\\over(?![a-zA-Z])([^{}=]*)$", r"\\frac{\1}{\2}"),
        (r"\\[lr]?vert(?![a-zA-Z])|\\mid(?![a-zA-Z])", "|"),
        (r"\\(?:leq?slant|leq)(?![a-zA-Z])|<=", r"\\le "),
        (r"\\(?:geq?slant|geq)(?![a-zA-Z])|>=", r"\\ge "),
        (r"\\neq(?![a-zA-Z])|(?<![\d)])!=", r"\\ne "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\(?:implies|Rightarrow|therefore|to)(?![a-zA-Z])", " => "),
        (r"\\(?:times|cdot|ast)(?![a-zA-Z])", "*"),
        (r"\\div(?![a-zA-Z])", "/"),
        (r"\\var(?=(?:epsilon|theta|phi|rho|sigma)(?![a-zA-Z]))", r"\\"),
        (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
        (r"\*\*(?=\s*[-(\d])", "^"),
    ]
]


@lru_cache(4096)
def normal(text: str) -> str:
    r"""Return a text in the one spelling.

    >>> normal("−3½ × 10²"), normal(r"\left(\dfrac{1}{2},\ 90^{\circ}\right)")
    ('-3 1/2 * 10^{2}', '(\\frac{1}{2}, 90°)')
    >>> normal(r"1\,200"), normal(r"10,\!080"), normal(r"1 \over 2"), normal(r"0.333\ldots")
    ('1,200', '10,080', '\\frac{1 }{ 2}', '0.\\overline{3}')
    """
    if not text.isascii():
        text = _VULGAR.sub(lambda found: " " + unicodedata.normalize("NFKC", found[0]), text)
        text = _RAISED.sub(lambda found: "^{" + found[0].translate(_RAISED_TO) + "}", text)
        text = unicodedata.normalize("NFKC", text.translate(_SIGNS))
        text = _NEGATIVE.sub("-", text)
    if not _PLAIN.search(text):
        return text.strip()
    for pattern, new in _RULES:
        text = pattern.sub(new, text)
    return text.strip()


BRACED = r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]{0,99}\}){0,99}\}){0,200})\}"
"""Braces, with two more levels of them inside."""
_TEXT = re.compile(
    rf"\\(?:text[a-z]{{0,2}}|mbox|math(?:rm|bf|it|sf|tt)|boxed|bf|bm|emph)\s{{0,3}}{BRACED}"
)


def untexted(text: str) -> str:
    r"""Return what stands in `\text{}` and the like as the rest.

    >>> untexted(r"12\text{ cm}^2"), untexted(r"\textbf{(A)}")
    ('12  cm ^2', ' (A) ')
    >>> untexted(r"\text{C. $\frac{\pi}{2}$}")
    ' C. $\\frac{\\pi}{2}$ '
    """
    for _ in range(3):
        before, text = text, _TEXT.sub(r" \1 ", text)
        if text == before:
            break
    return text


_PLAIN = re.compile(r"[\\^{}~]|\d['’]\d|\*\*|[<>!]=|\.\.\.")
"""In every text that some rule changes."""
