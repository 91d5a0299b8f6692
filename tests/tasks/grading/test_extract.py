import doctest
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.grading import amounts, choices, extract, quantities, sentences, spelling, values
from tasks.grading.places import places


@pytest.mark.parametrize(
    "module", [amounts, choices, extract, quantities, sentences, spelling, values]
)
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0


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
    assert extract.after_thinking(text) == expected


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
    assert extract.boxed(text) == expected


@pytest.mark.parametrize(
    "text", ["B", "b", "B.", "(B)", "[B]", "**B**", "$B$", "<<B>>.", "B)", "B) 12", "(B) 12 cm",
             "B. twelve", "B: twelve", "The answer is B.", "answer: (B)", "Option B", "choice is B",
             r"\text{B}", r"\textbf{B}", r"$\mathbf{(B)}$"],
)  # fmt: skip
def test_a_letter_in_many_dresses_is_read(text):
    assert extract.read_choice(text, dict.fromkeys("ABCDE", "")) == "B"


@pytest.mark.parametrize("text", ["", "A triangle", "A, C", "B or C", "BC", "not A", "Because"])
def test_a_text_that_names_no_single_option_is_not_read(text):
    assert extract.read_choice(text, dict.fromkeys("ABCDE", "")) is None


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
    assert extract.number(text) == expected


@given(st.fractions())
def test_every_fraction_reads_back(value):
    assert extract.number(f"{value.numerator}/{value.denominator}") == value
    sign = "-" if value < 0 else ""
    latex = rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"
    assert extract.number(latex) == value


@given(st.text())
def test_no_text_makes_a_reader_fail(text):
    extract.boxed(text)
    extract.number(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"Thus \boxed{B}. The answer is C.", "B"),
        ("The answer is 12.\nI checked it.", "12."),
        ("Answer: A\nNo. Answer: B", "B"),
        ("<Answer>:<<C>>.", "<<C>>."),
        ("**Answer:** D", "D"),
        ("**Answer:**\n\n**D**", "D"),
        ("答案 Answer： D", "D"),
        ("3 + 4 = 7\n7", "7"),
        ("<think>The answer is 3</think>4", "4"),
        ("<think>The answer is 3", None),
        ("", None),
        (r"\boxed{}", None),
        ("The answer is", "The answer is"),
    ],
)
def test_the_first_place_is_where_the_answer_stands(text, expected):
    assert next((place.text for place in places(text)), None) == expected


OPTIONS = ["22", "40", "44", "48"]
YES_NO = ["Yes", "No"]
WORDS = ["shortage", "surplus"]
SIDES = ["The dog is left of the cat", "The cat is left of the dog"]
CHAINS = ["grass → rabbit → fox", "fox → rabbit → grass"]
COLOURS = ["red and green", "red", "red, green and blue"]
ORDERS = [
    r"$\Delta, \square, \bullet$",
    r"$\Delta, \bullet, \square$",
    r"$\bullet, \Delta, \square$",
]
HALVES = [r"$\pi$", r"$3 \pi$", r"$\frac{\pi}{2}$", r"$2 \pi$"]
SINGLES = ["B", "C", "D", "E", "No correct answer"]
NO_TEXTS = dict.fromkeys("ABCDE", "")
MATHS = [r"$\frac{1}{3}$", r"$2\sqrt{3}$", r"$3\sqrt{2}$", "12.5", "$5 \\mathrm{~cm}$"]


