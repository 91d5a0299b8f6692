"""Options under their letters, and which of them is read."""

import doctest

import published
import pytest

from tasks import multiple_choice
from tasks.grading import vlmevalkit
from tasks.judging import UNPARSED


def test_the_examples_hold():
    assert doctest.testmod(multiple_choice).failed == 0


def test_options_have_letters_whatever_form_they_lie_in():
    assert multiple_choice.options({"choices": ["cat", "dog"]}) == {"A": "cat", "B": "dog"}
    assert multiple_choice.options({"choices": {"A": "cat", "D": "dog"}}) == {
        "A": "cat",
        "D": "dog",
    }
    assert multiple_choice.options({"choices": None}) == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [("It is B.", ("B", True)), ("the dog", ("B", True)), ("A", ("A", False)), ("?", UNPARSED)],
)
def test_a_letter_or_the_text_of_an_option_is_read(text, found):
    row = {"choices": ["cat", "dog"], "answer": "B"}
    assert multiple_choice.robust(row, text) == found


@pytest.mark.parametrize("name", [*published.files("mathv_test"), *published.files("mmmu_val")])
def test_letters_are_matched_as_by_vlmevalkit_of_2025_and_2026(name):
    matched = [one for one in published.records(name) if "vlmevalkit_prefetch" in one]
    assert len(matched) > 100
    for record in matched:
        # A short answer stands as option A.
        choices = vlmevalkit.lettered(record["choices"] or [str(record["answer"]), "Other Answers"])
        for version, head in (("2025", False), ("head", True)):
            expected = record["vlmevalkit_prefetch"]
            expected = expected.get(version, expected.get("both")) or None
            found = vlmevalkit.can_infer(record["response"], choices, head=head)
            assert found == expected, (record["id"], version)
