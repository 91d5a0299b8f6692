"""What benchmarks of multiple choice share: options under letters, VLMEvalKit's way, our reading.

The functions of a row want `question`, `choices` (a list, or options under their letters) and
`answer`, the right letter.
"""

from collections.abc import Mapping

from tasks.data import Row
from tasks.grading import extract, vlmevalkit
from tasks.judging import UNPARSED, Judging, Reading

REQUEST = "\nAnswer with the option's letter from the given choices directly."
"""LLaVA's, as lmms-eval has it too."""


def options(row: Row) -> dict[str, str]:
    """Return the options of a row under their letters, none where it has none."""
    given = row["choices"] or ()
    return dict(given) if isinstance(given, Mapping) else vlmevalkit.lettered(given)


def listed(choices: Mapping[str, str], form: str = "{}. {}") -> str:
    """Return options one a line.

    >>> print(listed({"A": "cat", "B": "dog"}, "({}) {}"))
    (A) cat
    (B) dog
    """
    return "\n".join(form.format(letter, text) for letter, text in choices.items())


def to_prompt_vlmevalkit(row: Row) -> str:
    """Return VLMEvalKit's prompt, with the row's hint if it has one."""
    hint = row.get("hint") or None
    return f"<image>{vlmevalkit.mcq_prompt(row['question'], options(row), hint)}"


def by_vlmevalkit(row: Row, text: str, *, head: bool = False) -> Judging:
    """Match with the options."""
    return (
        yield from vlmevalkit.choose(row["question"], options(row), row["answer"], text, head=head)
    )


def robust(row: Row, text: str) -> Reading:
    """Read a letter or an option's text."""
    return read(options(row), row["answer"], text)


def read_yes_no(answer: str, text: str) -> Reading:
    """Read yes or no, in small letters, and compare it with the right one of the two."""
    said = extract.read_yes_no(text)
    return UNPARSED if said is None else (said, said == answer.lower())


def read(choices: Mapping[str, str], answer: str, text: str) -> Reading:
    """Read a letter or an option's text, and compare the letter with the right one."""
    letter = extract.read_choice(text, choices)
    return UNPARSED if letter is None else (letter, letter == answer)
