"""Letters of options in a sentence: as a label at its beginning, or named in its course."""

import re

from tasks.grading import claims
from tasks.grading.marks import SEGMENT
from tasks.grading.options import Options, bare, is_text
from tasks.grading.places import Place

NO_OPTION = "none"
"""An answer that is plainly none of the options, and so is wrong."""

_LABEL = re.compile(
    r"""(?:(?:probably|perhaps|maybe|clearly|obviously|definitely|surely|likely|well|okay),?\ )?
        (?:the\ )?(?:(?:correct|final|best|right)\ )?
        (?:(?:answer|option|choice|letter)\s{0,3}(?:is|:)?\s{0,3})?
        (?P<open>[(\[{（])?\s{0,3}(?P<letter>[A-Za-z])\s{0,3}(?P<close>[)\]}）])?
        (?P<end>\s*$|\s*[.,;:!?。，、．]|(?=[\u3040-\u9fff\uac00-\ud7a3])|\s+[-–—]|\s+(?![=<>+^*/\\-])
          |(?=[^\w\s'’^=+/<>*\\–—-]))""",
    re.VERBOSE | re.IGNORECASE,
)
_ENDS = "(?:(?![\\w'’])|(?=[\u3040-\u9fff\uac00-\ud7a3]))"
_MORE = re.compile(
    r"\s*(?:[,&/、和与或及跟]|and\b|or\b|,\s*(?:and|or)\b)?\s*"
    r"(?:(?:maybe|possibly|perhaps|even|also) )?"
    r"(?:option |choice )?"
    rf"[(\[]?(?:(?!I\s[a-z])([A-Z]){_ENDS}|([a-z])\s*(?:[,)]|$|(?:and|or)\s))"
)
_BRACKETED = re.compile(r"[(\[]\s?([A-Za-z])\s?[)\]]")
_REASON = re.compile(
    r"\W*(?:because|since|as|is|was|for|due|which|that|but|if|would|in|on|by|rather than"
    r"|instead of)\b",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"\s+(?:is|was|seems?|looks?|appears?|might|may|could|would|can|fits?|works?)\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"[;\n]|[.](?!\d)|\s(?:because|since|as)\b")


def labelled(said: str, place: Place, options: Options) -> str | None:
    """Return the letter of the label with which a place begins, or `NO_OPTION`.

    None where it begins with none, "" where what follows speaks against it or for another.
    """
    label = _LABEL.match(said)
    if not label or not _is_label(label, said, place.kind, options):
        return None
    letter, rest = label["letter"].upper(), said[label.end() - len(label["end"]) :]
    own = options.texts.get(letter, "").casefold()
    begins = rest.lstrip(" .,:;)-–—*")
    if own and begins.casefold().startswith(own):
        verdict = begins[len(own) :]
    else:  # "The answer is (B): False." gives its text, "B: false" speaks against it
        verdict = begins if place.kind == "mark" else rest
    if not claims.stands(verdict, 0, 0):
        return None
    if _SUBJECT.match(rest) and (sure := named(said, place, options)) is not None:
        return sure  # "A is tempting, but B is right"
    if letter in options.texts and is_text(own, bare(rest.strip(" .,:;)"))):
        return letter
    more = _MORE.match(rest)
    other = (more[1] or more[2]).upper() if more else letter
    if other != letter and (other in options.texts or letter not in options.texts):
        return ""
    if letter not in options.texts:
        odd = claims.REFUSAL.search(rest) or options.by_text(bare(rest))
        return "" if odd or not place.is_plain else NO_OPTION
    sentence = _SENTENCE.split(label[0] + rest[:SEGMENT])[0]
    labels = {found.upper() for found in _BRACKETED.findall(sentence)} & set(options.texts)
    return "" if len(labels) > 1 or options.is_other(letter, rest) else letter


def _is_label(label: re.Match[str], said: str, kind: str, options: Options) -> bool:
    """Whether a letter at the beginning is a label, and no word."""
    letter, rest = label["letter"], said[label.end() :]
    if not rest.strip(" .)*$") or label["close"] or re.match("[\u3040-\u9fff\uac00-\ud7a3]", rest):
        return True
    if letter.islower():
        return False
    own, end = options.texts.get(letter, ""), label["end"].strip()
    if letter == "I":  # the pronoun, in "I, as a language model, …" and "I was"
        because = re.match(r"\s*(?:because|since|due)\b", rest)
        return bool(end in (".", ":") or because or (own and is_text(own, rest)))
    if end or kind in ("last", "first"):
        return bool(end)
    return bool(
        _REASON.match(rest)
        or letter != "A"
        or rest.lstrip()[:1] == "("
        or (own and is_text(own, rest))
    )


_LISTED = re.compile(r"(?<!\w)[(\[]?([A-J])\s?[)\].:]")


def repeats_options(said: str, options: Options) -> bool:
    """Whether a statement only repeats the options: "(A) 22 (B) 40 (C) 44"."""
    letters, known = _LISTED.findall(said), list(options.texts)
    if re.search(r"\b(?:yes|no|correct|incorrect|true|false)\b|[✓✔✅☑✗✘❌]", said, re.IGNORECASE):
        return False
    several = len(letters) > 2 or len(letters) == len(known) > 1
    return several and letters == known[: len(letters)]


_VERBS = (
    r"is|be|it['’]?s|that['’]?s|chose|choose|select|pick|say|get|(?:go|going)\s+(?:with|for)|guess"
    r"|think|believe|marked|labell?ed|no|so|thus|hence|therefore|then|leaving|leaves|gives?|means?|like"
)
_DOES = (
    r"(?:is|was)(?:n['’]t|\s(?:also\s)?(?:correct|right|true|valid|better|possible|left|wrong|incorrect|false"
    r"|invalid|ruled|excluded|eliminated|out|not|the\s(?:correct|right|best|only|answer|odd)))"
    r"|fits?|matches|works?|can\b|remains|cannot|can['’]t|could|does|completes|satisfies"
    r"|would\sbe\s(?:correct|right|the)"
)
_NAMED = re.compile(
    rf"""[(\[]\s?(?P<bracketed>[A-Z])\s?[)\]]
      | \b(?i:options?|choices?|answers?|ans|letters?)\s+(?:(?:is|are)\s+)?["'“(*]{{0,3}}
        (?P<noun>[A-Z])\b(?!['’*+^=/])
      | (?:\b(?i:figures?|pictures?|images?|diagrams?|patterns?|shapes?
          |cubes?|nets?|tiles?|pieces?|solids?|graphs?)\s+|(?:图[形片案像]?|项)\s*)
        (?P<picture>[A-Z])\b(?!['’*+^=/])
      | \b(?i:{_VERBS}),?\s+["'“(*$]{{0,3}}\[?(?P<verb>[A-Z])
        (?=\W*$|\s*[.;!]\s|,\s|\s\(|\s(?:because|since|as|over|rather|instead)\b
          |\s(?:and|or)\s(?:(?:option|choice)\s)?[A-Z]\b)
      | (?:^|(?<=[;,:]\s)|(?<=\b(?:but|and)\s)|(?<=\b[Oo]nly\s)|(?<=\b[Ss]o\s)|(?<=\b[Tt]hus\s)
          |(?<=\b[Hh]ence\s)|(?<=\b[Tt]herefore\s)|(?<=\bthat\s)
          |(?<=\bthink\s)|(?<=\bbelieve\s))(?P<subject>[A-HJ-Z])(?=\s(?:{_DOES})\b)
      | \b(?P<sure>[A-Z])(?=\s(?:is|was)\s(?:the\s)?(?:correct|best|answer|right\s\w)\b)
      | ^(?P<several>[A-Z])(?=(?:,\s[A-Z])*,?\s(?:and|or)\s(?:(?:option|choice)\s)?[A-Z]\b)
      | (?:(?<=;\s)|(?<=\bbut\s)|(?<=[是选]))(?P<rather>[A-Z])(?=\W*$)
      | (?:(?<=[是选为。，；は])|(?<=なく)|(?<=아니라)|(?<=[라은는。]\s))(?P<east>[A-Z])
        (?=\s?(?:[。，；而]|です|だ|입니다|이다|$))
      | (?<![a-zA-Z])(?P<fits>[A-Z])(?=\s?(?:选?项)?(?:的\w\w)?[是更最才也则]{{0,2}}[:：]?\s?
          (?:正确|对(?!应)|符合|合适|成立|[没不]错|が正|[이가]\s?맞))
      | (?<!\w)(?P<ticked>[A-Z])\b
        (?=["'*)\].]{{0,3}}\s?[:=]?\s?(?:[✗✘❌✓✔✅☑]|(?:true|false|yes|no)\b))""",
    re.VERBOSE,
)
_AND_MORE = re.compile(
    r"\s*(?:[,、和与或及跟]|and\b|or\b|&|/|,\s*(?:and|or)\b)\s*"
    r"(?i:(?:options?|choices?|answers?|figures?)\s+)?"
    rf"[(\[]?([A-Z])[)\]]?{_ENDS}"
)
_CLAUSE = re.compile(r";|,\s(?:so|but|and|while)\b")
_NOUN = re.compile(r"(?:[Tt]he\s)?(?![Nn]o|[Ee]xcept)[A-Za-z][a-z]+\s([A-H])\W*")


def named(said: str, place: Place, options: Options) -> str | None:
    """Return the only letter that a sentence asserts; "" for none of those it names, or None."""
    if place.is_plain and not options.worded and (noun := _NOUN.fullmatch(said)):
        asserts = noun[1] in options.texts and claims.stands(said, *noun.span(1))
        return noun[1] if asserts else ""
    asserted: set[str] = set()
    last, found, end = "", False, 0
    for hit in _NAMED.finditer(said):
        kind = str(hit.lastgroup)
        if hit.start(kind) < end:
            continue  # it is named beside another
        letters, end = [hit[kind]], hit.end()
        while more := _AND_MORE.match(said, end):
            letters, end = [*letters, more[1]], more.end()
        if (kind == "picture" and options.worded) or not set(letters) <= set(options.texts):
            continue
        found = True
        clause = said[: end + len(_CLAUSE.split(said[end:])[0])]
        if claims.stands(clause, hit.start(kind), end):
            asserted |= set(letters)
            last = said[end:]
    if len(asserted) == 1 and not options.is_other(letter := asserted.pop(), last):
        return letter
    return "" if found else None


_JOINT = r"\s*(?:[,;&/、+]|,?\s*\band\b|和|与)\s*"
_ONE = r"[(\"']?[A-Z](?![a-zA-Z])[)\"'.]?"
_SEVERAL = re.compile(
    r"(?:(?:both|the|it|correct|answers?|options?|choices?|figures?|letters?|are|is)\b[\s:]*){0,5}"
    rf"[\[{{]?(?:{_ONE}(?:{_JOINT}{_ONE})+|(?=[A-Z]{{2,5}}\b)A?B?C?D?E?F?G?H?I?)[\]}}]?"
    r"(?:\s+are\s+(?:both\s+)?(?:the\s+)?(?:correct|right)(?:\s\w+)?)?\W*",
    re.IGNORECASE,
)
_SINGLE = re.compile(r"(?<![a-z])[A-Z](?![a-z])|\b[a-z]\b")


def several(said: str, options: Options) -> tuple[str, ...] | None:
    """Return the letters of a statement that is nothing but letters: "A, C", "Both A and C"."""
    if not _SEVERAL.fullmatch(said):
        return None
    letters = [letter.upper() for letter in _SINGLE.findall(said)]
    known = set(letters) <= set(options.texts) and len(set(letters)) == len(letters)
    return tuple(sorted(letters)) if known else None
