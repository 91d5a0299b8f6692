"""The place in a record where an answer stands → the answers in it: texts, or why there is none.

A text, content parts, a chat, a chat completion, a message, or a list of these, an entry for each
sample. Whatever else stands there is refused by name.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from common.text import some
from harness.engines.reply import BROKEN_OFF, FINISHES, WITHHELD, Unreadable, text_of

FAILED = ("Failed to obtain answer", "[LMMS_EVAL_")
"""How a text begins that VLMEvalKit (vlmeval/inference.py@0044c573) or lmms-eval 0.7 writes where
no model answered."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer, as far as its own place tells."""

    text: str | None
    """None: there is none."""
    cut: bool = False
    error: str = ""
    """Why there is none, in the other tool's words."""


def as_text(value: Any) -> str | None:
    """Return a text, or a number as one; None for all else."""
    if isinstance(value, float) and math.isfinite(value):
        value = int(value) if value.is_integer() else str(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _is_number(value: Any) -> bool:
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def said_in(value: Any) -> list[Said]:
    """Return the answers where answers stand: one, or those of nested lists.

    Raises:
        ValueError: There is something else.
    """
    if value is None or value != value:
        return [Said(text=None)]
    if isinstance(value, dict):
        return _of_object(value)
    if isinstance(value, list):
        if value and all(isinstance(one, dict) for one in value):
            if all("role" in one for one in value):
                given = [one for one in value if one["role"] in ("assistant", "model")]
                return said_in(given[-1]) if given else [Said(text=None)]
            if all(isinstance(one.get("type"), str) for one in value):
                return [_message({"content": list(_parts(value))})]
        if len(value) == 2 and _is_number(value[0]) and str(value[1]) in ("True", "False"):
            raise ValueError("it holds log-likelihoods of options, where a text is expected")
        return [said for one in value for said in said_in(one)] or [Said(text=None)]
    text = as_text(value)
    if text is None:
        raise ValueError(f"where its answer should be it holds {value!r:.40}")
    if text.lstrip().startswith(FAILED):
        return [Said(text=None, error=" ".join(text.split())[:300])]
    return [Said(text=text)]


def _of_object(value: dict[str, Any]) -> list[Said]:
    """Read a chat completion, one of its choices, a message, or an object with a text."""
    for field in ("choices", "outputs", "output"):  # `outputs`: vLLM's RequestOutput
        if isinstance(value.get(field), list):
            return ended(value, said_in(value[field]))
    if "content" in value:
        return ended(value, [_message(value)])
    for field in ("message", "text", "generated_text"):
        if field in value:
            return ended(value, said_in(value[field]))
    raise ValueError(f"its answer is an object without a text: its fields are {some(list(value))}")


def _parts(items: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """Yield content parts, those of the messages of an OpenAI response among them."""
    for one in items:
        inner = one.get("content") if one["type"] == "message" else None
        yield from inner if isinstance(inner, list) else [one]


def _message(message: dict[str, Any]) -> Said:
    try:
        text = text_of(message)
    except Unreadable as error:
        raise ValueError(str(error)) from error
    return Said(text=None if text == "" and message["content"] is None else text)


def ended(of: dict[str, Any], several: list[Said]) -> list[Said]:
    """Return answers as the reason tells for which they ended."""
    told = of.get("finish_reason") or of.get("stop_reason") or ("output" in of and of.get("status"))
    reason = told.lower() if isinstance(told, str) else ""
    if reason in (*WITHHELD, *BROKEN_OFF):
        return [Said(text=None, error=f"the answer ended for the reason {reason}") for _ in several]
    if FINISHES.get(reason) == "length" or reason == "incomplete":
        several = [one if one.error else Said(text=one.text or "", cut=True) for one in several]
    return several
