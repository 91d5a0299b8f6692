"""What a sentence does with what it names: asserts, denies, bounds or doubts it."""

import re

REFUSAL = re.compile(
    r"""\b(?:cannot|can't|can\ not|could\ not|couldn't|not\ (?:possible|enough|provided|given|clear|
        sufficient|able|specified|stated|shown|available|visible|mentioned)|impossible|unable|unknown|
        no\ (?:answer|information|correct|way)|unclear|insufficient|sorry|
        (?:does|do|is|are)(?:\ not|n't)\ (?:provide|show|contain|include|give|have)|
        without\ (?:more|additional|further|the\ image|seeing|any)|none\ of|not\ sure|
        (?:need|require)s?\ (?:more|additional|further)|
        not\ (?:in|among|one\ of)\ the|not\ listed|(?:not|n't)\ match)\b
        |\bN/A\b|无法|\A\W*(?:\\text\{)?none\W*\Z""",
    re.VERBOSE | re.IGNORECASE,
)
"""It says that it cannot tell, or that nothing fits."""
_UNSURE = (
    r"(?:(?:not |im)possible|cannot|can't|unable|not enough|insufficient|without)\b[^.]{0,80}"
    r"\b(?:determine|answer|conclude|select|choose|information)\b(?!.*\b(?:but|however)\b)"
)
UNSURE = re.compile(_UNSURE, re.IGNORECASE)
"""It takes back what was marked as the answer, too."""
UNTOLD = re.compile(_UNSURE.replace("determine", "determined?"), re.IGNORECASE)
"""It tells nothing, where nothing is marked: of options one may say "cannot be determined"."""
FLUFF = re.compile(
    r"""^\W*(?:I\ hope|hope\ (?:this|that)|let\ me\ know|feel\ free|please\ (?:let|note|feel|keep)|
        if\ you\ have|thank|you're\ welcome|is\ there\ anything|note\ that|note:|I\ arrived|
        do\ you\ (?:have|want|need))""",
    re.VERBOSE | re.IGNORECASE,
)
"""Courtesy, which is no last sentence."""
CONCEDED = re.compile(
    r"""^\W*(?:(?:although|though|even\s(?:though|if)|while|despite)\s[^,;.]{1,120},\s*
        |[^;.]{1,60}?\b(?:tempting|tempted|plausible|possible|close|alike|similar|seems?|looks?|appears?
           |may|might|could|would|initially|at\sfirst|thought|usually|normally)\b[^;.]{0,80}?
         [,;]?\s(?:but|however|yet)\b,?\s(?!.*\b(?:might|may|could|would|possibly|also)\b)
         (?=[^.]*\b(?:(?-i:[A-HJ])|yes|no)\b
           |(?:it|there|i|we|here|really|actually|the\s\w+\s(?:is|are))\b[^.]*\d))""",
    re.VERBOSE | re.IGNORECASE,
)
"""What a sentence begins with, only to go on to say otherwise."""
SO = re.compile(
    r"\W*(?:so|thus|hence|therefore|finally|consequently|overall|in (?:conclusion|total|summary)"
    r"|(?:the |a )?(?:grand )?total|we (?:get|have|find)|as a result|accordingly|altogether|result"
    r"|(?:this|that|which) (?:means|gives|leaves|makes)|after|adding|subtracting|removing|taking"
    r")\b",
    re.IGNORECASE,
)
"""How a conclusion begins."""

_DOUBTS = r"""(?:(?:\bnot|n['’]t|\bnever|\bhardly)\s(?:\w+ly\s)?
      (?:think|believe|say|true|sure|certain|convinced)
    |(?<!no\s)(?<!any\s)\bdoubt(?:s|ful)?|\bfalse|\bno\sway|\bnothing\s\w+s
    |\bno(?:body|\sone)\s\w+\s\w+|\bunder\sno\scircumstances\sis)
    \s(?:(?:that|if|whether)\s)?(?:(?:the|it)\s)?(?:(?:correct|right|final)\s)?"""
DOUBTED = re.compile(rf"{_DOUBTS}$", re.VERBOSE | re.IGNORECASE)
"""What stands before "answer is" where it is not meant."""

NOT = re.compile(
    r"\b(?:not|never|neither|nor|cannot|rather|instead|except|unlike|incorrect|wrong|no|without)\b"
    r"|n['’ ]t\b",
    re.IGNORECASE,
)
"""A sentence with one of these may speak against what it names."""
ASIDE = re.compile(
    r",?\s(?:because|since|as|with|while|due to|given|where|which means|namely)\b"
    r"|,\s(?:at|in|on|by|from|when"
    r"|(?:\w+\s)?of (?:which|them|whom)|compared|including|not|rather|instead)\b"
)
"""Where an explanation begins."""
RESTATED = re.compile(
    r"\bi\.\s?e\.,?|\bthat is(?: to say)?,|\bin other words\b|=>|\bor simply\b", re.I
)
"""What follows says the same again, and better."""
RESULT = re.compile(
    r",\s(?:and\s)?(?:so|hence|thus|therefore|then|giving|making|leaving|totall?ing|for a total of"
    r"|(?:which|that) (?:gives|makes|leaves|equals|rounds to)"
    r"|(?:and|but) (?:since|because|as|given) [^,;.]{1,60}(?=,))\b(?! that)",
    re.IGNORECASE,
)
"""What follows is what a sentence comes to."""

