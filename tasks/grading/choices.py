"""The option that a response chooses: by its letter, its text or its value."""

import re
import string
from collections.abc import Mapping, Sequence

from tasks.grading import claims, equivalence
from tasks.grading.places import SEGMENT, Place, places
from tasks.grading.single import plain_words
from tasks.grading.values import stated_number

NO_OPTION = "none"
"""What `read_choice` returns for an answer that is plainly none of the options, and so is wrong."""

Options = Mapping[str, str]
"""Letter → text, which may be empty."""


def read_choice(text: str, options: Sequence[str] | Options) -> str | None:
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
    if not isinstance(options, Mapping):
        options = dict(zip(string.ascii_uppercase, options, strict=False))
    options = {letter.upper(): str(option).strip() for letter, option in options.items()}
    boxed_none = False
    for place in places(text, past_box=True):
        letter = _chosen(place, options)
        if letter == NO_OPTION and place.kind == "box":
            boxed_none = True  # a value on the way to the letter?
        elif letter is not None:
            return letter
        elif claims.REFUSAL.search(place.text) and place.kind != "first":
            break
    return NO_OPTION if boxed_none else None


def read_choices(text: str, letters: str) -> tuple[str, ...] | None:
    """Return all letters that a response chooses, in order; None where they cannot be read.

    >>> read_choices("Both A and C.", "ABCD"), read_choices("AC", "ABCD"), read_choices("B", "ABCD")
    (('A', 'C'), ('A', 'C'), ('B',))
    >>> read_choices("A or C", "ABCD") is None
    True
    """
    options = dict.fromkeys(letters, "")
    for place in places(text):
        said = _bare(place.text)
        if _LETTERS.fullmatch(said):
            named = [letter.upper() for letter in _SINGLE.findall(said)]
            if len(set(named)) == len(named) and set(named) <= set(options):
                return tuple(sorted(named))
        if (letter := _chosen(place, options)) is not None:
            return (letter,)
    return None


_JOINT = r"\s*(?:[,;&/、+]|,?\s*\band\b|和|与)\s*"
_ONE = r"[(\"']?[A-Z](?![a-zA-Z])[)\"'.]?"
_LETTERS = re.compile(
    r"(?:(?:both|the|it|correct|answers?|options?|choices?|figures?|letters?|are|is)\b[\s:]*){0,5}"
    rf"[\[{{]?(?:{_ONE}(?:{_JOINT}{_ONE})+|(?=[A-Z]{{2,5}}\b)A?B?C?D?E?F?G?H?I?)[\]}}]?"
    r"(?:\s+are\s+(?:both\s+)?(?:the\s+)?(?:correct|right)(?:\s\w+)?)?\W*",
    re.IGNORECASE,
)
_SINGLE = re.compile(r"(?<![a-z])[A-Z](?![a-z])|\b[a-z]\b")


def _chosen(place: Place, options: Options) -> str | None:
    """Return the letter that a place names, `NO_OPTION`, or None."""
    if place.rival:
        rival = _chosen(Place(place.rival, "first"), options)
        own = _chosen(Place(place.text, place.kind), options)
        return own if rival in (None, own) else None
    said = _bare(place.text)
    alone = said.strip("().[]<> ")
    if alone in options:
        return alone  # a letter is asked for, and meant, though "B" may be the text of A
    if letter := _by_text(said, options):
        return letter
    if _lists_options(said, options):
        return None
    label = _LABEL.match(said)
    if (
        label
        and _is_label(label, said, place.kind, options)
        and _stands(label, said, place, options)
    ):
        return _labelled(label, said, place, options)
    if place.is_plain and (noun := _NOUN_AND_LETTER.fullmatch(said)) and not _worded(options):
        return noun[1] if noun[1] in options else None
    if letter := _by_beginning(said, options):
        return letter
    named = _named(said, options)
    if named is not None:
        return named or None
    if place.kind == "first" or claims.REFUSAL.search(claims.ASIDE.split(said)[0]):
        return None
    return _by_value(place, options) or _by_mention(said, options)


