import json

import places
import pytest

from tasks.grading import vlmevalkit
from tasks.judging import UNPARSED, settle

VECTORS = places.SHARED / "parity/open/rule_vectors.json"


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


def _requests(judging, replies):
    """Drive a verdict; return the requests it made, and its reading."""
    made, given = [], iter(replies)
    try:
        made.append(next(judging))
        while True:
            made.append(judging.send(next(given)))
    except StopIteration as end:
        return made, end.value


def test_a_judge_is_asked_only_where_the_rules_read_nothing():
    made, reading = _requests(vlmevalkit.choose("Which?", {"A": "cat", "B": "dog"}, "B", "B"), [])
    assert (made, reading) == ([], ("B", True))


def test_a_judge_matches_the_answer_with_an_option():
    choices = {"A": "cat", "B": "dog"}
    judging = vlmevalkit.choose("Which animal", choices, "B", "the one that barks")
    made, reading = _requests(judging, ["I cannot say", "B"])
    assert reading == ("B", True)
    assert [request.attempt for request in made] == [0, 1]
    assert made[0].temperature == 0
    assert made[0].prompt.endswith(
        "Answer: Spider\nYour output: Z\nExample 3: \nQuestion: Which animal?\n"
        "Options: There are several options: \nA. cat\nB. dog\n\n"
        "Answer: the one that barks\nYour output: "
    )


def test_three_useless_replies_leave_it_open_where_vlmevalkit_draws_a_letter():
    judging = vlmevalkit.choose("Which?", {"A": "cat", "B": "dog"}, "B", "that one")
    made, reading = _requests(judging, ["?", "?", "?"])
    assert (len(made), reading) == (3, UNPARSED)


def test_a_judge_that_matches_no_option_makes_it_wrong():
    judging = vlmevalkit.choose("Which?", {"A": "cat", "B": "dog"}, "B", "that one")
    assert _requests(judging, ["Z"])[1] == ("Z", False)


def test_yes_or_no_is_asked_five_times_ever_warmer_and_then_unknown_is_wrong():
    judging = vlmevalkit.say_yes_no("Is it red", "No", "It is blue")
    made, reading = _requests(judging, ["Unknown"] * 5)
    assert [request.temperature for request in made] == [0, 0.5, 1, 1.5, 2]
    assert made[0].prompt.endswith("Question: Is it red?\nAnswer: It is blue\nYour output: ")
    assert reading == ("Unknown", False)


def test_without_a_judge_what_the_rule_cannot_read_is_open():
    def verdict(row, text):
        return vlmevalkit.say_yes_no(row["question"], row["answer"], text)

    row = {"question": "Is it red", "answer": "No"}
    assert settle(verdict, row, "It is blue") == (UNPARSED, False)
    assert settle(verdict, row, "no, blue") == (("No", True), False)
