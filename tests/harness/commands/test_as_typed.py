"""What Python gives for options becomes what a command line would have made of it."""

from pathlib import Path

import pytest

from harness.commands import as_typed
from harness.commands.compare import compare
from harness.commands.evaluate import evaluate


def parsed(**given):
    context = as_typed.context_of(evaluate)
    as_typed.parse(context, ["-vlm"], {"tasks": "pocket", "out": "o", **given})
    return context.params


@pytest.mark.parametrize(
    ("given", "option", "taken"),
    [
        ({}, "checkpoints", ["-vlm"]),
        ({}, "out", Path("o")),
        ({"out": Path("o")}, "out", Path("o")),
        ({"tasks": ("pocket", "gsm8k")}, "tasks", "pocket,gsm8k"),
        ({"limit": "2"}, "limit", 2),
        ({"limit": None}, "limit", None),
        ({"max-tokens": 5}, "max_tokens", 5),
        ({"temperature": 1}, "temperature", 1.0),
        ({"temperature": 0.1}, "temperature", 0.1),
        ({"endpoint": "http://h/v1"}, "endpoint", ["http://h/v1"]),
        ({"endpoint": ["http://h/v1", "http://i/v1"]}, "endpoint", ["http://h/v1", "http://i/v1"]),
        ({"template_args": "a=true"}, "template_args", ["a=true"]),
        ({"checkpoint": "w"}, "checkpoint", Path("w")),
        ({"overwrite": True}, "overwrite", True),
        ({"overwrite": False}, "overwrite", False),
        ({}, "seed", 0),
    ],
)
def test_each_value_is_that_of_its_option(given, option, taken):
    found = parsed(**given)[option]
    assert (list(found) if isinstance(taken, list) else found) == taken


def test_what_is_not_given_is_left_to_the_command():
    context = as_typed.context_of(compare)
    assert as_typed.checked(context, {"groups": None, "metric": "maj"}) == {"metric": "maj"}
