import doctest

import pytest

from tasks.grading import equivalence, units, wholes


@pytest.mark.parametrize("module", [equivalence, units, wholes])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 1


SAME = [
    # truth, stated
    ("12", "12 cm"), ("12", r"12\text{ cm}^2"), ("12", "12.0"), ("12", "twelve"),
    ("7", "seven apples"), ("7", "7 years old"), ("7", "$7.00"), ("-2", "-$2"), ("10000", "10,000"),
    ("7", "approximately 7"), ("3.5", "3 1/2"), ("8.0", "8"), ("45^2", "2025"), ("5", "x = 5"),
    (r"$\frac{90}{23}^{\circ}$", "90/23"), ("69{degrees}", "69"), ("90^\\circ", "90 degrees"),
    (r"8\sqrt{3}{squareinches}", r"8\sqrt3"), (r"2\sqrt{113}", r"\sqrt{452}"),
    ("1:2", "1:2"), ("1:2", "0.5"), (r"\frac{\pi}{6}", "30°"),
    (r"\frac{\pi}{2}", r"\text{$\frac{\pi}{2}$}"),
    ("10\\%", "0.1"), ("10\\%", "10"), ("0.1", "10%"), ("50", "50 percent"),
    (r"\sqrt{34}", "5.83"), (r"\frac{1}{3}", "0.333"), ("3.14", r"\pi"), ("1.41", "1.4142"),
    ("(3,-4)", "(3, -4)"), ("(3,-4)", "3, -4"), ("[0, 2, 0, 2]", "[0,2,0,2]"),
    ("[2014, 2016]", "2014 and 2016"), (r"\{1,2,3\}", r"\{3,2,1\}"), ("1,-2", "-2, 1"),
    ("2 or 3", "3, 2"), ("2 and 3", "2, 3"), ("x=2 or x=3", "x=2, x=3"), ("x+2 and 5", "x+2, 5"),
    ("(1,2) and (3,4)", "(1,2), (3,4)"), (r"1\text{ and }2", r"\{1, 2\}"), ("x=2 and y=3", "2, 3"),
    ("purple and grey", "grey, purple"), ("1000 or 2000", "1,000 or 2,000"), ("A and B", "B, A"),
    ("domain: [-4, 0) and range: (-3, 1]", "[-4,0), (-3,1]"),
    ("domain: [-4, 0) and range: (-3, 1]", r"\text{Range: } (-3,1], \text{ Domain: } [-4,0)"),
    ("increasing on (2, 5) and decreasing on (0, 2)", "Decreasing on (0,2), increasing on (2,5)"),
    ("1,-2", "x=1 or x=-2"), (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"\left( 3, \frac{\pi}{2} \right)", "(3, π/2)"), (r"x \in [-2,7]", "[-2,7]"),
    (r"(-\infty, 2) \cup (3, \infty)", r"(3,\infty)\cup(-\infty,2)"), ("1<x<5", "(1, 5)"),
    (r"\begin{pmatrix} -1 \\ 2/5 \end{pmatrix}", r"\begin{bmatrix} -1 \\ 0.4 \end{bmatrix}"),
    ("y = 2x + 3", "2x+3"), ("y=2x+3", "2x - y + 3 = 0"), ("x<5", "5>x"), ("x^2-3<0", "x^2<3"),
    ("2516_8", "2516_{8}"), ("2516_8", "2516"), ("6 - 5i", "6-5i"), ("3R^2", "3R^2"),
    (r"\frac{q}{4\pi\epsilon_0}", r"\frac{q}{4\pi\varepsilon_0}"), (r"\sin\phi", r"\sin\varphi"),
    (r"2\theta", "2ϑ"), (r"\beta", "β"), ("α=0.1", r"\alpha = 0.1"), (r"\emptyset", r"\varnothing"),
    ("ε_1 - ϵ_2", r"\epsilon_1-\epsilon_{2}"), (r"\text{Evelyn}", "evelyn."),
    ("the blue one", "Blue one"), (r"\text{(C)}", "C"),
]  # fmt: skip

DIFFERENT = [
    ("2 or 3", "2, 4"), ("2 or 3", "2"), ("2 or 3", "(2, 3)"), ("x=2 and y=3", "3, 2"),
    ("domain: [-4, 0) and range: (-3, 1]", "(-3,1], [-4,0)"), ("A and B", "A, C"),
    ("12", "120"), ("5", "x+2"), ("5", "3 or 4"), ("50", "0.5"), ("5", "500"),
    (r"\frac{1}{3}", "0.33"), ("4/9", "7/16"), ("12.5", "12.46"), (r"\sqrt{34}", "5.8"),
    ("(2, 3)", "[2,3]"), ("(2, 3)", "(3, 2)"), ("[1, 2, 3]", "[1, 2]"), (r"\{1,2\}", r"\{1,3\}"),
    ("x<5", r"x \le 5"), ("y=2x+3", "y=2x-3"), (r"\text{Evelyn}", "Carla"), ("odd", "even"),
    ("2516_8", "2517"), (r"2\theta", r"2\phi"), (r"\beta", "α"), ("Φ, ψ", "φ, ψ"),
]  # fmt: skip

