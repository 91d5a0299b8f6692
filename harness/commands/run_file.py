"""A run as one YAML file: every option of `driftbench eval`, read, and written beside each run.

checkpoints: [vlm]
tasks: [mathvista, mathverse]
out: runs/mine
temperature: 0.6
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer import Context

from common.errors import UserError
from common.text import printable
from common.typed import as_kind, as_yaml, read_bytes
from harness.commands import as_typed

if TYPE_CHECKING:
    from harness.checkpoints.kinds import Checkpoint

MOST_BYTES = 2**20

TYPED = ("key_env", "trust_code")
"""What a file, which others may have written, is not given: a secret to send, code to run."""

PASSING = ("overwrite", "retry_errors", "shard", "data_parallel", "dry_run", "report_to")
"""How a command went about it: a repetition need not."""

Value = tuple[str, ...] | bool | str | None


def expand(context: Context, words: list[str]) -> list[str]:
    """Put what a file says in place of its name: its options as defaults, and its checkpoints.

    Args:
        context: Of the command; options that were typed, or given from Python, stand over the
            file's.
        words: The checkpoints as typed, among them perhaps a file `….yaml`.

    Returns:
        The checkpoints: those typed beside the file, or else its own.

    Raises:
        UserError: The file is not there, or has a field that is no option or not of its kind.
    """
    files = [w for w in words if Path(w).suffix in (".yaml", ".yml") and not Path(w).is_dir()]
    if not files:
        return words
    if len(files) > 1:
        raise UserError(f"{files[0]} and {files[1]} are two runs: give one file at a time")
    path = Path(files[0])
    defaults = _read(path, context)
    own = defaults.pop("checkpoints", [])
    found = [word for word in words if word != files[0]] or own
    if not found:
        raise UserError(f"{path} names no checkpoints: give some, checkpoints: [vlm]")
    context.default_map = {**defaults, **(context.default_map or {})}
    return found


def _read(path: Path, context: Context) -> dict[str, Any]:
    """Return the fields of a file, each as its option takes it from a command line."""
    try:
        content = as_yaml(read_bytes(path, MOST_BYTES), path)
    except FileNotFoundError:
        raise UserError(f"there is no file {path} with the options of a run") from None
    given = as_kind(content, dict[str, Value], path)
    for word in given:
        if word.replace("-", "_") in TYPED:
            raise UserError(
                f"{path}: {word} is not taken from a file, which may be another's: "
                f"give --{word.replace('_', '-')} on the command line"
            )
    return as_typed.checked(context, given, f"{path}: ")


def texts(
    given: Mapping[str, Any], checkpoints: "Sequence[Checkpoint]", out: Path
) -> dict[str, str]:
    """Return what each run keeps as `run.yaml`: checkpoint's name → the file that repeats it.

    Args:
        given: Option → its value, of all options of the command.
        checkpoints: The opened ones, in the order of `given["checkpoints"]`.
        out: The run folder of one checkpoint, the folder of those of several.
    """
    from tasks import resolved

    protocol = resolved(given["protocol"]) if given["protocol"] else None
    found = {}
    for word, one in zip(given["checkpoints"], checkpoints, strict=True):
        folder = out if len(checkpoints) == 1 else out / one.name
        own = {
            **given,
            "checkpoints": [_pinned(word, one.path)],
            "out": folder,
            "protocol": protocol,
        }
        found[one.name] = _text(own, folder)
    return found


def _pinned(word: str, path: Path) -> str:
    """Return a checkpoint as typed; one of the hub with the commit that was fetched."""
    fetched = path.parent.name == "snapshots" and not Path(word).exists()
    return f"{word.partition('@')[0]}@{path.name}" if fetched else word


def _text(given: Mapping[str, Any], folder: Path) -> str:
    import yaml

    words = ["driftbench", "eval", str(folder / "run.yaml")]
    for name in TYPED:
        if given.get(name):
            words += [f"--{name.replace('_', '-')}", given[name]]
    kept = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None and name not in (*TYPED, *PASSING)
    }
    written = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return f"# {printable(shlex.join(words))}\n{written}"