_DRESS = re.compile(
    r"\\(?:text|textbf|mathbf|mathrm|mbox|textrm|boxed|bf|textit)\s{0,3}\{([^{}]{0,200})\}"
)
_ARROW = re.compile(r"^\W*(?:=>|->|→|⇒|∴)+\s*|^\s*(?:[-•*]|\d{1,2}[.)])\s+(?=\(?[A-Z]\)?\W*$)")


def _bare(text: str) -> str:
    """Strip the marks around an answer: dollars, stars, quotes, LaTeX's brackets, `<<>>`."""
    text = _ARROW.sub("", re.sub(r"\\\(|\\\)|\\\[|\\\]|\*\*|__|[`✓✔✅☑]", " ", text))
    for _ in range(3):
        text = _DRESS.sub(r"\1", text)
    text = re.sub(r"[\"'”’*]+([.!]?)\s*$", r"\1", text)
    return text.strip(" \t\n$<>*\"'“”‘’_:：=").strip()


# A label at the beginning

_LABEL = re.compile(
    r"""(?:the\ )?(?:(?:correct|final|best|right)\ )?
        (?:(?:answer|option|choice|letter)\s{0,3}(?:is|:)?\s{0,3})?
        (?P<open>[(\[{（])?\s{0,3}(?P<letter>[A-Za-z])\s{0,3}(?P<close>[)\]}）])?
        (?P<end>\s*$|\s*[.,;:!?。，、．]|(?=[\u4e00-\u9fff])|\s+[-–—]|\s+(?![=<>+^*/\\-])|(?=[^\w\s'’^=+/<>*\\–—-]))""",
    re.VERBOSE | re.IGNORECASE,
)
_MORE = re.compile(
    r"\s*(?:[,&/、]|and\b|or\b|,\s*(?:and|or)\b)?\s*(?:option |choice )?"
    r"[(\[]?(?:([A-Z])(?![\w'’])|([a-z])\s*(?:[,)]|$|(?:and|or)\s))"
)
_BRACKETED = re.compile(r"[(\[]\s?([A-Za-z])\s?[)\]]")
_REASON = re.compile(
    r"\W*(?:because|since|as|is|was|for|due|which|that|but|if|would|in|on|by)\b", re.IGNORECASE
)
_CLAUSE = re.compile(r"[;\n]|[.,](?!\d)|\s(?:because|since|as)\b")


def _is_label(label: re.Match[str], said: str, kind: str, options: Options) -> bool:
    """Whether a letter at the beginning is a label, and no word."""
    letter, rest = label["letter"], said[label.end() :]
    if not rest.strip(" .)*$") or label["close"] or re.match("[一-鿿]", rest):
        return True
    if letter.islower():
        return False
    if end := label["end"].strip():  # but "I, as a language model, …"
        return letter != "I" or end in ".:" or bool(re.match(r"\s*(?:since|because)\b", rest))
    if kind in ("last", "first"):
        return False
    own = options.get(letter, "")
    reason = _REASON.match(rest) and letter != "I"
    return bool(reason or letter not in "AI" or (own and _is(own, rest)))


_LABELLED = re.compile(r"(?<!\w)[(\[]?([A-J])\s?[)\].:]")


def _lists_options(said: str, options: Options) -> bool:
    """Whether a statement only repeats the options: "(A) 22 (B) 40 (C) 44"."""
    letters = _LABELLED.findall(said)
    return (
        len(letters) > 1
        and letters == list(options)[: len(letters)]
        and (len(letters) > 2 or len(letters) == len(options))
    )


def _stands(label: re.Match[str], said: str, place: Place, options: Options) -> bool:
    """Whether what follows a label, behind the option's own text, speaks for it."""
    rest = said[label.end() - len(label["end"]) :]
    own = options.get(label["letter"].upper(), "").casefold()
    begins = rest.lstrip(" .,:;)-–—*")
    if own and begins.casefold().startswith(own):
        rest = begins[len(own) :]
    elif place.kind == "mark":
        rest = begins  # "The answer is (B): False." gives its text
    return claims.stands(rest, 0, 0)


