"""Hostile texts: runs of brackets, digits, backslashes and half-open marks, up to a million signs.

Each reader answers within a second of processor time, and never fails.
"""

import itertools
import random
import time

import pytest

import tasks
from tasks.grading import extract

PIECES = [
    "(", "[", "{", r"\{", ")", "((a", "[1,", "$", "$1", r"\(", r"\[", "\\", "\\\\", r"\frac",
    r"\frac{1}", r"\boxed{", r"\boxed{1} ", r"\text{", r"\left(", r"\sqrt{", r"\begin{matrix}1",
    "9", "1 ", "1,", "1.", "0.1\n", "-", "- 1", "9^", "99^{999}", "1/", "1e9", "1e999 ", "x",
    "x = ", "2x + ", "=", "= 1 ", "<", "<b", ">", "|", "A", "A ", "A, ", "(A) ", "A or ", "A.\n",
    "option A ", "B is ", "I ", " ", "\n", "\n\n", ". ", "! ", "?", "a ", "not ", "no ", "than ",
    "between ", "or ", "and ", "if ", "is ", "the ", "answer", "answer is ", "Answer:",
    "The answer is A.\n", "The answer is 5. Wait, ", "wait, ", "so ", "**", "**1** ", "`", '"',
    '{"answer":', '{"answer": "', "####", "#### 1\n", "<answer>", "<think>", "</think>",
    "[THINK]", "cm^", "12 cm^2 ", "one hundred ", "twenty-", "minus ", "million ", "half of ",
    "½", "²", "∞", "答案", "选", "\u200b", "\x00", "\ud800", "e\u0301", "Question: 1\n", "1:2",
    "1-2 ", "yes ", "no, ", "yes/no ", "1st ", "a_", "^{2}", "°", "%", "!", "…", "- A\n",
    "A: no. ", "C ✅ ", "| A | 1 | yes |\n",
    "although x, ", "负1", "1万", "€1 ", "1'000", "**C**\n",
    "respuesta ", "정답: ", "in 2019, 5 ", "and since x, ", "C\nExplanation: ", "there are no x ",
]  # fmt: skip
OPTIONS = ["22", "40 cm", r"$\frac{1}{2}$", "the left one", "Yes"]
TRUTHS = ["3", r"\frac{\sqrt{3}}{2}", "x^2+1", "[1, 2]", "cat", r"(1,2)\cup(3,4)"]


def texts(size):
    """Each piece again and again; pairs and mixtures of them; all closed or left open."""
    chance = random.Random(size)
    for piece in PIECES:
        yield piece * (size // len(piece))
    for first, second in itertools.islice(
        zip(PIECES, chance.sample(PIECES, len(PIECES)), strict=True), 60
    ):
        half = size // 2
        yield first * (half // len(first)) + second * (half // len(second))
        yield (first + second) * (size // len(first + second))
    for _ in range(20):
        yield "".join(chance.choices(PIECES, k=size // 4))[:size]
    for opening, closing in (
        ("(", ")"),
        ("[", "]"),
        ("{", "}"),
        ("\\boxed{", "}"),
        ("\\frac{", "}{2}"),
    ):
        yield opening * (size // 8) + "1" + closing * (size // 8)


def read_all(text):
    yield "choice", lambda: extract.read_choice(text, OPTIONS)
    yield "letters", lambda: extract.read_choice(text, dict.fromkeys("ABCDE", ""))
    yield "several letters", lambda: extract.read_choices(text, "ABCDEFGHI")
    for truth in TRUTHS:
        yield truth, lambda truth=truth: extract.read_value(text, truth)
    yield "yes or no", lambda: extract.read_yes_no(text)
    yield "stated", lambda: extract.stated(text)


def seconds(read):
    began = time.process_time()
    read()
    return time.process_time() - began


def too_long(said, readers):
    """Which of the readers take more than a second of the processor for a text."""
    for what, read in itertools.islice(read_all(said), readers):
        # The second time is for garbage of other tests, collected during the first.
        if (spent := seconds(read)) > 1 and (spent := seconds(read)) > 1:
            yield what, said[:40], len(said), round(spent, 1)


@pytest.mark.parametrize(("size", "readers"), [(300, 11), (3_000, 11), (100_000, 2)])
def test_no_text_takes_a_second(size, readers):
    assert [slow for said in texts(size) for slow in too_long(said, readers)] == []


@pytest.mark.parametrize("size", [300, 5_000])
def test_no_truth_option_or_question_takes_a_second(size):
    chartqa, pope = tasks.load("chartqa"), tasks.load("pope")
    slow = []
    for odd in texts(size):
        chart = {"answer": odd, "metadata": {"type": "human"}}
        presence = {"question": f"Is there a {odd}?", "answer": "yes"}
        for read in (
            lambda odd=odd: extract.read_value(r"So it is \boxed{12}", odd),
            lambda odd=odd: extract.read_value(odd, odd),
            lambda odd=odd: extract.read_choice("So it is not 40 cm.", [odd, "40 cm", odd + "x"]),
            lambda row=chart: chartqa.verdict(row, "The answer is 12."),
            lambda odd=odd, row=presence: pope.verdict(row, f"There is a {odd}"),
        ):
            began = time.process_time()
            read()
            if time.process_time() - began > 1:
                slow.append((odd[:40], len(odd)))
    assert slow == []


@pytest.mark.parametrize("start", range(0, len(PIECES), 40))
def test_a_million_signs_take_no_second(start):
    said = [piece * (10**6 // len(piece)) for piece in PIECES[start : start + 40]]
    assert [slow for one in said for slow in too_long(one, 2)] == []


@pytest.mark.parametrize("run", ["-" * 40_000, "│   " * 12_000 + "Total │\n", "x" + "\n" * 40_000])
def test_what_is_taken_back_behind_a_long_run_takes_no_second(run):
    began = time.process_time()
    said = extract.read_value(f"{run}x. No, that is wrong. So 12.", "12")
    assert (said, time.process_time() - began < 1) == (("12", True), True)


@pytest.mark.parametrize("depth", [10, 50, 130, 190])
@pytest.mark.parametrize("brackets", ["()", "[]", "{}"])
def test_nested_lists_are_compared_without_a_stack_overflow(depth, brackets):
    nested = brackets[0] * depth + "1, 2" + brackets[1] * depth
    for truth in ("[1, 2]", "(1, 2)", "3", nested):
        for said in (nested, rf"\boxed{{{nested}}}", f"The answer is ${nested}$."):
            assert extract.read_value(said, truth)[1] in (True, False, None)
