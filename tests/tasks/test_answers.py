import doctest
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import answers


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(answers)
    assert result.failed == 0
    assert result.attempted > 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", "7"),
        ("<think>3 + 4</think>7", "7"),
        ("3 + 4</think> 7 ", "7"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a</think>b<think>c", None),
        ("<think>", None),
        ("<think>a</think>", ""),
        ("", ""),
    ],
)
def test_after_thinking_returns_what_follows_the_last_closed_thought(text, expected):
    assert answers.after_thinking(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{1} and \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
        (r"\boxed{done} then \boxed{cut off", "done"),
        (r"\boxed{}", ""),
        ("boxed{7}", None),
        ("no box", None),
    ],
)
def test_boxed_reads_the_last_complete_box(text, expected):
    assert answers.boxed(text) == expected


@pytest.mark.parametrize(
    "text", ["B", "b", "B.", "(B)", "[B]", "**B**", "$B$", "<<B>>.", "B)", "B) 12", "(B) 12 cm",
             "B. twelve", "B: twelve", "The answer is B.", "answer: (B)", "Option B", "choice is B",
             r"\text{B}", r"\textbf{B}", r"$\mathbf{(B)}$"],
)  # fmt: skip
def test_a_letter_in_many_dresses_is_read(text):
    assert answers.option_letter(text) == "B"


@pytest.mark.parametrize(
    "text", ["", "A triangle", "A, C", "B or C", "BC", "Because", "F", "12", "Both", "I think B",
             "not A", "Bravo.", "B-12"],
)  # fmt: skip
def test_a_text_that_names_no_single_option_is_not_read(text):
    assert answers.option_letter(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        ("-12", -12),
        ("−12", -12),
        ("+3", 3),
        ("1,234,567", 1234567),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("8.0", 8),
        ("3/4", Fraction(3, 4)),
        (r"\dfrac{3}{4}", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        ("$12$.", 12),
        (r"\$12", 12),
        ("50%", 50),
        (r"90^{\circ}", 90),
        ("90°", 90),
        ("1e3", 1000),
        ("12 cm", None),
        ("3, 4", None),
        ("1,23", None),
        ("12,3456", None),
        ("1/0", None),
        (r"\frac{1}{0}", None),
        ("1e999999999", None),
        ("", None),
        (".", None),
        ("-", None),
        ("1:2", None),
        ("nan", None),
        ("infinity", None),
        ("twelve", None),
    ],
)
def test_number_reads_exactly_or_not_at_all(text, expected):
    assert answers.number(text) == expected


@given(st.fractions())
def test_every_fraction_reads_back(value):
    assert answers.number(f"{value.numerator}/{value.denominator}") == value
    sign = "-" if value < 0 else ""
    latex = rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    assert answers.number(latex) == value


@given(st.text())
def test_no_text_makes_a_reader_fail(text):
    answers.final(text)
    answers.boxed(text)
    answers.number(text)
    answers.option_letter(text)
    assert answers.same_value(text, text) in (True, False)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("12", "120", False),
        ("25", "5", False),
        ("0.3333", "1/3", False),
        ("(1, 2)", "(1,2)", True),
        (r"$5\sqrt3$", r"5\sqrt3", True),
        ("Cylinder", "cylinder.", True),
        ("12", "twelve", False),
        ("", "", False),
    ],
)
def test_same_value_compares_numbers_by_value_and_words_by_letters(a, b, same):
    assert answers.same_value(a, b) is same
    assert answers.same_value(b, a) is same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"Thus \boxed{B}. The answer is C.", "B"),
        ("The answer is 12.\nI checked it.", "12."),
        ("Answer: A\nNo. Answer: B", "B"),
        ("<Answer>:<<C>>.", "<<C>>."),
        ("**Answer:** D", "** D"),
        ("答案 Answer： D", "D"),
        ("3 + 4 = 7\n7", "7"),
        ("<think>The answer is 3</think>4", "4"),
        ("<think>The answer is 3", None),
        ("", None),
        (r"\boxed{}", None),
        ("The answer is", None),
    ],
)
def test_final_finds_where_the_answer_stands(text, expected):
    assert answers.final(text) == expected