@pytest.mark.parametrize(
    ("options", "text", "letter"),
    [
        # letters
        (NO_TEXTS, "The answer is C 64TWH. BECAUSE:.", "C"),
        (NO_TEXTS, "The rule that has to be applied is option D.", "D"),
        (NO_TEXTS, "The answer is (B), since (A) is too small.", "B"),
        (NO_TEXTS, "Let us see.\nAnswer: **B**", "B"),
        (NO_TEXTS, "<Thought process>: x\n<Answer>:<<C>>.", "C"),
        (NO_TEXTS, "<answer>D</answer>", "D"),
        (NO_TEXTS, "**Final Answer**\n\nE", "E"),
        (NO_TEXTS, "\\[\n\\text{Answer: C}\n\\]", "C"),
        (NO_TEXTS, r"So the answer is \boxed{\text{(C)}}.", "C"),
        (NO_TEXTS, "所以答案是：D", "D"),
        (NO_TEXTS, "因此，BE的长为1，选项A是正确答案。", "A"),
        (NO_TEXTS, "B\n\nIt is the only figure with four sides.", "B"),
        (NO_TEXTS, "The answer to your question is (A). I hope this helps!</s>", "A"),
        # a letter with its text, with that of another, and alone
        (OPTIONS, "So the answer is (B) 40.", "B"),
        (OPTIONS, "So the answer is (B) 22.", None),
        (OPTIONS, "**(A) 22**", "A"),
        (YES_NO, "The answer is B (No).", "B"),
        (["D", "C", "B", "A"], "Answer: D", "D"),
        (["B", "A"], "Answer: (A) B", "A"),
        # texts and values
        (OPTIONS, "12 m + 12 m + 10 m + 10 m = 44 m", "C"),
        (OPTIONS, "The perimeter is about 44.0 cm.", "C"),
        (OPTIONS, r"\boxed{48 \text{ m}}", "D"),
        (MATHS, r"\boxed{\frac{\sqrt{12}}{1}}", "B"),
        (MATHS, "3√2", "C"),
        (MATHS, "$5 cm$", "E"),
        (WORDS, "Since demand is lower, there is a surplus.", "B"),
        (WORDS, "There is a shortage, as supply is not enough.", "A"),
        (WORDS, "There is no surplus.", None),
        (WORDS, "shortage or surplus", None),
        (YES_NO, "Yes, the sandwich is cut in half.", "A"),
        (YES_NO, "No, it is whole.\n\nThe answer is A.", "A"),
        (["Person A", "Person B"], r"\boxed{A}", "A"),
        (SIDES, "The cat is left of the dog.", "B"),
        (SIDES, "The answer is: The dog is left of the cat.", "A"),
        (SIDES, r"\boxed{\text{The cat is left of the dog}}", "B"),
        (CHAINS, "The answer is fox → rabbit → grass.", "B"),
        (["x > y", "y > x"], "$y > x$", "B"),
        (["Uniform / Soft", "Soft / Uniform"], "Soft / Uniform", "B"),
        (ORDERS, r"\boxed{$\bullet, \Delta, \square$}", "C"),
        (COLOURS, "green and red", "A"),
        (COLOURS, "Only red", "B"),
        (HALVES, r"\boxed{\text{C. $\frac{\pi}{2}$}}", "C"),
        (HALVES, r"\boxed{\textbf{(C) $\frac{\pi}{2}$}}", "C"),
        (SINGLES, "The answer is (E) No correct answer.", "E"),
        (["≤", "≥", "="], r"\boxed{\leq}", "A"),
        (["∞", "0", "1", "-1"], r"\boxed{\infty}", "A"),
        (["<", ">", "="], r"\boxed{\gt}", "B"),
        (["5 mW", "5 MW"], "5 MW", "B"),
        (["Aa", "AA"], "AA", "B"),
        (["x", "y"], r"\boxed{y}", "B"),
        # stated, and none of the options
        (OPTIONS, r"\boxed{36}", "none"),
        (OPTIONS, "The answer is F.", "none"),
        (OPTIONS, r"It is \boxed{36}. Therefore the answer is (C).", "C"),
        # nothing, or several
        (NO_TEXTS, "A, C", None),
        (NO_TEXTS, "A or B", None),
        (NO_TEXTS, "(A) Left, (B) Right, (C) Up, (D) Down", None),
        (NO_TEXTS, "A) 1\nB) 2\nC) 4\nD) 8", None),
        (NO_TEXTS, "A triangle has three sides.", None),
        (
            YES_NO,
            "If it is wider, the answer is (A). Otherwise the answer is (B). I can't tell.",
            None,
        ),
        (OPTIONS, "The value of x cannot be determined without more information.", None),
        (OPTIONS, "Sorry, I cannot help with images of people.", None),
        (OPTIONS, "", None),
        # the thought, and what comes after the answer
        (NO_TEXTS, "<think>The answer is A.</think> The answer is B.", "B"),
        (NO_TEXTS, "<think>The answer is A.", None),
        (NO_TEXTS, "The answer is A. <think> no: the answer is B", None),
        (YES_NO, "The answer is B.\n\nQuestion: How many edges?\n\nThe answer is A.", "B"),
    ],
)
def test_read_choice(options, text, letter):
    assert extract.read_choice(text, options) == letter


