import doctest
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.grading import exact, expressions


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(expressions)
    assert result.failed == 0
    assert result.attempted > 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\frac{3^{1008}-1}{3^{1009}}", (Fraction(3) ** 1008 - 1) / Fraction(3) ** 1009),
        (r"\frac{7^3}{2^{12} 13^2}", Fraction(343, 692224)),
        (r"\frac{360}7", Fraction(360, 7)),
        (r"\frac12", Fraction(1, 2)),
        ("-3½", Fraction(-7, 2)),
        (r"3\frac{1}{2}", Fraction(7, 2)),
        ("5! / 2", 60),
        ("1:2", Fraction(1, 2)),
        ("1.5e3", 1500),
        ("1.2 × 10^{-3}", Fraction(12, 10000)),
        (r"\sqrt[3]{-8}", -2),
        (r"\sqrt{\frac{4}{9}}", Fraction(2, 3)),
        ("|2 - 5|", 3),
        ("-2^2", -4),
        ("50%", Fraction(1, 2)),
        (r"95{,}000", 95000),
        (r"\binom{5}{2}", 10),
        (r"\left(\dfrac{1}{2}\right)^{2}", Fraction(1, 4)),
        ("０.５", Fraction(1, 2)),
        ("2 3", None),
        ("1,23", None),
        ("1/0", None),
        ("(3", None),
        ("1000!", None),
        ("10^{99999}", None),
        ("2516_8", None),
        ("", None),
    ],
)
def test_rational_values_are_read_exactly_or_not_at_all(text, value):
    found = expressions.read(text)
    assert (found and found.value) == value
    assert found is None or isinstance(found.value, Fraction)


# The value by sympy, whose own reader of LaTeX is not asked: the second form is Python.
ROOTS = [
    (r"2\sqrt{3}-\sqrt 2", "2*sqrt(3) - sqrt(2)"),
    (r"\frac{\sqrt{6}}{6}", "sqrt(6)/6"),
    ("6√3 + 4π", "6*sqrt(3) + 4*pi"),
    (r"\sin 30^{\circ} + \cos\frac{\pi}{3}", "1"),
    (r"\sin^2 40°", "sin(2*pi/9)**2"),
    (r"\tan^{-1} 1", "pi/4"),
    (r"\log_2 8 + \ln e^{2}", "5"),
    (r"e^{-1}", "exp(-1)"),
    (r"2^{\frac{1}{3}}", "2**Rational(1, 3)"),
    (r"\frac{1+\sqrt5}{2}", "(1 + sqrt(5))/2"),
    ("6 - 5i", "6 - 5*I"),
]


@pytest.mark.parametrize(("text", "reference"), ROOTS)
def test_irrational_values_are_those_of_sympy(text, reference):
    import sympy

    found = expressions.read(text)
    assert found is not None
    assert exact.close(found.value, complex(sympy.sympify(reference)))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("(x+1)^2", "x^2 + 2x + 1", True),
        ("p - q", "-q + p", True),
        (r"\frac{a^2-b^2}{a-b}", "a+b", True),
        ("2ab", "a*b*2", True),
        (r"x_1 + x_{2}", "x_2 + x_1", True),
        (r"\sin 2x", r"2\sin x\cos x", True),
        ("x + 1", "x + 2", False),
        ("x", "y", False),
        ("x^2", "x^3", False),
        ("a third", "1/3", None),
        (r"\sqrt{2}", "99^{999}", False),  # the one exact and beyond all floats
    ],
)
def test_formulas_in_letters_are_compared_at_points(a, b, same):
    assert expressions.same(a, b) is same
    assert expressions.same(b, a) is same


@st.composite
def formulas(draw, depth=3):
    """Return (LaTeX, its value worked out in Python)."""
    if depth == 0:
        number = draw(st.integers(0, 40))
        return str(number), Fraction(number)
    (a, x), (b, y) = draw(formulas(depth - 1)), draw(formulas(depth - 1))
    kind = draw(st.sampled_from(["+", "-", r"\cdot", r"\frac", "/"]))
    if kind in (r"\frac", "/") and not y:
        kind = "+"
    match kind:
        case "+":
            return rf"\left({a} + {b}\right)", x + y
        case "-":
            return f"({a} - {b})", x - y
        case r"\cdot":
            return rf"{{{a}}} \cdot {{{b}}}", x * y
        case "/":
            return f"(({a})/({b}))", x / y
        case _:
            return rf"\dfrac{{{a}}}{{{b}}}", x / y


@given(formulas())
def test_arithmetic_is_that_of_fractions(formula):
    text, value = formula
    found = expressions.read(text)
    assert found is not None
    assert found.value == value


@given(st.text(alphabet=r"0123456789+-*/^_!%°(){}[]|:\ .,esinlogfracqtpxy", max_size=60))
def test_no_text_makes_it_fail(text):
    expressions.read(text)