def _labelled(label: re.Match[str], said: str, place: Place, options: Options) -> str | None:
    """Return the letter of a label, unless what follows it speaks for another."""
    letter, rest = label["letter"].upper(), said[label.end() - len(label["end"]) :]
    if letter in options and _is(options[letter], _bare(rest.strip(" .,:;)"))):
        return letter
    more = _MORE.match(rest)
    other = (more[1] or more[2]).upper() if more else letter
    if other != letter and (other in options or letter not in options):
        return None
    if letter not in options:
        odd = claims.REFUSAL.search(rest) or _by_text(_bare(rest), options)
        return None if odd or not place.is_plain else NO_OPTION
    sentence = re.split(r"[;\n]|[.](?!\d)|\s(?:because|since|as)\b", label[0] + rest[:SEGMENT])[0]
    labels = {found.upper() for found in _BRACKETED.findall(sentence)} & set(options)
    return None if len(labels) > 1 or _of_another(letter, rest, options) else letter


def _of_another(letter: str, rest: str, options: Options) -> bool:
    """Whether what follows a letter is another option."""
    said = _bare(_CLAUSE.split(rest.strip(" .,:;)-–—"))[0])
    own = options[letter]
    if not said or _is(own, said):
        return False
    if said in options and said != letter:
        return True
    return any(_is(text, said) for text in options.values() if len(text) > 1 and text != own)


# Letters in a sentence

_NOUN_AND_LETTER = re.compile(r"(?:[Tt]he\s)?(?![Nn]o|[Ee]xcept)[A-Za-z][a-z]+\s([A-H])\W*")

_VERBS = (
    r"is|be|it['’]?s|that['’]?s|chose|choose|select|pick|say|get|(?:go|going)\s+(?:with|for)|guess|think|believe"
    r"|no|so|thus"
    r"|hence|therefore|then|leaving|leaves|means?|like"
)
_DOES = (
    r"(?:is|was)(?:n['’]t|\s(?:also\s)?(?:correct|right|true|valid|better|wrong|incorrect|false"
    r"|invalid|ruled|excluded|eliminated|out|not|the\s(?:correct|right|best|only|answer|odd)))"
    r"|fits?|matches|works?|cannot|can['’]t|could|does|completes|satisfies"
    r"|would\sbe\s(?:correct|right|the)"
)
_NAMED = re.compile(
    rf"""[(\[]\s?(?P<bracketed>[A-Z])\s?[)\]]
      | \b(?i:options?|choices?|answers?|ans|letters?)\s+(?:(?:is|are)\s+)?["'“(*]{{0,3}}
        (?P<noun>[A-Z])\b(?!['’*+^=/])
      | (?:\b(?i:figures?|pictures?|images?|diagrams?|patterns?|shapes?)\s+|[图项]\s*)
        (?P<picture>[A-Z])\b(?!['’*+^=/])
      | \b(?i:{_VERBS}),?\s+["'“(*$]{{0,3}}\[?(?P<verb>[A-Z])
        (?=\W*$|\s*[.;!]\s|,\s|\s(?:because|since|as|over|rather|instead)\b)
      | (?:^|(?<=[;,:]\s)|(?<=\b(?:but|and)\s)|(?<=\b[Oo]nly\s)|(?<=\bso\s)|(?<=\bthat\s)
          |(?<=\bthink\s)|(?<=\bbelieve\s))(?P<subject>[A-HJ-Z])(?=\s(?:{_DOES})\b)
      | \b(?P<sure>[A-Z])(?=\s(?:is|was)\s(?:the\s)?(?:correct|best|answer|right\s\w)\b)
      | ^(?P<several>[A-Z])(?=(?:,\s[A-Z])*,?\s(?:and|or)\s[A-Z]\b)
      | (?:(?<=;\s)|(?<=\bbut\s))(?P<rather>[A-Z])(?=\W*$)""",
    re.VERBOSE,
)
_AND_MORE = re.compile(r"\s*(?:,|and\b|or\b|&|/|,\s*(?:and|or)\b)\s*[(\[]?([A-Z])[)\]]?(?![\w'’])")


