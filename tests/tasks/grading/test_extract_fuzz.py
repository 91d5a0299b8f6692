"""The readers on texts that no one wrote: they never fail, and what is stated is read back.

Examples are a fixed sequence (derandomize), so that a failure is a failure everywhere. There is no
clock here: the readers bound their work by the length and shape of a text.
"""

import string
from fractions import Fraction

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.grading import equivalence, expressions, extract

fixed = settings(derandomize=True, deadline=None)

OPTIONS = ["22", "40 cm", r"$\frac{1}{2}$", "the left one", "Yes"]
TRUTHS = ["3", r"\frac{1}{2}", "x+1", "[1, 2]", "cat", "(1,2)", r"x=\pm 2", "1<x<2", "50%", "y=2x"]

PIECES = st.sampled_from(
    [
        "The answer is ", "Answer: ", "Therefore, ", "so ", "(A)", "B", "C.", "(B) 40", "A or B",
        "No, ", "12", "-3.5", "1/2", r"\frac{1}{2}", r"\boxed{", r"\boxed{7}", "{", "}", "$", r"\(",
        r"\)", "**", "<think>", "</think>", "\n", ". ", "= ", "x", r"\sqrt", "^", "_", "%", "°",
        " cm", "not ", "yes", "cannot be determined", "Question:", "####", "9**9**9", "[1, 2]",
        ", ", "\\", "é", "\u200b",
        "\x00", "\ud800", "答案", "１２", "½", "and ", "if ", "|", "!", "e9", "…",
    ]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=30).map("".join))


def read_all(text):
    return (
        extract.read_choice(text, OPTIONS),
        extract.read_choice(text, dict.fromkeys("ABCD", "")),
        *(extract.read_value(text, truth) for truth in TRUTHS),
        extract.read_yes_no(text),
    )


NOTHING = (None, None, *[(None, None)] * len(TRUTHS), None)


@fixed
@given(TEXTS)
def test_no_text_makes_a_reader_fail(text):
    one, two, *values, word = read_all(text)
    assert one in ("A", "B", "C", "D", "E", extract.NO_OPTION, None)
    assert two in ("A", "B", "C", "D", extract.NO_OPTION, None)
    assert word in ("yes", "no", None)
    for said, right in values:
        assert (said is None and right is None) or (
            isinstance(said, str) and right in (True, False)
        )


@fixed
@given(TEXTS, TEXTS)
def test_a_thought_changes_nothing_and_an_open_one_is_never_read(thought, text):
    assume("think>" not in thought + text)
    spoken = read_all(text)
    assert read_all(f"<think>{thought}</think>{text}") == spoken
    assert read_all(f"{thought}</think>\n\n{text}") == spoken
    assert read_all(f"<think>{text}") == NOTHING
    assert read_all(f"{thought}<think>{text}") == NOTHING


@fixed
@given(st.text(max_size=60), st.text(max_size=60))
def test_comparing_two_texts_never_fails_and_a_text_is_the_same_as_itself(a, b):
    assert equivalence.same(a, b) in (True, False, None)
    assert equivalence.same(a, a) in (True, None)


SENTENCES = st.sampled_from(
    [
        "{}", "{}.", "The answer is {}.", "So, the answer is {}", "Answer: {}", "**Answer:** {}",
        "Final answer: **{}**", r"\boxed{{{}}}", r"Therefore, $x = \boxed{{{}}}$.",
        "<answer>{}</answer>", "We add and divide.\n\nTherefore, the result is {}.", "#### {}",
        "The correct answer is {}",
        "<think>It is 99, or (E).</think>The answer is {}.",
    ]
)  # fmt: skip


@st.composite
def written(draw):
    """Return a number, and one way to write it."""
    value = draw(
        st.one_of(
            st.integers(-(10**7), 10**7).map(Fraction),
            st.builds(Fraction, st.integers(-999, 999), st.integers(1, 999)),
            st.integers(-(10**6), 10**6).map(lambda n: Fraction(n, 1000)),
        )
    )
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    ways = []
    if bottom == 1:
        ways += [
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top}.0",
            f"{sign}{top} cm",
            f"${sign}{top}$",
        ]
        ways += [rf"{sign}{top}\text{{ apples}}", f"{sign}{top}%", f"−{top}" if sign else f"{top}°"]
    else:
        ways += [f"{sign}{top}/{bottom}", rf"{sign}\frac{{{top}}}{{{bottom}}}"]
        ways += [
            rf"$-\dfrac{{{top}}}{{{bottom}}}$" if sign else rf"\(\tfrac{{{top}}}{{{bottom}}}\)"
        ]
        if top > bottom:
            whole, rest = divmod(top, bottom)
            ways += [f"{sign}{whole} {rest}/{bottom}", rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}"]
    if 1000 % bottom == 0 and bottom > 1:
        ways += [f"{sign}{float(abs(value))}", f"{sign}{float(abs(value))} m"]
    return value, draw(st.sampled_from(ways))


def plain(value: Fraction) -> str:
    return (
        str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    )


@fixed
@given(written(), SENTENCES)
def test_a_number_is_read_back_however_it_is_written(number, sentence):
    value, way = number
    text = sentence.format(way)
    assert extract.read_value(text, plain(value))[1] is True, text
    other = plain(value + 1)
    assert extract.read_value(text, other)[1] is False, text


@fixed
@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=8), st.sampled_from(["[{}]", "({})", "{}"])
)
def test_a_list_is_read_back(numbers, brackets):
    inside = ", ".join(map(str, numbers))
    truth = f"[{inside}]"
    said = brackets.format(inside)
    assume(brackets != "({})")  # an interval, or a tuple: not for a list of Python
    assert extract.read_value(f"The answer is {said}.", truth)[1] is True
    changed = [*numbers[:-1], numbers[-1] + 1]
    assert extract.read_value(rf"\boxed{{[{', '.join(map(str, changed))}]}}", truth)[1] is False


@fixed
@given(
    st.sampled_from("ABCDE"),
    st.sampled_from(["{}", "({})", "{}.", "**{}**", "[{}]", r"\text{{{}}}", r"\textbf{{({})}}",
                     "Option {}"]),
    SENTENCES,
)  # fmt: skip
def test_a_letter_is_read_back_however_it_is_dressed(letter, dress, sentence):
    text = sentence.format(dress.format(letter))
    for options in (["1", "2", "3", "4", "5"], dict.fromkeys("ABCDE", ""), list("ABCDE")):
        assert extract.read_choice(text, options) == letter, text
    text = sentence.format(dress.format("J"))
    assert extract.read_choice(text, list("12345")) in (extract.NO_OPTION, None), text


@fixed
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=10, unique=True), st.data(), SENTENCES)
def test_an_option_is_read_by_letter_by_text_and_by_both(numbers, data, sentence):
    options = [f"{number} cm" for number in numbers]
    place = data.draw(st.integers(0, len(options) - 1))
    letter, text = string.ascii_uppercase[place], options[place]
    for said in (text, str(numbers[place]), f"({letter}) {text}", f"{letter}. {text}"):
        assert extract.read_choice(sentence.format(said), options) == letter, sentence.format(said)
    wrong = options[place - 1]
    assert extract.read_choice(sentence.format(f"({letter}) {wrong}"), options) is None


@fixed
@given(written(), written())
def test_sums_of_numbers_however_written_are_those_of_fractions(first, second):
    (a, _), (b, _) = first, second
    text = f"({plain(a)}) + ({plain(b)})"
    found = expressions.read(text)
    assert found is not None and found.value == a + b