@pytest.mark.parametrize(
    ("truth", "text", "said", "right"),
    [
        ("5", "So the answer is 5", "5", True),
        ("5", "9 dots ÷ 3 groups = 3 dots\n\nThere are 3 dots in each group.", "3", False),
        (
            "30",
            "The highest is 41%, the lowest 11%. So the difference is 41 - 11 = **30** points.",
            "30",
            True,
        ),
        (
            "1970",
            "It was lower than 0.2% in **1970**.\n\nIn no other year was it so low.",
            "1970",
            True,
        ),
        ("-2", "So the change is -$2 per day.\n\nMy final answer is: -2", "-2", True),
        ("3", "In the figure, there are three potential maskers.", "three", True),
        ("13", "The age gap is 13 years, with one man being 60 years old.", "13 years", True),
        (r"\frac{1}{2}", "The ratio is 1/2.", "1/2", True),
        (r"25\pi", r"so the area is \(\pi r^2 = \pi (5)^2 = 25\pi\).", r"25\pi", True),
        ("23", "Janet sells 9 eggs.\n#### 23", "23", True),
        ("72", "The answer is 72 because 48 + 24 = 72.", "72", True),
        ("72", "The answer is 48 + 24 = 72.", "72", True),
        ("1.4", r"\boxed{1.414}", "1.414", False),
        ("[2014, 2016]", "The years are [2014, 2016].", "[2014, 2016]", True),
        ("2x + 1", "Hence $f(x) = 1 + 2x$.", "f(x) = 1 + 2x", True),
        ("Evelyn", r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", True),
        ("Evelyn", "The answer is Evelyn, because she ran.", "Evelyn, because she ran.", True),
        ("1,-2", r"so $x$ is \boxed{1} or \boxed{-2}", "1, -2", True),
        ("Nov 29, 21", "The answer is Nov 29, 21.", "Nov 29, 21.", True),
        ("meta, base, 0.1", "The labels are meta, base, 0.1.", "meta, base, 0.1.", True),
        ("meta, base, 0.1", "meta, base, 0.2", "meta, base, 0.2", False),
        ("2 or 3", r"\boxed{2, 3}", "2, 3", True),
        ("20°C", "The temperature is 20 degrees Celsius.", None, True),
        ("20°C", "The temperature is 20 degrees Fahrenheit.", None, False),
        ("72 degrees", "It is 72°F.", None, True),
        ("3 hours, 4 hours", "They took 3 hours and 4 hours.", None, True),
        ("1 meter, 2 meters", "They are 2 meters and 1 meter long.", None, True),
        ("3 hours, 4 hours", "They took 3 hours and 5 hours.", None, False),
        ("5 apples and 3 pears", "They ate 3 apples and 5 pears.", None, None),
        # not what is asked
        ("12", "The answer is 12 or 13.", None, None),
        ("158", "The total is **158 + LK**.", None, None),
        ("4", "There are 4 green balls and 4 red ones left.", None, None),
        ("2", "Two men are shown. The gap between them is around 10 to 15 years.", None, None),
        ("10", "It is impossible to say whether it is 10.", None, None),
        ("10", "I am sorry, but I can't answer that.", None, None),
        ("10", "N/A", None, None),
        ("10", "", None, None),
        ("10", r"\boxed{10", None, None),
        ("10", "<think> The answer is 10", None, None),
        ("10", "<think> The answer is 10 </think>", None, None),
        ("10", "<think> 12 </think> The answer is 10", "10", True),
        ("10", r"\boxed{9**9**9**9}", None, None),
    ],
)
def test_read_value(truth, text, said, right):
    found = extract.read_value(text, truth)
    assert found[1] is right
    if said is not None:
        assert found[0] == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "yes"),
        ("NO.", "no"),
        ("**No**, it is not.", "no"),
        ("The answer is yes.", "yes"),
        (r"\boxed{\text{No}}", "no"),
        ("Yes, I see no problem.", "yes"),
        ("Let me look.\nSo, no.", "no"),
        ("<think>yes</think>no", "no"),
        ("Yes. The dog is on the sofa.", "yes"),
        ("No, both lines are equal. It is an illusion.", "no"),
        ("No.\n\nThe picture shows a cat.", "no"),
        ("Yes. No doubt about it.", "yes"),
        ("No, that is incorrect. The two lines are the same length.", "no"),
        ("**Answer:**\n\nNo, that's wrong.", "no"),
        ("Yes. Hmm, that's wrong. No.", "no"),
        ("The lines are equal. No, that is wrong.", None),
        ("Yes, it is. Then again, no.", None),
        ("Yes. However, it cannot be determined.", None),
        ("The circle is red. No doubt about it.", None),
        ("No one is there. The room is empty.", None),
        ("No it isn't. The two differ.", "no"),
        ("<think>yes", None),
        ("yes or no", None),
        ("There is a car.", None),
        ("There is no car.", None),
        ("Nothing. Note that I know.", None),
        ("", None),
    ],
)
def test_read_yes_no(text, said):
    assert extract.read_yes_no(text) == said
