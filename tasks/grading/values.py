"""The value that a response states, and whether it is the true one."""

import re
from fractions import Fraction

from tasks.grading import amounts, claims, equivalence, quantities, units, words
from tasks.grading.places import Place, places
from tasks.grading.quantities import Quantity
from tasks.grading.single import plain_words


def read_value(
    text: str, truth: str, *, unit: str | None = None, precision: int | None = None
) -> tuple[str | None, bool | None]:
    r"""Return the answer that a response states, and whether it is the truth.

    The answer is None where none can be read; the verdict is None where it cannot be told. What
    counts as the same is in `tasks.grading.equivalence`.

    Args:
        text: The response.
        truth: The true answer: a number, a list, a formula, or words.
        unit: The unit in which the question asks.
        precision: Decimals to which the question asks.

    >>> read_value("There are 3 dots in each group.", "3"), read_value("I cannot tell.", "3")
    (('3', True), (None, None))
    >>> read_value(r"Hence \boxed{\frac{\sqrt{6}}{6}}.", r"\frac{1}{\sqrt 6}")
    ('\\frac{\\sqrt{6}}{6}', True)
    >>> read_value("12 m + 10 m = 22 m", "22"), read_value("<think> It is 3", "3")
    (('22 m', True), (None, None))
    """
    truth = str(truth)
    number, unclear = equivalence.numeric(truth), False
    for place in places(text):
        if unclear and place.kind == "first" and not place.is_lone:
            break
        said = stated_number(place) if number else _stated(place, truth)
        if not number and place.is_plain and not equivalence.same(truth, said or ""):
            said = place.text if equivalence.same(truth, place.text) else said
        if said is not None:
            verdict = equivalence.same(truth, said, unit=unit, precision=precision)
            if verdict is False and (share := _SHARE.search(place.text)):  # 3 out of 8
                part = f"{share[1]}/{share[2]}"
                if equivalence.same(truth, part):
                    return part, True
            if verdict is None:
                verdict = _begins(truth, said) or _begins(truth, place.text)
            if verdict is not None and (verdict or number or place.is_plain):
                return said, verdict
        if claims.REFUSAL.search(place.text) and place.kind != "first":
            break
        if number and place.kind == "last" and quantities.find(quantities.sentence(place.text)):
            unclear = True  # numbers, and no telling which
    return None, None


_SHARE = re.compile(r"^\W*(?:[a-z ]{0,20}\b)?(\d+) out of (?:the )?(\d+)\W*$", re.IGNORECASE)

# Numbers

_CUE = re.compile(
    r"=|\\approx|(?<!that )(?<!who )\b(?:is|are|was|were|be|been|equals?|has|have|had|gives?|gets?"
    r"|got|costs?|totals?|needs?|takes?|makes?|contains?|shows?|approximately|remains?|becomes?|leaves?|obtains?"
    r"|find|found|yields?|see|count|adds?\s(?:up\s)?to|(?:sum|come|amount)s?\sto)\b|:|[是为共]|等于",
    re.IGNORECASE,
)
_CUE_ENDS = re.compile(rf"(?:{_CUE.pattern})\s*$", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?<![\d,.(\[{])(\d+),(\d{1,2})(?![\d,.]*\d|[)\]}])")
_CLAUSE = re.compile(r"(?<!\d)\.\s|\.\s+(?=[A-Z])|;|\sso that\b")
_PARENTHESIS = re.compile(
    r"(?<=\s)\((?=[^()]*[a-zA-Z]{3})[^()]*\)|(?<=[\d%°$²³}])\s\([^()]*\)(?!\s?[=^])"
)
_HEAD = re.compile(
    r"\W*(?:there|a|the|in)?\b.*\b(?:are|is|has|have|total|contains?|see|count|find)\b", re.I
)


_CENTS = re.compile(
    rf"(\d+|{words.WORDS})\sdollars?,?\s(?:and\s)?(\d\d?|{words.WORDS})\scents?\b", re.IGNORECASE
)


def _dollars(said: re.Match[str]) -> str:
    """Return "3 dollars and 5 cents" as "3.05 dollars"."""
    whole, cents = (words.number(part) or int(part) for part in said.groups())
    return f"{float(whole + Fraction(cents, 100)):.2f} dollars"