def _named(said: str, options: Options) -> str | None:
    """Return the one letter that a sentence asserts; "" if others, None if it names none."""
    worded = _worded(options)
    asserted: set[str] = set()
    last, found = "", False
    for hit in _NAMED.finditer(said):
        kind = str(hit.lastgroup)
        letters, end = [hit[kind]], hit.end()
        while more := _AND_MORE.match(said, end):
            letters, end = [*letters, more[1]], more.end()
        if (kind == "picture" and worded) or not set(letters) <= set(options):
            continue
        found = True
        clause_end = end + len(re.split(r"[;]|,\s(?:so|but|and|while)\b", said[end:])[0])
        if claims.stands(said[:clause_end], hit.start(kind), end):
            asserted |= set(letters)
            last = said[end:]
    if len(asserted) == 1 and not _of_another(letter := asserted.pop(), last, options):
        return letter
    return "" if found else None


# Texts and values


def _is(option: str, said: str) -> bool:
    return equivalence.same(option, said) is True


def _worded(options: Options) -> dict[str, str]:
    """Return the options that have a text of their own, not just their letter."""
    return {
        letter: text for letter, text in options.items() if text and _bare(text).upper() != letter
    }


def _unique(letters: list[str]) -> str | None:
    return letters[0] if len(letters) == 1 else None


def _by_text(said: str, options: Options) -> str | None:
    """Return the option whose text, or value, is all that is said."""
    worded = _worded(options)
    if not said or not worded or len(said) > SEGMENT:
        return None
    exact = [letter for letter, text in worded.items() if _bare(text).casefold() == said.casefold()]
    if exact:
        return exact[0]  # two options of the same words are one
    return _unique([letter for letter, text in worded.items() if _agrees(text, said)])


def _agrees(option: str, said: str) -> bool:
    decimals = re.fullmatch(r"\D*\d+\.(\d+)\D*", option)
    precision = len(decimals[1]) if decimals and equivalence.numeric(option) else None
    return equivalence.same(option, said, precision=precision) is True


def _by_beginning(said: str, options: Options) -> str | None:
    """Return the option with whose text a sentence begins: "Yes, it is."."""
    clause, mark, _ = re.sub(r"\s(because|since|as)\b", r", \1", said).partition(",")
    if not mark:
        clause, mark, _ = re.sub(r"[.:;!](?!\d)", ".", said).partition(".")
    if not mark:
        return None
    clause = re.sub(r"(?i)^(?:so|therefore|thus|hence)\W+", "", clause)
    words = plain_words(clause)
    found = [
        letter
        for letter, text in _worded(options).items()
        if plain_words(_bare(text)) == words != ""
    ]
    return _unique(found)


def _by_value(place: Place, options: Options) -> str | None:
    """Return the option whose value is stated; `NO_OPTION` for a plain statement of another."""
    worded = _worded(options)
    if len(worded) < 2 or not all(equivalence.numeric(text) for text in worded.values()):
        return None
    said = stated_number(place)
    if said is None:
        return None
    if letter := _unique([letter for letter, text in worded.items() if _agrees(text, said)]):
        return letter
    plain = place.is_plain and (place.kind != "whole" or 2 * len(said) >= len(place.text))
    different = all(equivalence.same(text, said) is False for text in worded.values())
    return NO_OPTION if plain and different and len(worded) == len(options) else None


def _spaced(said: str) -> str:
    """Return a sentence in plain words, its clauses parted by commas."""
    clauses = re.split(r"[,;:]\s+(?=[a-zA-Z])|\bbut\b", said)
    return " , ".join(f" {plain_words(clause)} " for clause in clauses)


def _is_asserted(sentence: str, found: re.Match[str]) -> bool:
    clause = sentence[: found.start() + 1].rpartition(",")[2]
    return not claims.NOT.search(clause) and claims.stands(sentence, found.start(), found.end())


def _by_mention(said: str, options: Options) -> str | None:
    """Return the only option whose words a sentence holds."""
    sentence = _spaced(claims.ASIDE.split(said)[0])
    held = {}
    for letter, option in _worded(options).items():
        text = plain_words(_bare(option))
        if len(text) < 2 or (re.search(r"\d", text) and equivalence.numeric(option)):
            continue
        found = list(re.finditer(rf" {re.escape(text)}s? ", sentence))
        if any(_is_asserted(sentence, one) for one in found):
            held[letter] = text
    longest = [
        letter
        for letter, text in held.items()
        if not any(text != other and f" {text} " in f" {other} " for other in held.values())
    ]
    return _unique(longest)
