"""The option that a response chooses: by its letter, its text or its value."""

import re
from collections.abc import Mapping, Sequence

from tasks.grading import claims, equivalence, letters
from tasks.grading.letters import NO_OPTION
from tasks.grading.options import Options, agrees, bare, of, only
from tasks.grading.places import Place, places
from tasks.grading.single import plain_words
from tasks.grading.values import stated_number


def read_choice(text: str, options: Sequence[str] | Mapping[str, str]) -> str | None:
    r"""Return the letter of the option that a response chooses; None where it cannot be read.

    The letter counts, or the text of the option, or its value. A letter with the text of another
    option contradicts itself, two letters are no choice, and neither is read. An answer that is
    stated, and is none of the options ("F" of A to E, 36 of 22, 40, 44, 48), is `NO_OPTION`.

    Args:
        text: The response.
        options: The texts of the options in order, or letter → text. Texts may be empty.

    >>> read_choice("The answer is (B).", ["22", "40"]), read_choice("It is 40 cm.", ["22", "40"])
    ('B', 'B')
    >>> read_choice("(B) 22", ["22", "40"]) is None, read_choice("A or B", ["22", "40"]) is None
    (True, True)
    >>> read_choice(r"\boxed{36}", ["22", "40"]), read_choice("<think> B", ["22", "40"]) is None
    ('none', True)
    """
    asked = of(options)
    boxed_none, whole = False, ""
    for place in places(text, past_box=True):
        if place.text == whole:
            continue  # it was read as all that is said
        whole = place.text if place.kind == "whole" else ""
        letter = _chosen(place, asked)
        if letter == NO_OPTION and place.kind == "box":
            boxed_none = True  # a value on the way to the letter?
        elif letter is not None:
            return letter
        elif claims.REFUSAL.search(place.text) and place.kind != "first":
            break
    return NO_OPTION if boxed_none else None


def read_choices(text: str, options: str) -> tuple[str, ...] | None:
    """Return all letters that a response chooses, in order; None where they cannot be read.

    Args:
        text: The response.
        options: The letters that there are.

    >>> read_choices("Both A and C.", "ABCD"), read_choices("AC", "ABCD"), read_choices("B", "ABCD")
    (('A', 'C'), ('A', 'C'), ('B',))
    >>> read_choices("A or C", "ABCD") is None
    True
    """
    asked = of(dict.fromkeys(options, ""))
    for place in places(text):
        if several := letters.several(bare(place.text), asked):
            return several
        if letter := _chosen(place, asked):
            return (letter,)
    return None


def _chosen(place: Place, asked: Options) -> str | None:
    """Return the letter that a place names, `NO_OPTION`, or None."""
    if place.rival:
        rival = _chosen(Place(place.rival, "first"), asked)
        own = _chosen(Place(place.text, place.kind), asked)
        return own if rival in (None, own) else None
    said = bare(place.text)
    alone = said.strip("().[]<> ")
    if alone in asked.texts:
        return alone  # a letter is asked for, and meant, though "B" may be the text of A
    if letter := asked.by_text(said):
        return letter
    if letters.repeats_options(said, asked):
        return None
    for found in (
        letters.labelled(said, place, asked),
        _by_beginning(said, asked),
        letters.named(said, place, asked),
    ):
        if found is not None:
            return found or None
    if place.kind == "first" or claims.REFUSAL.search(claims.ASIDE.split(said)[0]):
        return None
    return _by_value(place, asked) or _by_mention(said, asked)


_LEAD = re.compile(r"^(?:so|therefore|thus|hence)\W+", re.IGNORECASE)


def _by_beginning(said: str, asked: Options) -> str | None:
    """Return the option with whose text a sentence begins: "Yes, it is."."""
    clause, mark, _ = re.sub(r"\s(because|since|as)\b", r", \1", said).partition(",")
    if not mark:
        clause, mark, _ = re.sub(r"[.:;!](?!\d)", ".", said).partition(".")
    words = plain_words(_LEAD.sub("", clause)) if mark else ""
    return only(letter for letter, own in asked.words.items() if own == words != "")


def _by_value(place: Place, asked: Options) -> str | None:
    """Return the option whose value is stated; `NO_OPTION` for a plain statement of another."""
    said = stated_number(place) if asked.is_numeric else None
    if said is None:
        return None
    if letter := only(letter for letter, text in asked.worded.items() if agrees(text, said)):
        return letter
    plain = place.is_plain and (place.kind != "whole" or 2 * len(said) >= len(place.text))
    other = all(equivalence.same(text, said) is False for text in asked.worded.values())
    return NO_OPTION if plain and other and len(asked.worded) == len(asked.texts) else None


_WHICH = re.compile(rf"{claims.ASIDE.pattern}|,\s(?:which|who|whose)\b")


def _by_mention(said: str, asked: Options) -> str | None:
    """Return the only option whose words a sentence asserts; not "blue" in "light blue"."""
    clauses = re.split(r"[,;:]\s+(?=[a-zA-Z])|\bbut\b", _WHICH.split(said)[0])
    sentence = " , ".join(f" {plain_words(clause)} " for clause in clauses)
    held = {
        letter: words
        for letter, words in asked.words.items()
        if len(words) > 1
        and not (re.search(r"\d", words) and equivalence.numeric(asked.texts[letter]))
        and any(
            _is_asserted(sentence, found)
            for found in re.finditer(rf" {re.escape(words)}s? ", sentence)
        )
    }
    return only(
        letter
        for letter, words in held.items()
        if not any(words != other and f" {words} " in f" {other} " for other in held.values())
    )


def _is_asserted(sentence: str, found: re.Match[str]) -> bool:
    clause = sentence[: found.start() + 1].rpartition(",")[2]
    return not claims.NOT.search(clause) and claims.stands(sentence, found.start(), found.end())