_VERB = (
    r"(?:is|are|was|were|seems?|looks|would\sbe|must\sbe|(?:can|could|should|may)\sbe|has\sbeen)"
)
_FALSE = (
    r"(?:wrong|incorrect|false|impossible|invalid|inconsistent|ruled\sout|excluded|eliminated"
    r"|rejected|discarded|(?:less\s|un)likely|out\b|too\s(?:big|small|large|low|high|long|short|much|many|few))"
)
_NOT_EAST = r"""(?:(?:[不未非没]|(?<![分区类级性差])别)(?:[能该应会可要]该?|可能|绝)?
    (?:[是选有]|等于)?|绝不是|排除)"""
_FALSE_EAST = r"""(?:(?:选?项)?(?:的\w\w)?(?:[是也并则都均被]|显然|明显|与题意|[:：]\s?){0,2}
      (?:不(?!错|难|仅|只|[是选]?\s*[A-J\d])|错|有误|排除)
    |[はが]?(?:では(?:な|あり)|じゃな|正しくな|不正解|誤|間違)
    |[이가은는]?\s?(?:정답이\s?)?(?:아니|아닙|아닌|오답|틀))"""
"""Chinese, Japanese, Korean."""
DENIED_BEFORE = re.compile(
    rf"""(?:\b(?:not|cannot|never|neither|nor|without|unlike|except|excluding|rather\sthan|instead\sof
          |hardly|by\sno\smeans|unlikely|far\sfrom|other\sthan|different\sfrom|(?:rules?|ruled|ruling)\sout|exclud(?:e|es|ed)|over
          |eliminat(?:e|es|ed)|(?:reject|discard|scratch)(?:s|e[sd])?|no\sreason\sto\s\w+|unlikely\sto|(?:any|every)thing\sbut)|n['’]t|\\ne)
        \s*(?:(?:be|the|option|answer|equal\sto|equal|a|an|choice|is|exactly|just|only|simply)\s*){{0,3}}
        [("'*$]*$ | {_DOUBTS}(?:answer\s)?(?:(?:is|was)\s)?$
        | {_NOT_EAST}\s*(?:选项)?\s*$""",
    re.VERBOSE | re.IGNORECASE,
)
DENIED_AFTER = re.compile(
    rf"""[)\]"'*.\s]*(?:,?\s*(?:which|it|this|that)\s+)?
        (?:{_VERB}\s+(?:\w+ly\s+|also\s+|thus\s+)?(?:not\b|{_FALSE})|{_VERB}n['’]t\b
          |(?:can|could|does|do|did|would)(?:\s?not\b|n['’]t\b)|cannot\b|fails?\b|contradicts?\b|\?\s*no\b
          |(?:[:=]|\s[–—-])\s*(?:no|not(?:\s\w+)?|{_FALSE})(?=\W*$|\s*[.;,]\s)|[:=–—-]?\s*[✗✘❌]
          |{_FALSE_EAST})""",
    re.VERBOSE | re.IGNORECASE,
)
BOUND_BEFORE = re.compile(
    r"""(?:\b(?:(?:at\ (?:least|most)|than|above|below|over|under|out\ of(?:\ the)?|between
            |(?<!add\ )(?<!adds\ )(?<!sum\ )up\ to|beyond|either|from
            |exceed(?:s|ing)?|(?:a\ )?(?:minimum|maximum)\ of)\s*(?:about\s*)?
          |(?:is|be|are|was)\ (?:not\ )?(?:less|more|greater|fewer|smaller|larger)\s*
          |(?:between\s[^.;]{1,40}\sand|from\s[^.;]{1,40}\sto)\s*
          |\d[^\s,;]{0,9}(?:\s(?!(?:adds?|sums?|comes?|amounts?)\b)[^\W\d]{1,12})?\s(?:to|or)\s*(?:about\s*)?)
        |\\(?:ge|le|ne)\s*|(?:至少|至多|最[多少]|超过|[大小]于|不到|第|\d[个個개]?[或到至か～])\s*|<\s*|(?<!=)>\s*)[("'*$]*$""",
    re.VERBOSE | re.IGNORECASE,
)
BOUND_AFTER = re.compile(
    r"""\s*(?:\+(?!\s?[\d\\(a-z])|or\s(?:more|less|fewer|higher|greater|above|below|so\b|over|under)
        |and\s(?:above|up|over|below)\b|to\s+(?=-?[\d\\])|or\s+(?=-?[\d\\])|plus\b(?!\s*\d)
        |[个個개]?\s?(?:以[上下内]|이[상하]|[多余](?!少)|来[个個]|[或到至か～](?=\s?\d)))""",
    re.VERBOSE | re.IGNORECASE,
)


def stands(text: str, start: int, end: int, bound: bool = False) -> bool:
    """Whether a sentence asserts what it names at a place, and neither denies nor bounds it.

    Args:
        text: One clause or sentence.
        start: Where the name begins.
        end: Where it ends.
        bound: "at least", "or more" and the like count too, as they do for numbers.
    """
    before, after = text[max(0, start - 60) : start], text[end : end + 60]
    if DENIED_BEFORE.search(before) or DENIED_AFTER.match(after):
        return False
    return not (bound and (BOUND_BEFORE.search(before) or BOUND_AFTER.match(after)))
