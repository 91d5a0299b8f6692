"""Where a model or data set lies: a folder here, or `owner/name[@revision]` on the hub.

    local("Qwen/Qwen2.5-VL-7B-Instruct")        # the folder in huggingface_hub's own cache

That folder is named after the commit, so that `made.json` tells what was really used.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError, near

Kind = Literal["model", "dataset"]

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
COMMIT = re.compile("[0-9a-f]{40}")
FILES = (".json", ".jsonl", ".parquet", ".yaml")
"""Endings of a data file: no data set on the hub is meant."""

PAPERS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""What is fetched of a model beside its safetensors. Weights in other formats would double the
download, and pickles are never read."""

COPIES = ("consolidated*", "*/*.safetensors", "*/*.json", "*/*.model", "*/*.txt", "*/*.tiktoken")
"""The same model again for other programs, at the top or in folders (`onnx/`, `original/`)."""

SECONDS = 10.0
"""In which the hub tells of a model or data set, or counts as out of reach."""


def local(place: str | Path, kind: Kind = "model") -> Path:
    """Return the folder (or file) that `place` stands for, fetched from the hub if it is not here.

    What starts with a folder that is here is meant as a path, never as a name on the hub.

    Raises:
        UserError: It is neither here nor on the hub, or the hub does not give it.
    """
    path = Path(place).expanduser()
    if path.exists():
        return path
    if not is_name(place) or path.parent.is_dir():
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        close = near(path.name, (one.name for one in beside))
        what = "a folder" if kind == "model" else "a file, a folder"
        taken = f" ({path.parent} is a folder here)" if is_name(place) else ""
        raise UserError(f"there is no {place}{taken}: {close}give {what}, or owner/name on the hub")
    name, _, revision = str(place).partition("@")
    try:
        return fetch(name, kind, revision or None)
    except UserError as error:
        raise UserError(f"there is no folder {place}, and {error}") from error


def is_name(place: str | Path) -> bool:
    """Whether a place may be `owner/name[@revision]` on the hub."""
    return bool(NAME.fullmatch(str(place))) and Path(place).suffix not in FILES


def fetch(
    name: str, kind: Kind = "model", revision: str | None = None, only: Sequence[str] | None = None
) -> Path:
    """Return the folder of a model or data set in the hub's cache; what is not there is fetched.

    A copy that is there is enough where the hub does not answer.

    Args:
        name: `owner/name`.
        kind: What it is.
        revision: Branch, tag or commit; None: `main`.
        only: Patterns of the files that are wanted (`fnmatch`, `*` crosses folders); None: of a
            model its safetensors and papers, of a data set everything.

    Raises:
        UserError: The hub does not give it, or the disk does not take it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns: dict[str, Any] = {"allow_patterns": only}
    if kind == "model" and only is None:
        patterns = {"allow_patterns": ["*.safetensors", *PAPERS], "ignore_patterns": [*COPIES]}
    wanted = {"repo_type": kind, "revision": revision, **patterns}
    try:
        told = HfApi().repo_info(
            name, repo_type=kind, revision=revision, files_metadata=True, timeout=SECONDS
        )
    except Exception as error:
        try:
            return Path(snapshot_download(name, local_files_only=True, **wanted))
        except (LocalEntryNotFoundError, ValueError):
            raise UserError(_reason(error, name, kind, revision, reached=False)) from error
    _check_room(told, kind, patterns)
    try:
        return Path(snapshot_download(name, **wanted))
    except Exception as error:
        raise UserError(_reason(error, name, kind, revision, reached=True)) from error


def commit(name: str, kind: Kind = "model", revision: str | None = None) -> str | None:
    """Return the commit that a revision stands for: a commit is asked of nobody.

    Where the hub does not tell, it is that of the copy in the cache; None without one.
    """
    from huggingface_hub import HfApi, constants

    if revision and COMMIT.fullmatch(revision):
        return revision
    try:
        return HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=SECONDS).sha
    except Exception:
        folder = f"{kind}s--{name.replace('/', '--')}"
        kept = Path(constants.HF_HUB_CACHE, folder, "refs", revision or "main")
        return kept.read_text() if kept.is_file() else None


def silence() -> str:
    """Return why the hub does not answer, empty where it does."""
    import urllib.error
    import urllib.request

    from huggingface_hub.constants import ENDPOINT

    try:
        urllib.request.urlopen(ENDPOINT, timeout=SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except OSError as error:
        return str(error)
    return ""


def link(place: str, out: Path, kind: Kind = "model") -> Path:
    """Lay a link at `out` to what `place` stands for: nothing is there twice.

    Args:
        place: A folder here, or `owner/name[@revision]` on the hub, which is fetched.
        out: Where the link goes; a link that is there already is replaced.
        kind: What it is on the hub.

    Returns:
        The folder that the link leads to.

    Raises:
        UserError: There is no such thing, or something other than a link is at `out`.
    """
    found = local(place, kind).resolve()
    if out.exists() and not out.is_symlink():
        raise UserError(f"{out} exists and is no link: choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.partial")
    aside.unlink(missing_ok=True)
    aside.symlink_to(found)
    aside.replace(out)
    return found


def free_bytes(place: str | Path) -> int:
    """Return what is free on the disk that a folder lies on, or will."""
    path = Path(place).absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def _check_room(told: Any, kind: Kind, patterns: dict[str, Any]) -> None:
    """Refuse a download that the disk of the hub's cache has no room for."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    wanted = filter_repo_objects(told.siblings or (), key=lambda file: file.rfilename, **patterns)
    missing = sum(
        file.size or 0
        for file in wanted
        if not try_to_load_from_cache(told.id, file.rfilename, revision=told.sha, repo_type=kind)
    )
    free = free_bytes(constants.HF_HUB_CACHE)
    if missing > free:
        raise UserError(
            f"{told.id} takes {missing / 2**30:.1f} GiB more, and {constants.HF_HUB_CACHE} has "
            f"{free / 2**30:.1f} GiB free: make room there, or set HF_HOME to a larger disk"
        )


def _reason(error: Exception, name: str, kind: Kind, revision: str | None, *, reached: bool) -> str:
    """Return why the hub does not give something, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    if isinstance(error, hub.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    noun, page = ("model", name) if kind == "model" else ("data set", f"datasets/{name}")
    said = (str(error).split("\n")[0] or type(error).__name__).strip()
    match error:
        case hub.GatedRepoError():
            return (
                f"the {noun} {name} is gated: accept the terms at {constants.ENDPOINT}/{page}, and "
                "log in (`hf auth login`)"
            )
        case hub.RevisionNotFoundError():
            return f"the hub's {noun} {name} has no revision {revision}"
        case hub.RepositoryNotFoundError():
            return f"the hub has no public {noun} {name} (a private one takes `hf auth login`)"
        case hub.HFValidationError():
            return f"the hub takes no such name ({said})"
        case hub.HfHubHTTPError() if (code := error.response.status_code) == 429 or code >= 500:
            busy = "has too many requests" if code == 429 else "is out of order"
            return f"the hub {busy} ({code}): try later"
        case hub.HfHubHTTPError():
            return f"the hub refuses the {noun} {name} ({error.server_message or said})"
        case OSError(errno=int()) if not isinstance(error, ConnectionError):
            return f"{constants.HF_HUB_CACHE} cannot take the {noun} {name}: {error.strerror}"
        case _ if reached:
            return (
                f"the {noun} {name} broke off while it was fetched ({said}): the same command "
                "goes on with what is missing"
            )
    return f"the hub cannot be reached ({type(error).__name__}): go online once, or give a folder"
