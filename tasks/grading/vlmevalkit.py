"""VLMEvalKit's shared rules: the multiple-choice prompt, the option matcher, the yes/no reader.

github.com/open-compass/VLMEvalKit (Apache-2.0) at cfa63b1d (2025-09-12). Its `SPLIT_THINK` is off,
so a thought goes to the matcher with the answer. Where e8e78f05 (2026-08-18) differs, the function
takes `head`. The random letter that VLMEvalKit draws after three failed judge replies is not drawn:
such an answer stays unparsed.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar

from tasks.judging import UNPARSED, Judging, Request
from tasks.published import Vectors

NO_OPTION = "Z"
"""What the matcher returns for an answer that refuses; it is never right."""

UNKNOWN = "Unknown"
"""What the yes/no reader returns when neither or both of the words are there."""

_FAILED = "Failed to obtain answer via API"

_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)

_BLANKED = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))

_SPOKEN = re.compile(r"(?:correct\s+)?answer\s+is\s+\*{0,9}([ABCD])\*{0,9}", re.IGNORECASE)


def lettered(options: Sequence[str]) -> dict[str, str]:
    """Return the options under their letters.

    >>> lettered(["cat", "dog"])
    {'A': 'cat', 'B': 'dog'}
    """
    return dict(zip(ascii_uppercase, options, strict=False))


def can_infer(answer: str, choices: Mapping[str, str], *, head: bool = False) -> str | None:
    """Return the letter an answer names, `Z` for a refusal, None if the rules do not match.

    vlmeval/utils/matching_util.py: the option rule, then the text rule.

        >>> animals = {"A": "teddy bear", "B": "rabbit"}
        >>> can_infer("The answer is B.", animals), can_infer("It is a rabbit", animals)
        ('B', 'B')
        >>> can_infer("A and B", animals) is None
        True
    """
    return _option(answer, choices, head) or _text(answer, choices)


def _option(answer: str, choices: Mapping[str, str], head: bool) -> str | None:
    if _FAILED in answer:
        return None
    if any(refusal in answer for refusal in _REFUSALS):
        return NO_OPTION
    tokens = answer.translate(_BLANKED).split()
    there = set(tokens)
    named = [letter for letter in choices if letter in there]
    # One letter, and its first occurrence among the last four tokens.
    if len(named) == 1 and tokens.index(named[0]) > len(tokens) - 5:
        return named[0]
    if not named and NO_OPTION in there:
        return NO_OPTION
    if head and (match := _SPOKEN.search(answer)) and match[1].upper() in choices:
        return match[1].upper()
    return None


def _text(answer: str, choices: Mapping[str, str]) -> str | None:
    answer = answer.lower()
    if len(answer) > 2 * sum(len(str(text)) for text in choices.values()):
        return None
    named = [letter for letter, text in choices.items() if str(text).lower() in answer]
    return named[0] if len(named) == 1 else None


def mcq_prompt(question: str, choices: Mapping[str, str], hint: str | None = None) -> str:
    """Return the text of a multiple-choice question (ImageMCQDataset.build_prompt).

    The blank before the last newline is VLMEvalKit's.
    """
    hinted = f"Hint: {hint}\n" if hint is not None else ""
    asked = f"{hinted}Question: {question}\n"
    if not choices:
        return asked
    listed = "".join(f"{letter}. {text}\n" for letter, text in choices.items())
    return f"{asked}Options:\n{listed}Please select the correct answer from the options above. \n"


# The texts for the judge: vlmeval/dataset/utils/multiple_choice.py and yorn.py at 895762d3 and
# 0c7163c9. (A later version writes `[Question]` and `[Prediction]`; whether cfa63b1d has the one or
# the other was not seen. Its Chinese twin, for questions in Chinese, is left out.)


def _match(letters: str, begin: str = "", end: str = "", asked: str = "{}?") -> str:
    """Return the text that lets the judge match; `begin` and `end` stand around what is quoted."""
    question = f"Question: {begin}What is the main object in image?\n"
    question += f"Options: A. teddy bear B. rabbit C. cat D. dog{end}\n"
    return (
        "You are an AI assistant who will help me to match "
        "an answer with several options of a single-choice question. "
        "You are provided with a question, several options, and an answer, "
        "and you need to find which option is most similar to the answer. "
        "If the meaning of all options are significantly different from the answer, output Z. "
        f"Your should output a single uppercase character in {letters} "
        "(if they are valid options), and Z. \n"
        f"Example 1: \n{question}Answer: {begin}a cute teddy bear{end}\nYour output: A\n"
        f"Example 2: \n{question}Answer: {begin}Spider{end}\nYour output: Z\n"
        f"Example 3: \nQuestion: {begin}{asked}\nOptions: {{}}{end}\n"
        f"Answer: {begin}{{}}{end}\nYour output: "
    )


_MATCH = _match("A, B, C, D")

MATCH_MARKED = _match("A, B, C, D, E, F, G", "<start>\n", "\n<end>", "{}")
"""As a later version has it, with more letters and marks."""

_MATCH_YES_NO = (
    "You are an AI assistant who will help me to match an answer with two options of a question. "
    "The options are only Yes / No. "
    "You are provided with a question and an answer, "
    "and you need to find which option (Yes / No) is most similar to the answer. "
    "If the meaning of all options are significantly different from the answer, output Unknown. "
    "Your should output a single word among the following 3 choices: Yes, No, Unknown.\n"
    "Example 1: \n"
    "Question: Is the word in this image 'Hello'?\nAnswer: The word in this image is 'Hello'.\n"
    "Your output: Yes\n"
    "Example 2: \n"
    "Question: Is the word in this image 'Hello'?\n"
    "Answer: The word in this image is not 'Hello'.\nYour output: No\n"
    "Example 3: \n"
    "Question: {}?\nAnswer: {}\nYour output: "
)


T = TypeVar("T")


def ask(
    prompt: str, read: Callable[[str], T | None], tries: int = 5, warmer: float = 0.5
) -> Generator[Request, str, T | None]:
    """Ask the judge until its reply can be read, each time `warmer`; None if it never can."""
    for attempt in range(tries):
        temperature = warmer * attempt
        reply = yield Request(prompt, temperature=temperature, max_tokens=128, attempt=attempt)
        if (found := read(reply)) is not None:
            return found
    return None


def choose(
    question: str,
    choices: Mapping[str, str],
    truth: str,
    text: str,
    *,
    template: str = _MATCH,
    head: bool = False,
) -> Judging:
    """Match a response with the options: by the rules, else by up to three judge replies."""
    letter = can_infer(text, choices, head=head)
    if letter is None:
        listed = "".join(f"{name}. {option}\n" for name, option in choices.items())
        prompt = template.format(question, f"There are several options: \n{listed}", text)
        letter = yield from ask(
            prompt, lambda reply: can_infer(reply, choices, head=head), 3, warmer=0
        )
    return UNPARSED if letter is None else (letter, letter == truth)


def say_yes_no(question: str, truth: str, text: str) -> Judging:
    """Read yes or no: by the rule, else by up to five judge replies, ever less cold.

    A response that is still `Unknown` then is wrong.

    Args:
        question: As asked.
        truth: `Yes` or `No`.
        text: The response.
    """
    said = _known(text)
    if said is None:
        said = yield from ask(_MATCH_YES_NO.format(question, text), _known)
    return said or UNKNOWN, said == truth


def _known(text: str) -> str | None:
    said = yes_no(text)
    return None if said == UNKNOWN else said


def extract(prompt: str) -> Generator[Request, str, str | None]:
    """Ask the judge for an extraction: up to five times, until a call succeeds."""
    return (yield from ask(prompt, lambda reply: None if _FAILED in reply else reply))


# The five examples of its judges for MathVista and MATH-V: vlmeval/dataset/utils/mathvista.py at
# 09818277 and mathv.py at 1344ef21. They differ in the hints.

_EXAMPLES = (
    ("Which number is missing?", "The number missing in the sequence is 14.", "14"),
    (
        "What is the fraction of females facing the camera?",
        "The fraction of females facing the camera is 0.6,\n"
        "which means that six out of ten females in the group are facing the camera.",
        "0.6",
    ),
    (
        "How much money does Luca need to buy a sour apple candy and a butter-scotch candy? "
        "(Unit: $)",
        "Luca needs $1.45 to buy a sour apple candy and a butterscotch candy.",
        "1.45",
    ),
    (
        "Between which two years does the line graph saw its maximum peak?",
        "The line graph saw its maximum peak between 2007 and 2008.",
        "[2007, 2008]",
    ),
    (
        "What fraction of the shape is blue?\n\nChoices: (A) 3/11 (B) 8/11 (C) 6/11 (D) 3/5",
        "The correct answer is (B) 8/11.",
        "B",
    ),
)


def extraction_prompt(hints: Sequence[str], question: str, text: str) -> str:
    """Return the text that lets the judge extract an answer.

    Args:
        hints: Of the five examples.
        question: As the model was asked.
        text: The response.
    """
    shown = "".join(
        f"\n{hint}\n\nQuestion: {asked}\n\nModel response: {said}\n\nExtracted answer: {answer}\n\n"
        for hint, (asked, said, answer) in zip(hints, _EXAMPLES, strict=True)
    )
    return (
        "\nPlease read the following example.\n"
        "Then extract the answer from the model response and type it at the end of the prompt.\n\n"
        f"{shown}{question}\nModel respone: {text}Extracted answer:"
    )


_MARKS = tuple(';/[]"{}()=+\\_-><@`,?!')

_DIGITS = re.compile(r"\d,\d")

_STOP = re.compile(r"(?!<=\d)\.(?!\d)")
"""A dot that no digit follows. The look-behind is miswritten in VLMEvalKit and never bites."""


def yes_no(text: str) -> str:
    """Return `Yes` or `No` if just one of the words stands in the text, else `Unknown`.

    vlmeval/dataset/utils/yorn.py YOrN_Extraction, after its process_punctuation.

        >>> yes_no("Yes, I do not see it"), yes_no("There is no dog."), yes_no("**Yes**")
        ('Yes', 'No', 'Unknown')
    """
    words = set(_plain(text.lower()).split())
    if ("yes" in words) == ("no" in words):
        return UNKNOWN
    return "Yes" if "yes" in words else "No"


def _plain(text: str) -> str:
    """Drop punctuation: to nothing beside a blank or if digits have commas, else to a blank."""
    commas = _DIGITS.search(text) is not None
    plain = text
    for mark in _MARKS:
        beside = commas or f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if beside else " ")
    # Only the first 32 dots go: VLMEvalKit passes re.UNICODE where the count belongs.
    return _STOP.sub("", plain, count=32)


VECTORS: Vectors = {
    ("option_match", "vlmevalkit_2025"): lambda vector: (
        can_infer(vector["response"], vector["choices"]) or False
    ),
    ("option_match", "vlmevalkit_head"): lambda vector: (
        can_infer(vector["response"], vector["choices"], head=True) or False
    ),
    ("can_infer", "old"): lambda vector: can_infer(vector["input"], vector["choices"]) or False,
    ("can_infer", "new"): lambda vector: (
        can_infer(vector["input"], vector["choices"], head=True) or False
    ),
    ("yes_no", "vlmevalkit"): lambda vector: yes_no(vector["response"]),
}