def stated_number(place: Place) -> str | None:
    """Return the number that a place states, with its sign, scale and unit."""
    if place.kind == "box":
        return _DECIMAL_COMMA.sub(r"\1.\2", place.text)
    if place.rival:
        first = stated_number(Place(place.rival, "last"))
        last = stated_number(Place(place.text, "last"))
        if first is None or last is None or not equivalence.numeric(first):
            return last
        return last if equivalence.same(first, last) is True else None
    if claims.REFUSAL.search(place.text):
        return None
    said = quantities.sentence(
        _DECIMAL_COMMA.sub(r"\1.\2", _CENTS.sub(_dollars, _PARENTHESIS.sub(" ", place.text)))
    )
    found = quantities.find(said)
    found = [
        one
        for one in found
        if one.kind != "bound" and claims.stands(said.text, one.start, one.end, bound=True)
    ]
    begin, end = _extent(said.text, found, place.kind)
    found = [one for one in found if begin <= one.start and one.end <= end]
    chosen = _chosen(said.text[:end], found, begin, place.kind)
    return chosen.text if chosen and chosen.kind == "value" else None


def _extent(text: str, found: list[Quantity], kind: str) -> tuple[int, int]:
    """Return where the claim begins and ends: not in what was said before "i.e.", nor in asides."""
    begin, end = 0, len(text)
    sure = kind in ("mark", "bold")
    for again in (claims.RESTATED,) if sure else (claims.RESTATED, claims.RESULT):
        for mark in again.finditer(text):
            if any(one.start >= mark.end() for one in found):
                begin = mark.end()
    for ends in (_CLAUSE, claims.ASIDE):
        for cut in ends.finditer(text, begin, end):
            if any(one.start < cut.start() < one.end for one in found):
                continue
            if sure or any(begin <= one.start < cut.start() for one in found):
                end = cut.start()
            break
    colon = re.compile(r":(?=\s)").search(text, begin, end)
    if colon and not _CUE_ENDS.search(text[max(begin, colon.start() - 12) : colon.start()]):
        head = [one for one in found if begin <= one.start < colon.start()]
        if head and (head[0].start <= begin + 2 or _HEAD.match(text[begin : colon.start()])):
            end = colon.start()  # 7 triangles: 4 small and 3 large
    return begin, end


_TOTAL = re.compile(
    r"\s*(?:[a-z]+\s){0,2}(?:in\stotal|in\sall|altogether|overall|remain|(?:are|is)\sleft|left)\b",
    re.I,
)


def _chosen(text: str, found: list[Quantity], begin: int, kind: str) -> Quantity | None:
    if not found:
        return None
    if kind == "bold":
        return found[0] if len(found) == 1 else None
    if kind == "mark" and found[0].start <= begin + 3 and not _continues(text, found[0]):
        return found[0]
    totals = [one for one in found if _TOTAL.match(text, one.end)]
    if len(totals) == 1:
        before = re.split("[,:]", text[found[0].end : totals[0].start])[-1]
        if " and " not in before:
            return totals[0]
    for cue in reversed(list(_CUE.finditer(text, begin))):
        if after := [one for one in found if one.start >= cue.end()]:
            return _only(text, found, after)
    return _only(text, found, found)


def _continues(text: str, one: Quantity) -> bool:
    """Whether an equation or another number goes on where a number ends."""
    rest = text[one.end :]
    return bool(re.match(r"[^.;]{0,60}(?:=|\\approx)|\s*(?:,|or|and|to|-)\s*[-\d\\]", rest))


_IN_YEAR = re.compile(r"\b(?:in|since|by|during|of)\s(?:the\syear\s)?(?:1[5-9]|20)\d\d$", re.I)
_LISTED = re.compile(r"\s*(?:,|;|or|and|,\s*(?:or|and))\s*(?:\\?[a-zA-Z]\w{0,3}\s*=?\s*)?")
_ONE = re.compile(r"\b(?:an?d?|,) one \w", re.IGNORECASE)


def _only(text: str, found: list[Quantity], after: list[Quantity]) -> Quantity | None:
    """Return the one of some quantities, if they are one, and none of a list."""
    undated = [one for one in found if not _IN_YEAR.search(text[: one.end])]
    if any(one in undated for one in after):
        found, after = undated, [one for one in after if one in undated]
    first = found.index(after[0])
    if first and _LISTED.fullmatch(text[found[first - 1].end : after[0].start]):
        return None
    if len(after) > 1 and " and " in text[after[0].end : after[-1].start]:
        return None
    if _ONE.search(text, after[0].start):
        return None
    same = all(equivalence.same(after[0].text, one.text) is True for one in after[1:])
    return after[0] if same else None


# Lists, formulas, words

