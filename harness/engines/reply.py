"""What an endpoint says, in whichever of the forms that real servers write: read, or refused."""

import email.utils
import json
import math
import re
import time
from dataclasses import dataclass
from typing import Any

from harness.checkpoints.kinds import Served
from harness.runs.schema import Finish

FINISHES: dict[str, Finish] = {
    # OpenAI, vLLM, SGLang; TGI; Anthropic; Cohere; Mistral; Gemini writes them in capitals.
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "complete": "stop",
    "tool_calls": "stop",
    "tool_use": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    # vLLM ends an answer that repeats itself: the model had not come to an end.
    "repetition": "length",
}
WITHHELD = ("content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content")
"""Reasons for which a model's answer is kept back."""
BROKEN_OFF = ("abort", "aborted", "error", "insufficient_system_resource")
"""Reasons that are the server's trouble, and no end of an answer."""

LONGEST_WAIT = 1e10
"""Seconds; who asks for more means for ever."""


class Refused(Exception):
    """This question is not answered.

    Attributes:
        certain: It is the question's fault whoever asks again; else the endpoint may be out of
            order, and refuse all.
    """

    def __init__(self, words: str, certain: bool = False) -> None:
        super().__init__(words)
        self.certain = certain


class Closed(Exception):
    """No question is answered here."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(words)
        self.status = status


class Failed(Exception):
    """No answer this time.

    Attributes:
        wait: Seconds that the endpoint asks to be left alone, or None.
        down: It does not even take the connection, or drops it.
        counted: It may be the question's fault.
        crowded: It has too much to do.
    """

    def __init__(
        self,
        words: str,
        *,
        wait: float | None = None,
        down: bool = False,
        counted: bool = True,
        crowded: bool = False,
    ) -> None:
        super().__init__(words)
        self.wait, self.down, self.counted, self.crowded = wait, down, counted, crowded


class Unreadable(Failed):
    """The endpoint answered, and what it wrote is no answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a chat completion says."""

    text: str
    finish: Finish
    reason: str
    """Why it ended, in a word that is not known; empty where it is."""
    ids: list[int] | None
    """Of its tokens."""
    model: str
    """Who answered."""
    tokens_in: int
    tokens_image: int
    tokens_out: int


def loads(content: bytes) -> Any:
    """Read JSON.

    Raises:
        Unreadable: It is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Unreadable("its reply is not JSON") from None


def answer(told: Any, most: int) -> Answer:
    """Read a chat completion.

    Args:
        told: The reply.
        most: Tokens that were asked for: an answer that has them ended there, where no reason that
            is known is given.

    Raises:
        Unreadable: It is no chat completion.
        Refused: The answer was kept back.
    """
    choices = _object(told).get("choices")
    choice = _object(choices[0]) if isinstance(choices, list) and choices else {}
    message = choice.get("message")
    if not isinstance(message, dict):
        raise Unreadable(f"its reply is no chat completion: {_complaint(told) or 'no message'}")
    text, usage = text_of(message), _object(told.get("usage"))
    images = _object(_object(usage.get("prompt_tokens_details")).get("multimodal_tokens"))
    out = _count(usage.get("completion_tokens"))
    given = choice.get("finish_reason")
    if isinstance(given, list) and len(given) == 1:
        (given,) = given
    word = given if isinstance(given, str) else "none" if given is None else type(given).__name__
    finish = FINISHES.get(word.lower())
    if word.lower() in WITHHELD:
        raise Refused(f"the endpoint withheld the answer ({word})", certain=True)
    if word.lower() in BROKEN_OFF or not (finish or text):
        raise Unreadable(f"its answer broke off (finish reason: {word})")
    ids = choice.get("token_ids")
    return Answer(
        text=text,
        finish=finish or ("length" if out >= most else "stop"),
        reason="" if finish else word,
        ids=ids if isinstance(ids, list) and ids and all(map(_is_id, ids)) else None,
        model=_word(told.get("model")),
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_image=_count(images.get("image")),
        tokens_out=out,
    )


def models(told: Any) -> list[Served]:
    """Read a list of models, their software left open; empty where it is none."""
    listed = told.get("data", told.get("models")) if isinstance(told, dict) else told
    cards = [_object(card) for card in listed] if isinstance(listed, list) else []
    return [
        Served(
            model=name,
            root=_word(card.get("root")) or None,
            owner=_word(card.get("owned_by")),
            context=_count(card.get("max_model_len")) or None,
        )
        for card in cards
        if (name := _word(card.get("id")))
    ]


def complaint(content: bytes) -> str:
    """Return what the body of an error says; empty where it is empty."""
    try:
        said = _complaint(loads(content))
    except Unreadable:
        said = ""
    return said or content.decode(errors="replace")


def retry_after(asked: str) -> float | None:
    """Return the seconds that a reply asks to wait; RFC 9110 allows a number or a date."""
    try:
        if re.fullmatch(r"\d+(\.\d+)?", asked):
            return min(float(asked), LONGEST_WAIT)
        due = email.utils.parsedate_to_datetime(asked).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, due - time.time()), LONGEST_WAIT)


def text_of(message: dict[str, Any]) -> str:
    """Return all that was generated: a thought that the server cut out goes back to its place.

    Raises:
        Unreadable: It has a part that is no text.
    """
    inner, text = _parts(message.get("content"))
    if text == "" and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    apart = message.get("reasoning") or message.get("reasoning_content")
    thought = "".join(_parts(apart)) or inner
    if not thought:
        return text
    return f"<think>{thought}</think>{text}" if text else f"<think>{thought}"


def _parts(content: Any) -> tuple[str, str]:
    """Split content, a text or a list of parts, into thought and text."""
    if content is None or isinstance(content, str):
        return "", content or ""
    thought, text = "", ""
    for part in content if isinstance(content, list) else [content]:
        said = {"type": "text", "text": part} if isinstance(part, str) else _object(part)
        kind = said.get("type", "text")
        if kind in ("thinking", "reasoning"):
            thought += "".join(_parts(said.get(kind, said.get("text"))))
        elif isinstance(said.get("text"), str):
            text += said["text"]
        else:
            raise Unreadable("its answer has a part that is no text")
    return thought, text


def _complaint(told: Any) -> str:
    inner = told.get("error", told) if isinstance(told, dict) else told
    if isinstance(inner, dict):
        inner = inner.get("message") or inner.get("detail")
    return inner if isinstance(inner, str) else ""


def _object(told: Any) -> dict[str, Any]:
    return told if isinstance(told, dict) else {}


def _word(told: Any) -> str:
    return told if isinstance(told, str) else ""


def _count(told: Any) -> int:
    """Return a number of tokens; 0 where it is none."""
    if isinstance(told, int | float) and math.isfinite(told) and 0 < told < 2**53:
        return int(told)
    return 0


def _is_id(told: Any) -> bool:
    return isinstance(told, int) and 0 <= told < 2**31
