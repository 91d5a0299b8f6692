"""The forms in which training conversations are written down, read as one: turns and pictures.

Each field of a row, of a turn and of a part of its content is used, or refused by name. Fields that
say where a row is from (`LABELS`) shape no token; they are told to the user.

Sources of the forms: OpenAI's chat and fine-tuning formats (`messages`, `weight`, content parts);
haotian-liu/LLaVA, docs/Finetune_Custom_Data.md, and ShareGPT (`conversations`); TRL, dataset
formats (`prompt` and `completion`); tatsu-lab/stanford_alpaca (`instruction` and `output`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.text import some

MARK = "<image>"
"""Where a picture goes."""
ROLES = {"system": "system", "user": "user", "human": "user", "assistant": "assistant"} | {
    "gpt": "assistant"
}
THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""Fields of a turn that hold what was thought before the answer."""
LABELS = frozenset(
    "id idx index uid uuid question_id image_id source data_source dataset dataset_name split "
    "category subject group floor metadata extra_info".split()
)
"""Fields that say where a row is from."""
OTHER_MARKS = ("<video>", "<audio>")

Raw = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """What one side says at a time."""

    role: str
    """`system`, `user` or `assistant`."""
    text: str
    """With a `MARK` where each picture goes."""
    thought: str = ""
    """What stands beside an answer as the thought before it."""
    learnt: bool = False
    """Whether there is a loss on it; always an answer then."""


def conversation(row: Raw) -> tuple[list[Turn], list[Any], list[str]]:
    """Read a row of any of the forms.

    Returns:
        The turns; the pictures in order, as they are given; the fields of `LABELS` it has.

    Raises:
        ValueError: It cannot be read whole; a predicate that goes on from the name of the row.
    """
    given = {name: value for name, value in row.items() if value is not None}
    form = next((one for one in FORMS if all(name in given for name in one.needs)), None)
    if form is None:
        forms = ", or ".join(" and ".join(f"`{name}`" for name in one.needs) for one in FORMS)
        raise ValueError(f"has neither {forms}")
    named = _taken(given, ("images", "image"))
    pictures = [] if named is None else named if isinstance(named, list) else [named]
    inline: list[Any] = []
    own = {name: given.pop(name) for name in (*form.needs, *form.may) if name in given}
    turns = [_turn(one, inline) for one in form.turns(own)]
    system = given.pop("system", None)
    if not _empty(system):
        if any(turn.role == "system" for turn in turns):
            raise ValueError("has both the field system and a turn of the system")
        turns.insert(0, _turn({"role": "system", "content": system}, inline))
    labels = sorted(LABELS & given.keys())
    _refuse_rest("a field", {k: v for k, v in given.items() if k not in LABELS})
    if pictures and inline:
        raise ValueError("has pictures in its content and others in images; name them in one place")
    return turns, pictures + inline, labels


@dataclass(frozen=True)
class Form:
    """One way to write a conversation down."""

    needs: tuple[str, ...]
    """Fields that it is known by."""
    may: tuple[str, ...]
    """Fields that it may have besides."""
    turns: Callable[[Raw], list[Any]]
    """Those fields → turns, as dicts."""


def _listed(row: Raw) -> list[Any]:
    (turns,) = row.values()
    if not isinstance(turns, list):
        raise ValueError("has turns that are no list")
    return turns


def _asked(row: Raw) -> list[Any]:
    """A question and an answer, each a text or a list of turns; what is asked is not learnt."""
    asked, answer = row.values()
    before = asked if _are_turns(asked) else [{"role": "user", "content": asked}]
    after = answer if _are_turns(answer) else [{"role": "assistant", "content": answer}]
    given = [
        {"loss": False, **turn} if isinstance(turn, dict) and _role(turn) == "assistant" else turn
        for turn in before
    ]
    return [*given, *after]


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and any(
        isinstance(one, dict) and ("role" in one or "from" in one) for one in value
    )


