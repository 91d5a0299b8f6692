import json
from pathlib import Path

import pytest

from tasks import vlmevalkit

VECTORS = Path(__file__).parents[3] / "shared/parity/open/rule_vectors.json"


@pytest.fixture(scope="module")
def vectors():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not here")
    return json.loads(VECTORS.read_text())


def test_options_are_matched_as_by_vlmevalkit_of_2025_and_2026(vectors):
    cases = [case for case in vectors if case["fn"] == "option_match"]
    assert len(cases) == 81
    for case in cases:
        for head, published in ((False, "vlmevalkit_2025"), (True, "vlmevalkit_head")):
            found = vlmevalkit.can_infer(case["response"], case["choices"], head=head)
            assert found == (case[published] or None), case


def test_yes_and_no_are_read_as_by_vlmevalkit(vectors):
    cases = [case for case in vectors if case["fn"] == "yes_no"]
    assert len(cases) == 12
    for case in cases:
        assert vlmevalkit.yes_no(case["response"]) == case["vlmevalkit"], case


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("B one two three", "B"),  # the first of the last four words
        ("B one two three four", None),  # one too early
        ("B one two three four B", None),  # the first time it is named counts
        ("Failed to obtain answer via API. B", None),
        ("$B$", None),
        ("b", None),
        ("Z", "Z"),
        ("", None),
        ("12", "B"),  # the text rule
        ("the 12 and the 30", None),  # 3 stands in 30
        ("it is 12" + " " * 100, None),  # more than twice as long as all options
    ],
)
def test_the_matcher_at_its_edges(answer, found):
    assert vlmevalkit.can_infer(answer, {"A": "3", "B": "12", "C": "40", "D": "50"}) == found


def test_the_prompt_of_multiple_choice_byte_for_byte():
    assert vlmevalkit.mcq_prompt("Which?", {"A": "cat", "B": "dog"}) == (
        "Question: Which?\nOptions:\nA. cat\nB. dog\n"
        "Please select the correct answer from the options above. \n"
    )
    assert vlmevalkit.mcq_prompt("Which?", {}, hint="Look.") == "Hint: Look.\nQuestion: Which?\n"


def test_only_32_dots_are_dropped():
    assert vlmevalkit.yes_no("." * 32 + "yes") == "Yes"
    assert vlmevalkit.yes_no("." * 33 + "yes") == "Unknown"
