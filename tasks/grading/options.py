"""The options of a question, and what is said as one of them, as a whole."""

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.grading import equivalence
from tasks.grading.single import plain_words
from tasks.grading.spelling import untexted

_LONGEST = 300
"""Longer texts are no option as a whole."""
_BULLET = re.compile(
    r"^\W*(?:=>|->|→|⇒|∴)+\s*"
    r"|^\s*(?:[-•*]|\d{1,2}[.)])\s+(?=\(?[A-Z]\)?(?:\W*$|[:.)]\s))"
)
_MARKUP = re.compile(r"\\[()\[\]]|\*\*|__|`")
_QUOTED = re.compile(r"(?<![\"'”’*])[\"'”’*]+([.!]?)\s*$")
_AGAIN = re.compile(
    r"^\W*(?:i\.\s?e\.,?|(?:which|that)\s(?:is|means|says|equals|has|gives)|meaning|namely)\s", re.I
)
_CLAUSE = re.compile(r"[;\n]|[.,](?!\d)|\s(?:because|since|as)\b")


def bare(text: str) -> str:
    """Strip the marks around an answer: dollars, stars, quotes, LaTeX's brackets, `<<>>`."""
    text = _QUOTED.sub(r"\1", untexted(_BULLET.sub("", _MARKUP.sub(" ", text))))
    return text.strip(" \t\n$<>*\"'“”‘’_:：=✓✔✅☑").strip()


@dataclass(frozen=True)
class Options:
    """Letters and what they stand for."""

    texts: Mapping[str, str]
    """By letter; they may be empty."""
    worded: Mapping[str, str]
    """Of those that have a text of their own, not just their letter."""
    words: Mapping[str, str]
    """The same in plain words."""
    is_numeric: bool
    """All that have texts are numbers, and there are several."""

    def by_text(self, said: str) -> str | None:
        """Return the letter of the option whose text, or value, is all that is said."""
        if not said or len(said) > _LONGEST:
            return None
        for alike in (str, str.casefold):
            for letter, text in self.worded.items():
                if alike(bare(text)) == alike(said):
                    return letter  # two options of the same words are one
        words = plain_words(said)
        for turned in (str, _turned) if words and not re.search(r"\d", said) else ():
            if same := only(x for x, own in self.words.items() if turned(own) == turned(words)):
                return same
        signs = {x: text for x, text in self.worded.items() if not re.fullmatch("[a-zA-Z]", text)}
        return only(letter for letter, text in signs.items() if agrees(text, said))

    def is_other(self, letter: str, rest: str) -> bool:
        """Whether what follows a letter is another option."""
        said = bare(_CLAUSE.split(_AGAIN.sub("", rest, count=1).strip(" .,:;()-–—"))[0])
        own = self.texts[letter]
        if not said or is_text(own, said):
            return False
        if said in self.texts:
            return said != letter
        return any(
            is_text(x, said)
            for x in self.texts.values()
            if x != own and (len(x) > 1 or x.isdigit())
        )


def _turned(words: str) -> list[str]:
    """Return words without "only", in any order if "and" joins them: "green and red"."""
    parts = [word for word in words.split() if word != "only"]
    return sorted(parts) if "and" in parts else parts


def of(options: Sequence[str] | Mapping[str, str]) -> Options:
    """Return options given as texts in order, or as letter → text."""
    if not isinstance(options, Mapping):
        options = dict(zip(string.ascii_uppercase, options, strict=False))
    return _of(tuple((letter.upper(), str(text).strip()) for letter, text in options.items()))


@lru_cache(4096)
def _of(items: tuple[tuple[str, str], ...]) -> Options:
    worded = {letter: text for letter, text in items if text and bare(text).upper() != letter}
    words = {letter: plain_words(bare(text)) for letter, text in worded.items()}
    numeric = len(worded) > 1 and all(map(equivalence.numeric, worded.values()))
    return Options(dict(items), worded, words, numeric)


def only(letters: Iterable[str]) -> str | None:
    """Return the one letter that there is; None if there is none, or there are several."""
    first, *others = [*letters, None]
    return first if others == [None] else None


def is_text(option: str, said: str) -> bool:
    """Whether what is said is the text of an option, or its value."""
    return equivalence.same(option, said) is True


def agrees(option: str, said: str) -> bool:
    """Whether what is said is the value of an option, to the decimals of that."""
    decimals = re.fullmatch(r"\D*\d+\.(\d+)\D*", option)
    precision = len(decimals[1]) if decimals and equivalence.numeric(option) else None
    return equivalence.same(option, said, precision=precision) is True