def _alpaca(row: Raw) -> list[Any]:
    question = [row["instruction"], row.get("input")]
    if not all(isinstance(text, str) for text in question if text is not None):
        raise ValueError("has an instruction or input that is no text")
    pairs = row.get("history") or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in pairs
    ):
        raise ValueError("has a history that is no list of pairs")
    return [
        {"role": role, "content": text}
        for pair in [*pairs, ["\n".join(filter(None, question)), row["output"]]]
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


FORMS = (
    Form(("messages",), (), _listed),
    Form(("conversations",), (), _listed),
    Form(("prompt", "completion"), (), _asked),
    Form(("question", "answer"), (), _asked),
    Form(("instruction", "output"), ("input", "history"), _alpaca),
)


def _turn(message: Any, pictures: list[Any]) -> Turn:
    """Read a turn; pictures that its content holds are added to `pictures`."""
    if not isinstance(message, dict):
        raise ValueError("has a turn that is no object with role and content")
    given = dict(message)
    if (role := _role(given)) is None:
        named = given.get("role", given.get("from"))
        raise ValueError(f"has a turn of the role {named!r}; known are {', '.join(ROLES)}")
    _taken(given, ("role", "from"))
    text = _text(_taken(given, ("content", "value")), pictures)
    thought = _taken(given, THOUGHTS)
    flags = {name: given.pop(name) for name in ("loss", "weight") if given.get(name) is not None}
    _refuse_rest("a turn with the field", given)
    for name, flag in flags.items():
        if not isinstance(flag, bool | int | float) or flag not in (0, 1):
            raise ValueError(f"has a turn with the {name} {flag!r}; give 1 (learnt) or 0 (not)")
    answers = role == "assistant"
    if not answers and (any(flags.values()) or thought):
        what = "a thought" if thought else "a loss"
        raise ValueError(f"has {what} at a turn of the {role}; only the assistant's are learnt")
    if thought is not None and not isinstance(thought, str):
        raise ValueError("has a thought that is no text")
    if found := [mark for mark in OTHER_MARKS if mark in text]:
        raise ValueError(f"has {found[0]} in a turn; of media, pictures alone are learnt from")
    if answers and not text.strip():
        raise ValueError("has an empty answer")
    return Turn(role, text, thought or "", answers and all(flags.values()))


def _role(turn: Raw) -> str | None:
    named = turn.get("role", turn.get("from"))
    return ROLES.get(named) if isinstance(named, str) else None


def _text(content: Any, pictures: list[Any]) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise ValueError("has a turn whose content is no text")
    return "".join(_part(part, pictures) for part in content)


def _part(part: Any, pictures: list[Any]) -> str:
    """Read a part of a turn's content: a text, or a picture."""
    if not isinstance(part, dict):
        raise ValueError("has a part of content that is no object with a type")
    given = {name: value for name, value in part.items() if value is not None}
    kind = given.pop("type", None)
    if kind == "text":
        text = given.pop("text", None)
        if not isinstance(text, str):
            raise ValueError("has a part of content whose text is no text")
    elif kind in ("image", "image_url"):
        text = MARK
        picture = _taken(given, ("image", "image_url", "url", "path", "base64"))
        if isinstance(picture, dict) and "url" in picture:
            given |= {name: value for name, value in picture.items() if name != "url"}
            picture = picture["url"]
        if given.get("detail") == "auto":
            del given["detail"]
        pictures += [] if picture is None else [picture]
    else:
        raise ValueError(f"has a part of content of the type {kind!r}; known are text and image")
    _refuse_rest("a part of content with the field", given)
    return text


def _taken(given: Raw, names: tuple[str, ...]) -> Any:
    """Take the first of `names` out of `given` that says something; others stay to be refused."""
    name = next((name for name in names if not _empty(given.get(name))), None)
    name = name or next((name for name in names if name in given), None)
    return None if name is None else given.pop(name)


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | bytes | list | dict) and not value)


def _refuse_rest(what: str, rest: Raw) -> None:
    if names := [str(name) for name, value in rest.items() if not _empty(value)]:
        raise ValueError(
            f"has {what} that training has no use for, {some(names)}; remove it, or write what it "
            "says into the turns"
        )
