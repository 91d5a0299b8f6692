"""Where a model's thought ends and its answer begins, by the marks of every family.

A thought may be opened by the chat template, in the prompt, so that the text only closes it; and it
may be cut at the token limit, so that nothing closes it. Marks are read in any case.
"""

import re
from collections import deque

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

_TAG = r"(?:[a-z]{1,9}[:_])?(?:think|thinking|thoughts?|reasoning|analysis)"
"""In `<…>` and `</…>`: DeepSeek, Qwen, GLM, InternVL, Gemini; with a prefix Seed and MiniMax."""
_FAMILIES = (
    (r"\[think\]", "[/THINK]"),  # Magistral
    (r"◁think▷", "◁/think▷"),  # Kimi-VL
    (r"<\|begin_of_thought\|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    (r"<\|start_thinking\|>", "<|END_THINKING|>"),  # Command A
    (r"<\|channel>thought", "<channel|>"),  # Gemma 4
    (r"<unused94>", "<unused95>"),  # MedGemma
    (r"<\|inner_prefix\|>", "<|inner_suffix|>"),  # Apertus
    (
        r"<\|channel\|>(?:analysis|commentary)<\|message\|>",
        "<|channel|>final<|message|>",
    ),  # gpt-oss
    (r"\A(?-i:analysis(?=[^\Wa-z_]))|assistant(?:analysis|commentary)", "assistantfinal"),
    (r"\AHere is my thought process:", "Here is my response:"),  # Granite
)
"""What opens a thought, and what closes it. The last but one is gpt-oss without special tokens."""
_ANY = "|".join(
    [rf"(?P<tag><(?P<end>/?)(?P<name>{_TAG})>)"]
    + [f"(?P<close>{'|'.join(re.escape(close) for _, close in _FAMILIES)})"]
    + [f"(?P<open{place}>{opening})" for place, (opening, _) in enumerate(_FAMILIES)]
)
_MARK = re.compile(rf"(?=[<\[◁aAhH][^<])(?:{_ANY})", re.IGNORECASE)
_HINT = re.compile("[<[◁]|analysis|assistant|Here is my", re.IGNORECASE)
"""In every mark."""
_TAIL = 200
"""So many characters of a prompt's end are looked at."""


def after_thinking(text: str) -> str | None:
    """Return what follows the last closed thought; None while a thought is still open.

    A text without any mark is all answer. Where the chat template opened a thought, its mark (see
    `opening`) belongs before the text.

    >>> after_thinking("<think> 3 + 4 = 7 </think> 7"), after_thinking("3 + 4 = 7 [/THINK] 7")
    ('7', '7')
    >>> after_thinking("<think> 3 + 4") is None, after_thinking("7")
    (True, '7')
    """
    last = _last(text)
    if last is not None and not _closes(last):
        return None
    return text[last.end() if last else 0 :].strip()


def opening(prompt: str) -> str:
    r"""Return the mark in which a prompt ends, where the chat template opened a thought; else "".

    >>> opening("<|assistant|>\n<think>\n"), opening("Write <think> first.<|assistant|>")
    ('<think>', '')
    """
    tail = prompt[-_TAIL:].rstrip()
    last = _last(tail)
    return last[0] if last and last.end() == len(tail) and not _closes(last) else ""


def closing(text: str) -> str | None:
    """Return the mark that closes the thought in which a text ends; None where it is in none.

    >>> closing("<think> 3 + 4"), closing("<seed:think> 3 + 4"), closing("7")
    ('</think>', '</seed:think>', None)
    """
    last = _last(text)
    if last is None or _closes(last):
        return None
    return f"</{last['name']}>" if last["tag"] else _FAMILIES[int(str(last.lastgroup)[4:])][1]


def parted(text: str) -> tuple[str, str]:
    """Return the thought and the answer of a text that thinks once and then answers.

    Of any other text the thought is empty and the answer all of it.

    >>> parted("<think> 3 + 4 = 7 </think> 7"), parted("3 + 4 = 7 [/THINK] 7"), parted("so 7")
    ((' 3 + 4 = 7 ', ' 7'), ('3 + 4 = 7 ', ' 7'), ('', 'so 7'))
    """
    marks = list(_MARK.finditer(text))
    closes = [_closes(mark) for mark in marks]
    begins = (
        marks[0].end() if closes == [False, True] and not text[: marks[0].start()].strip() else 0
    )
    if closes != [True] and not begins:
        return "", text
    return text[begins : marks[-1].start()], text[marks[-1].end() :]


def _last(text: str) -> re.Match[str] | None:
    marks = _MARK.finditer(text) if _HINT.search(text) else ()
    return next(iter(deque(marks, 1)), None)


def _closes(mark: re.Match[str]) -> bool:
    return bool(mark["close"] or mark["end"])
