"""The chat template of a checkpoint: found where transformers and vLLM find it, in their order.

A processor's own comes first, a tokenizer's second. Either may lie in files of its own, or in a
field; there may be several by name, of which `default` makes the prompt of a question.

Sources: transformers 5.19, processing_utils.py (`get_processor_dict`) and
tokenization_utils_base.py (`_from_pretrained`, `get_chat_template`); vLLM 0.32, renderers/hf.py
(`resolve_chat_template`). What vLLM holds ready for models without any is for plain text alone.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.typed import read_json

FILE = "chat_template.jinja"
MORE = "additional_chat_templates"


def own(folder: Path, of_processor: bool) -> str | None:
    """Return the chat template of a checkpoint, None where it has none.

    Args:
        folder: The checkpoint's, or that of an adapter with a tokenizer beside it.
        of_processor: A processor reads it; else a tokenizer alone.

    Raises:
        UserError: It cannot be read, or there are several and none is the default.
    """
    files = {path.stem: _text(path) for path in sorted((folder / MORE).glob("*.jinja"))}
    if (folder / FILE).is_file():
        files["default"] = _text(folder / FILE)
    places = [(folder / FILE, files), _field(folder / "tokenizer_config.json")]
    if of_processor:
        fields = ("processor_config.json", "chat_template.json")
        places = [*(_field(folder / name) for name in fields), *places]
    for path, found in places:
        if found:
            return default(found, f"{path} holds")
    return None


def given(file: Path) -> str:
    """Return the chat template that a user gives.

    Raises:
        UserError: There is none in the file.
    """
    text = _text(file)
    if not text.strip():
        raise UserError(f"the chat template {file} is empty")
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the chat template {path} cannot be read: {error}") from error


def _field(path: Path) -> tuple[Path, Any]:
    """Return where a field lies, and what is in it."""
    return path, read_json(path).get("chat_template") if path.is_file() else None


def default(found: Any, holds: str = "the checkpoint has") -> str:
    """Return the template that makes the prompt of a question.

    Args:
        found: A template, or several by name, as files and processors hold them.
        holds: Who holds them, for messages.

    Raises:
        UserError: None is the default.
    """
    if isinstance(found, list):  # as a tokenizer_config.json holds several
        found = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
    if isinstance(found, dict):
        if "default" not in found:
            raise UserError(
                f"{holds} the chat templates {', '.join(map(str, found))} and none that is "
                "the default: choose one with --chat-template FILE"
            )
        found = found["default"]
    if not isinstance(found, str):
        raise UserError(f"{holds} a chat template that is no text")
    return found


def tells_day(template: str) -> bool:
    """Whether a chat template tells the model what day it is."""
    return "strftime_now" in template


def clock(template: str, day: str) -> dict[str, Any]:
    """Return what `apply_chat_template` takes so that a template tells one day throughout.

    Args:
        template: The chat template; most tell no day, and nothing is needed.
        day: `2026-01-31`; empty: today.
    """
    when = datetime.fromisoformat(day) if day else datetime.now()
    return {"strftime_now": when.strftime} if tells_day(template) else {}
