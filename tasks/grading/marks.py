"""What marks an answer ("the answer is", `<answer>`, keys of JSON …), and what stands there."""

import re

from tasks.grading import claims

MOST = 5
"""So many of the last marks are looked at."""
SEGMENT = 300
"""What is marked has no more characters than these."""
_NOUN = r"(?:answer|option|choice|ans)"
_NAMES = r"(?:option|choice|result|prediction|letter|response|output|value)(?:_letter)?"
_KEY = rf"[\w ]{{0,20}}(?:answer(?:_letter)?|{_NAMES})"
MARK = re.compile(
    rf"""(?P<key>(?:"{_KEY}"|'{_KEY}'|(?<=\{{){_KEY})\s?:\s*)
      | <(?:final[_ ]?)?(?:answer|ans)> | <final>
      | \b(?:{_NOUN}\b|(?<!other\ )answers\b(?=\s+are\b))
        (?:\.(?=\s?\W?[A-Z]\b)
          | (?:[ ](?:to|for|of|letter|number|value)\b[^.!?\n:]{{0,60}}?|\ here|\ therefore)?
            [\s>*"'”_`】]{{0,9}}
            (?:\b(?:is|are)\b|\b(?:would|should|must|will)\ be\b|[:：=→⇒]|[-–—](?=[\s>]))
            (?!\s*(?:not|incorrect|wrong)\b))
      | \bfinal(?:\ answer)?\b(?:[*_\#\s:：]{{0,9}}\n|\s?[:：])
      | ^[*_\#\s]{{0,9}}answer[*_\s]{{0,9}}\n
      | (?P<weak>^\W{{0,9}}(?:result|solution|conclusion|correct|therefore|thus|so)\**[:：])
      | ^\#{{4}}(?!\#)
      | \b(?:respuesta|réponse|resposta|risposta|antwort|ответ|الإجابة)\b(?:\s\w{{4,12}})?\s*
        (?:\b(?:es|est|é|è|ist|lautet)\b|[:：—])
      | 정답\s*[은:：] | (?:答え|正解)\s*[は:：]
      | 答案\s*】?\s*(?:应?[是为选])?\s*[:：]? | 选项\s*(?:[是为]|(?=\s*[(（]?[A-J](?![a-zA-Z])))
      | ^答\s*[:：] | 故选\s*[:：]? | 选择?\s*[:：]?(?=\s*[(（]?[A-H](?![a-zA-Z]))""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_SAID = re.compile(r"\w")
_WEAK = 40
"""So long is what follows "Solution:" at most, where it is the answer."""
_SUPPOSED = re.compile(
    r"""(?:\b(?:if|otherwise|when|assuming|suppose|whether
          |(?:often|mistakenly|wrongly|erroneously)\b\)?
          |(?:one|you|some|many|people|students)\ (?:might|may|could|would)\ (?:\w+ly\ )?
           (?:think|say|guess|assume|believe|conclude|choose|be\ tempted))(?!\w)
        |(?:^|[.!?\n(]\s*)(?:which|what|had)\b
        |\b(?:tempt(?:ing|ed)\ to
          |(?:common|typical|frequent|usual|easy)\ (?:mistake|error|misconception|trap|slip)s?)\b
         (?![^.!?\n]*,\s(?:the\s)?(?:correct|right)\s$))
        (?:(?!\b(?:but|however)\b)(?:\([^()\n]*\)|[^.!?;)\n]))*$
      |\b(?:wrong|incorrect|mistaken)\s$|错误$|(?:(?:[不未非]|(?<![分区类])别)[能该应可要]{0,2}|排除)$|(?:如果|假如|假设|以为)[^。！？；\n]*$""",
    re.VERBOSE | re.IGNORECASE,
)
"""What stands before an answer that is supposed, asked for, or another's mistake."""
_VALUE = re.compile(r'"((?:[^"\\\n]|\\.){0,400})"|(\[[^\]\n]{0,400}\])|([^,}\n"]{1,300})')
_ANSWER_KEY = re.compile(r"(?:(?:the|my|final|correct|right|best|short)[ _]?)*answer(?:_letter)?")
_PLAIN_KEY = re.compile(
    r"(?:(?:the|my|final|correct|right|best|selected|chosen|predicted)[ _]?)*" + _NAMES
)
_AMOUNT = re.compile(r"(?:value|output|result)\W*$", re.IGNORECASE)


def _rank(key: re.Match[str]) -> int:
    """Return 2 for a key that says it is the answer, 1 for "choice" and the like, else 0.

    Other words before it make another thing of it: "second_choice", "confidence_value".
    """
    name = key["key"].strip(" :'\"").casefold()
    return 2 if _ANSWER_KEY.fullmatch(name) else int(bool(_PLAIN_KEY.fullmatch(name)))


def find(spoken: str) -> list[re.Match[str]]:
    """Return the last marks, the surest at the end: JSON counts for more than what is around it."""
    found = list(MARK.finditer(spoken))
    early = [mark for mark in found[: -4 * MOST] if mark["key"] and _rank(mark) == 2]
    marks = [
        mark
        for mark in [*early[-MOST:], *found[-4 * MOST :]]
        if not _is_supposed(spoken[max(0, mark.start() - 200) : mark.start()])
        and _SAID.search(spoken, mark.end())
    ]
    prose, keys = (
        [mark for mark in marks if (mark["key"] is not None) == is_key] for is_key in (False, True)
    )
    keys = _keys(keys, spoken)
    rank = max(map(_rank, keys), default=0)
    later = [mark for mark in prose if rank == 1 and _behind(keys[-1], spoken) < mark.start()]
    if rank == 0:
        return [*keys, *prose]
    return [*(mark for mark in prose if mark not in later), *keys, *later]


def _keys(keys: list[re.Match[str]], spoken: str) -> list[re.Match[str]]:
    """Return the keys of the highest rank.

    None where they are data: keys of several values, or amounts from which the text goes on.
    """
    keys = [key for key in keys if segment(key, spoken).strip("{[ ")]
    highest = max(map(_rank, keys), default=0)
    keys = [key for key in keys if _rank(key) == highest]
    if highest == 2 or not keys:
        return keys
    is_data = _AMOUNT.search(keys[-1]["key"]) and _SAID.search(spoken, _behind(keys[-1], spoken))
    return keys if len({segment(key, spoken) for key in keys}) == 1 and not is_data else []


def _behind(key: re.Match[str], spoken: str) -> int:
    """Return where the object ends in which a key is, or the text."""
    depth = 0
    for brace in re.compile("[{}]").finditer(spoken, key.end()):
        depth += 1 if brace[0] == "{" else -1
        if depth < 0:
            return brace.end()
    return len(spoken)


def _is_supposed(before: str) -> bool:
    return bool(_SUPPOSED.search(before) or claims.DOUBTED.search(before))


def segment(mark: re.Match[str], spoken: str) -> str:
    """Return what follows a mark: its line, or the next if that is empty; a value of JSON."""
    rest = spoken[mark.end() : mark.end() + SEGMENT]
    if mark["key"]:
        found = _VALUE.match(rest)
        said = (found[1] or found[2] or found[3] or "") if found else ""
        return said.replace("\\\\", "\\").replace('"', "").strip(" '")
    rest = re.split(r"</", rest, maxsplit=1)[0]
    lines = [line for line in rest.strip(" \t\n*_#:：").splitlines() if re.search(r"\w", line)]
    said = lines[0].strip() if lines else ""
    return "" if mark["weak"] and len(said) > _WEAK else said