_BRACKET = r"\\?[\[({][^\[\](){}]{0,200}[\])}\\]{1,2}"
_BRACKETS = re.compile(
    r"\\begin\{([pbvBV]?matrix)\}.{0,300}?\\end\{\1\}"
    rf"|{_BRACKET}(?:\s*(?:\\cup|∪)\s*{_BRACKET}){{0,9}}",
    re.DOTALL,
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
_UNTIL = re.compile(r"\s*(?:to|through|until|till|-)\s*(?:the\syear\s)?", re.IGNORECASE)


_NAMED_PART = re.compile(
    r"\b(?:the\s)?([a-z])(?:[- ](?:coordinate|value))?\s(?:is|equals)\s(?=[-−$]?[\d\\])",
    re.IGNORECASE,
)
"""The name of a part, and its verb: "x is 3 and y is 4"."""


def _stated(place: Place, truth: str) -> str | None:
    """Return what a place states, for a truth that is a list, a formula, or words."""
    if place.kind == "box":
        return place.text
    if place.kind == "first" or claims.REFUSAL.search(place.text):
        return None
    text = place.text.strip()
    shape = equivalence.shape(truth)
    if shape == "list":
        text = _NAMED_PART.sub(r"\1 = ", text)
    if shape == "words":
        return text if place.kind in ("mark", "whole") else _after_cue(text)
    said = quantities.sentence(text)
    formulas = [said.text[a:b] for a, b in said.formulas if claims.stands(said.text, a, b)]
    if shape == "list":
        found = [one for one in formulas if re.search(r"[,&]|\\[lg]e\b|[<>]", one)]
        if len(found) > 1 and place.is_plain:
            return said.text
        found = found or [
            one[0]
            for one in _BRACKETS.finditer(text)
            if re.search("[,&]", one[0]) and claims.stands(text, *one.span())
        ]
        if found:
            return found[-1]
        listed = None if _is_worded(truth) else _listed(said)
        return listed or _after_cue(text) or (text if place.is_plain else None)
    if len(formulas) == 1 or (formulas and place.kind == "last"):
        return formulas[-1]
    if place.kind in ("mark", "whole"):
        return re.split(r"(?<=\w)\.\s", text)[0]
    return _after_cue(text)


def _is_worded(truth: str) -> bool:
    """Whether a list has words beside its amounts and their units: names of parts or things."""
    found = [amounts.read(part, letters=False) for part in equivalence.items(truth)]
    plain = all(one and (not one.unit or units.read(one.unit)) for one in found)
    return bool(_WORD.search(truth)) and not plain


def _listed(said: quantities.Sentence) -> str | None:
    """Return the only enumeration of a sentence: "1, 4, 2", "2007 and 2008", "2007-2008"."""
    found = quantities.find(said)
    if found and not claims.stands(said.text, found[0].start, found[-1].end):
        return None
    if len(found) == 1 and found[0].kind == "range":
        return re.sub("[-~]", ", ", found[0].text)
    between = [said.text[a.end : b.start] for a, b in zip(found, found[1:], strict=False)]
    if len(between) == 1 and _UNTIL.fullmatch(between[0]):
        return f"{found[0].text}, {found[1].text}"
    if not between or not all(_LISTED.fullmatch(part) for part in between):
        return None
    names = [name[1] for one in found if (name := _NAME.search(said.text[: one.start]))]
    if len(names) == len(found):  # y is 4 and x is 3
        order = sorted(range(len(found)), key=names.__getitem__)
        found = [found[place] for place in order]
    return ", ".join(one.text for one in found)


_NAME = re.compile(r"\b([a-zA-Z])\s?=\s?$")


_WORDS_CUE = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|belongs to)\b|\b(?:it|that)['’]s\b|:)(?=\s)", re.I
)


def _after_cue(text: str) -> str | None:
    cues = list(_WORDS_CUE.finditer(text))
    return text[cues[-1].end() :].strip() or None if cues else None


_BEGINNING = re.compile(
    r"[.,;:](?!\d)|\s?\(|\s(?:because|since|as|which|with|is|are|was|were|has|have|had|does|did|can|will)\b"
)


_OTHER = re.compile(
    r"\W*(?:no|nope|or|and)\b|,\s(?!(?:as|with|in|at|on|by|from|since|because|which|who|that|not|see|the"
    r"|an?|it|i|\w+ly|shown|based|followed|\w+ing)\b)[^\W\d]+(?:\s[^\W\d]+)?\s*(?:,|and\b|\W*$)",
    re.IGNORECASE,
)
"""What denies the words before it, or names others beside them: "Germany, France"."""
_LEAD = re.compile(r"^\W*(?:in|at|on|by|from)\s+", re.IGNORECASE)


def _begins(truth: str, said: str) -> bool | None:
    """Whether what is said begins with the true words, and goes on about them."""
    if equivalence.shape(truth) != "words":
        return None
    clause = _BEGINNING.split(said)[0]
    rest = said[len(clause) :]
    if claims.DENIED_AFTER.match(rest) or _OTHER.match(rest):
        return None
    return True if plain_words(_LEAD.sub("", clause)) == plain_words(truth) else None
