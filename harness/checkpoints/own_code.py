"""Checkpoints with Python code of their own: named by a digest, and run only if that is asked for.

transformers runs the files that `auto_map` names where a checkpoint is of a type that it has no
class for. What they do nobody has looked at: they are refused, unless the user names the digest of
all of them, which says that these very files were read.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import torch_guard
from common.errors import UserError
from common.provenance import digest
from common.text import said
from common.typed import read_json
from drift.fingerprints import sha256

PLACES = (
    *("config.json", "tokenizer_config.json", "processor_config.json"),
    *("preprocessor_config.json", "video_preprocessor_config.json"),
)
"""Files whose `auto_map` names classes."""
CONVERTED = {
    "internvl_chat": "OpenGVLab's checkpoint of the same name that ends in -HF",
    "phi4mm": "the revision of the checkpoint for transformers' own class",
    "minicpmv": "MiniCPM-V 4.6, for which transformers has a class",
}
"""`model_type` → the same model without code of its own."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that a checkpoint brings, as it was when the checkpoint was opened."""

    files: dict[str, str]
    """Name → sha256 of each file that is reached."""
    commit: str
    """Of the snapshot that it lies in, as the weights do; `unknown` of a plain folder."""
    classes: tuple[str, ...]
    """Keys of config.json's `auto_map`."""

    @property
    def digest(self) -> str:
        """Over the names and contents of all files."""
        return digest(self.files)

    def note(self) -> str:
        """Say what ran, for the record."""
        return (
            f"code of its own was run: {', '.join(self.files)} (digest {self.digest}; commit of "
            f"the weights {self.commit}, of the code {self.commit})"
        )


def own_code(path: Path, config: dict[str, Any]) -> Code | None:
    """Return the code that a checkpoint cannot be loaded without; None if it needs none.

    Raises:
        UserError: Part of it lies elsewhere, or is missing.
    """
    classes = config.get("auto_map")
    if not isinstance(classes, dict) or _is_native(str(config.get("model_type"))):
        return None
    waiting = {_file(path, value) for value in _named(path)}
    files: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        try:
            content = (path / name).read_bytes()
        except OSError as error:
            raise UserError(
                f"{path} needs {name}, code of its own, which is not there: {error.strerror}"
            ) from error
        files[name] = sha256(content)
        waiting |= _imported(path, name, content) - files.keys()
    snapshot = path.resolve()
    found = snapshot.name if snapshot.parent.name == "snapshots" else "unknown"
    return Code(files=dict(sorted(files.items())), commit=found, classes=tuple(classes))


def admit(path: Path, config: dict[str, Any], trusted: str | None) -> Code | None:
    """Return the code that a checkpoint may run, None if it needs none.

    Args:
        path: The checkpoint's folder.
        config: Its `config.json`.
        trusted: Digest of the code that the user has read; None: none is run.

    Raises:
        UserError: It needs code, and the user did not name just this code.
    """
    code = own_code(path, config)
    if code is None:
        if trusted:
            raise UserError(f"{path} needs no code of its own: leave --trust-code out")
        return None
    if trusted is None:
        kind = str(config.get("model_type"))
        converted = CONVERTED.get(kind, "a converted checkpoint, if there is one (its name in -hf)")
        raise UserError(
            f"{path} needs code of its own ({', '.join(code.files)}), which is not run: serve it "
            "with `vllm serve --trust-remote-code` and ask it with --engine server, or take "
            f"{converted}; who has read the files may run them with --trust-code {code.digest}"
        )
    if trusted != code.digest:
        raise UserError(
            f"the code of {path} ({', '.join(code.files)}) has the digest {code.digest}, not "
            f"{trusted}: read it again before it is run"
        )
    return code


def _named(path: Path) -> set[str]:
    """Return all values of `auto_map`: `module.Class`, or several of them in a list."""
    found: set[str] = set()
    for place in PLACES:
        if not (path / place).is_file():
            continue
        named = read_json(path / place).get("auto_map")
        for value in (named or {}).values() if isinstance(named, dict) else named or ():
            found |= {one for one in (value if isinstance(value, list) else [value]) if one}
    return found


def _file(path: Path, value: Any) -> str:
    """Return the file that `module.Class` lies in."""
    text = str(value)
    if "--" in text:
        raise UserError(
            f"{path} takes code from another repository ({text.partition('--')[0]}), which no "
            "revision of its own pins: serve it elsewhere and ask it with --engine server"
        )
    if not re.fullmatch(r"\w+\.\w+", text):
        raise UserError(f"{path} names {text!r} in auto_map, which is no module and class")
    return f"{text.partition('.')[0]}.py"


def _imported(path: Path, name: str, content: bytes) -> set[str]:
    """Return the files that a file imports from beside itself."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path / name} is no Python: {said(error)}") from error
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level > 1:
                raise UserError(f"{path / name} imports from outside its folder: it is not run")
            modules = [node.module] if node.module else [one.name for one in node.names]
            found |= {str(Path(name).parent / f"{one.replace('.', '/')}.py") for one in modules}
    return found


def _is_native(model_type: str) -> bool:
    """Whether transformers has classes for it, which are then taken."""
    torch_guard.install()
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES
