r"""What latex2sympy2 1.9.1 and `eval` make of a text, hand-checked against the two themselves."""

# ruff: noqa: E501

import math

import pytest

from tasks.grading.latex2sympy import value

VALUES = [
    # Numbers, in the grammar's spelling.
    ("5", 5), ("0.5", 0.5), (".25", 0.25), ("2.0", 2), ("060", 60), ("1,234", 1234), (r"25\%", 0.25),
    ("1,2345", 6170), (",234.5", 234.5), ("3.5.5", 1.75), ("1.2.3", 0.36),
    # Arithmetic: products without a sign, `:` divides, powers from the left.
    ("2 3", 6), ("2(3+4)", 14), ("1:4", 0.25), (r"\frac{12}{5}", 2.4), (r"6\div 4", 1.5),
    ("2^3^2", 64), ("5^{-1}", 0.2), ("2^10", 1024), ("--5", 5), ("5--5", 10), ("-2^2", -4),
    ("{5}[2]", 10), (r"\left(\frac{1}{2}\right)3", 1.5), (r"\{6\}", 6), ("3!", 6), ("5'", 5),
    (r"\binom{5}{2}", 10), (r"{5\choose 2}", 10), ("(5)_{2}", 20),
    # Roots, pi and functions, in radians.
    (r"2\sqrt{3}", 2 * math.sqrt(3)), (r"\sqrt[3]{8}", 2), (r"12\pi", 12 * math.pi),
    (r"\sin(30)^2", math.sin(30) ** 2), (r"\sin 2\pi", math.sin(2 * math.pi)), ("e^{2}", math.exp(2)),
    (r"\log_{2}8", 3), (r"\log 100", 2), (r"\sin^{-1} 1", math.pi / 2), (r"\lfloor 3.5\rfloor", 3),
    # sympy loses the parentheses around a fraction below a negative product.
    ("6/.25", 24), ("-6/.25", -1.5), (r"5-\frac{1}{2.5}", 4.9), (r"-\frac{3}{2^{-1}}", -1.5),
    # e is known to sympy alone, its powers to both.
    ("-3/4!e", -3 * math.exp(-1) / 24),
    # Comparisons are 1 or 0.
    ("3<5", 1), ("5<3", 0), (r"3\leq 3", 1),
    # The longest beginning that could go on counts, words of the grammar end it.
    ("5.so,even", 5), ("5}", 5), ("5)6", 5), (r"5\\6", 5), ("5&6", 5), ("5_3", 5), ("3!^2", 6),
    ("12trees", 12), ("5rows", 5), ("5eyes", 5), (r"5\to 3", 5), (r"5\rightarrow", 5), ("2^3_4", 8),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_it_is_worth(text, expected):
    assert value(text) == pytest.approx(expected, abs=1e-12)


NOTHING = [
    "", " ", "cat", "2x", "5cm", "x=3", "5=5", "5!=6", "3,4", "5;6", "(5", "[5", "5^", "5+", "5/", "2^-1",
    "50%", "60°", "5²", '5"', "|3|", "5|", "e", "2e3", r"\ln 2", r"\infty", r"\frac12", r"\sqrt2", r"\sqrt{-4}",
    "1/0", r"(-8)^{\frac{1}{3}}", r"\lceil 2\rceil", "5\\ ", r"\tan", r"5\;", "2.5!", "icannotseetheimage",
]  # fmt: skip


@pytest.mark.parametrize("text", NOTHING)
def test_it_is_worth_nothing(text):
    assert value(text) is None


def test_without_names_roots_and_pi_are_worth_nothing():
    assert value(r"\frac{3}{4}", names=False) == 0.75
    assert value(r"2\sqrt{3}", names=False) is None
    assert value(r"2\pi", names=False) is None


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^9}}", "9**9**9**9", "(" * 100_000, "{" * 1_000_000, "1" * 1_000_000,
        r"\frac{" * 10_000, "-" * 1_000_000, "99999!", r"\sqrt[0]{2}", "5^{9999999}", "(a" * 100_000,
        r"\exp(9^{9^{9}})", "9" + "!" * 200, r"-\sqrt[9]{-9^{9^{9^{-9}}}}/-9^{9^9}", "2^" * 140 + "2",
        r"\binom{99999}{5000}", "1," * 500_000, "\x00\ud800", "(1+" * 39 + "1" + ")" * 39,
    ],
)  # fmt: skip
def test_too_much_is_bounded(text):
    assert value(text) in (None, 40)