UNCLEAR = [
    ("domain: [-4, 0) and range: (-3, 1]", "domain: (-3, 1] and range: [-4, 0)"),
    ("12", "it is unclear"), ("12", "N/A"), ("12", "cannot"), ("12", ""), ("12", "12 or 13"),
    (r"y=\pi x", "2y=10^{400}x"), ("2y=10^{400}x", r"y=\pi x"),
    ("12", "9**9**9**9"), ("12", "1" * 1000), ("cat", "either the cat or the dog on the mat"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("truth", "said", "verdict"),
    [(*pair, True) for pair in SAME]
    + [(*pair, False) for pair in DIFFERENT]
    + [(*pair, None) for pair in UNCLEAR],
)
def test_answers_are_the_same_different_or_unclear(truth, said, verdict):
    assert equivalence.same(truth, said) is verdict


@pytest.mark.parametrize(
    ("truth", "said", "precision", "verdict"),
    [
        ("1.4", "1.414", 1, True), ("1.4", "1.36", 1, True), ("1.4", "1.45", 1, True),
        ("1.4", "1.46", 1, False), ("1.4", r"\sqrt 2", 1, True), ("1.41", "1.4", 2, False),
        ("8", "7.026", None, False), ("1.4", "1.414", None, False),
    ],
)  # fmt: skip
def test_precision_says_how_far_a_stated_number_may_be(truth, said, precision, verdict):
    assert equivalence.same(truth, said, precision=precision) is verdict


@pytest.mark.parametrize(
    ("truth", "said", "unit", "verdict"),
    [
        ("1000", "1 kg", "g", True), ("1000", "1000 g", "g", True), ("1000", "1000", "g", True),
        ("1000", "1 g", "g", False), ("2", "24 months", "years", True), ("50", "0.5", "%", True),
        ("31.42%", "0.31", None, False), ("31.42%", "31.4159%", None, True),
        ("1/7", "14.60%", None, False), ("1/7", "14.29%", None, True),
        ("2", r"2 \text{ V/m}", "N/C", True), ("2", "2 kg m/s", "N s", True),
        ("2", "2 N·s", "N s", True), ("2", "2 J/C", "V", True),
        ("2", "2000 J/s", "kW", True), ("2", "2 m/s", "N s", False),
        ("2", r"2\text{ N/m}^2", "Pa", True), ("2", "2 kPa", "N/m^2", False),
        ("2", "2 s^{-1}", "Hz", True), ("7200", "2 Wh", "J", True),
        ("1", "101325 Pa", "atm", True), ("2", "2 joules", "kJ", False),
        ("2", r"2\ \mathrm{m\,s^{-1}}", "m/s", True), ("10", "10 J", "N", False),
        ("2", "2 V/m", "V", False), ("2", "2 T", "Wb/m^2", True),
        ("2", "2 N/kg", "m/s^2", True),
        ("5 mW", "5 MW", None, False), ("5 mA", "0.005 A", None, True),
        ("5 T", "5 mT", None, False), ("5 µF", "5 F", None, False), ("5 cm", "5 CM", None, True),
        ("300 K", "300 °C", None, False), ("20 °C", "20 °F", None, False),
        ("20 °C", r"20^\circ \mathrm{C}", None, True),
        ("68 °F", "68 F", None, True), ("20", "20 °C", "°F", False), ("20", "20 °C", None, True),
        ("20°C", "20 degrees", None, True), ("20 °C", "20 degrees Celsius", None, True),
        ("20 °C", "20 degrees Fahrenheit", None, False), ("20 °C", "20 deg C", None, True),
        ("-5 degrees", "-5°C", None, True), ("-5°C", "-5 degrees", None, True),
        ("72 degrees", "72°F", None, True), ("72 degrees", "72 K", None, False),
        ("3 tons", "3 T", None, True), ("3000 kg", "3 T", None, True), ("3 kg", "3 T", None, False),
        ("50", "0.5", None, False), ("50", "0.5", "percent", True), ("3", "3 hours", "days", False),
    ],
)  # fmt: skip
def test_the_units_of_the_question_and_the_answer_are_brought_together(truth, said, unit, verdict):
    assert equivalence.same(truth, said, unit=unit) is verdict


@pytest.mark.parametrize(
    ("truth", "shape"),
    [
        ("12", "number"), ("12 cm", "number"), (r"\frac{\sqrt 3}{2}", "number"),
        ("x = 5", "number"),
        ("8\\sqrt{3}{squareinches}", "number"), ("[1, 2]", "list"), ("1, -2", "list"),
        (r"\$32,348", "number"), ("1,500 km", "number"), (r"1,200 \mathrm{~cm}^2", "number"),
        ("1,200%", "number"), ("1,200, 1,300", "list"), ("3,000 m, 4,000 m", "list"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "list"), ("2x + 1", "formula"), ("x < 5", "formula"),
        ("Evelyn", "words"), ("the left one", "words"), ("C", "words"), ("odd", "words"),
    ],
)  # fmt: skip
def test_a_true_answer_has_a_shape(truth, shape):
    assert equivalence.shape(truth) == shape


@pytest.mark.parametrize(
    ("truth", "said", "verdict"),
    [
        ("x^2-3<0", "x^2<3", True), ("x^2-3<0", "3>x^2", True), ("x^2-3<0", "x^2<4", False),
        ("x^2-3<0", "x^2>3", False), (r"x \le 4", r"2x \le 8", True), ("x < 5", "-x > -5", True),
    ],
)  # fmt: skip
def test_inequalities_are_the_same_but_for_a_factor(truth, said, verdict):
    assert equivalence.same(truth, said) is verdict
