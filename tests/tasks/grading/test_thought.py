"""The answer begins where the last thought is closed, whoever opened it, in every family."""

import doctest
import time

import pytest

from tasks.grading import extract, thought

FAMILIES = [
    ("<think>", "</think>"),
    ("<Think>", "</Think>"),
    ("<THINKING>", "</THINKING>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<analysis>", "</analysis>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("Here is my thought process:", "Here is my response:"),
]
HINT = "\nThe side is 8, so the answer is (D).\nBut wait, that is the diagonal.\n"


def test_the_examples_in_the_docstrings_hold():
    result = doctest.testmod(thought)
    assert result.failed == 0
    assert result.attempted > 3


@pytest.mark.parametrize(("opening", "closing"), FAMILIES)
def test_only_what_follows_the_closing_mark_is_the_answer(opening, closing):
    options = ["2", "4", "6", "8"]
    for said in ("B", "\n\nThe answer is B.", "4", "Therefore it must be 4."):
        assert extract.read_choice(f"{opening}{HINT}{closing}\n{said}", options) == "B"
        assert extract.read_choice(f"{HINT}{closing}{said}", options) == "B"
    assert extract.read_choice(f"{opening}{HINT}", options) is None
    assert extract.read_choice(f"{opening}{HINT}{closing}", options) is None
    assert not extract.stated(opening + HINT)


@pytest.mark.parametrize(("opening", "closing"), FAMILIES)
def test_a_thought_that_is_open_can_be_closed_with_its_familys_mark(opening, closing):
    mark = thought.closing(opening + HINT)
    assert mark is not None and closing.casefold().endswith(mark.casefold())
    assert thought.after_thinking(f"{opening}{HINT}{mark} 7") == "7"
    assert thought.closing(f"{opening}{HINT}{mark} 7") is None


def test_channels_whose_special_tokens_were_left_out_are_told_by_their_names():
    said = "analysisThe side is 8, so D? No.assistantfinalThe answer is B."
    assert thought.after_thinking(said) == "The answer is B."
    assert thought.after_thinking("analysisThe side is 8, so the answer is D.") is None
    assert (
        thought.after_thinking("analysis of the figure gives B") == "analysis of the figure gives B"
    )


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("[INST] hi [/INST][THINK]", "[THINK]"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),  # thinking is switched off
        ("Write <think> first.\nassistant:", ""),
        ("", ""),
    ],
)
def test_a_template_opens_a_thought_at_the_end_of_its_prompt(prompt, mark):
    assert thought.opening(prompt) == mark


@pytest.mark.parametrize(
    "piece", ["<", "<think", "<think>", "</think>", "assistant", "[", "<aaaaaaaa"]
)
def test_marks_are_found_in_linear_time(piece):
    text = piece * (10**6 // len(piece))
    began = time.perf_counter()
    thought.after_thinking(text)
    assert time.perf_counter() - began < 2
