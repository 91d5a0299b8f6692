"""What transformers reads of a checkpoint beside its weights: config, tokenizer, processor."""

from pathlib import Path
from typing import Any

from common.errors import UserError
from common.text import said


def loaded(kind: Any, folder: Path | str, part: str, *, own_code: bool = False) -> Any:
    """Return `part` of the checkpoint in `folder`, by one of transformers' automatic classes.

    Args:
        kind: `AutoConfig`, `AutoTokenizer` or `AutoProcessor`.
        folder: Of the checkpoint.
        part: How to name it.
        own_code: Whether the checkpoint's own code may run.

    Raises:
        UserError: transformers cannot load it.
    """
    try:
        return kind.from_pretrained(str(folder), trust_remote_code=own_code)
    except Exception as error:
        raise UserError(f"{folder}: its {part} does not load: {said(error)}") from error
