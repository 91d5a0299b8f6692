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
from common.files import replaced

Kind = Literal["model", "dataset"]

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
COMMIT = re.compile("[0-9a-f]{40}")
FILES = (".json", ".jsonl", ".parquet", ".yaml")
"""Endings of a data file: no data set on the hub is meant."""

PAPERS = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")
"""What is fetched of a model beside its safetensors. Weights in other formats would double the
download, and pickles are never read. Code is named by its digest, and run by no default."""

COPIES = ("consolidated*", "*/*.safetensors", "*/*.json", "*/*.model", "*/*.txt", "*/*.tiktoken")
"""The same model again for other programs, at the top or in folders (`onnx/`, `original/`)."""

SECONDS = 10.0
"""In which the hub tells of a model or data set, or counts as out of reach."""


class OutOfReach(UserError):
    """The hub does not answer."""


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
    name: str,
    kind: Kind = "model",
    revision: str | None = None,
    only: Sequence[str] | None = None,
    cache: Path | None = None,
) -> Path:
    """Return the folder of a model or data set in the hub's cache; what is not there is fetched.

    A copy that is there is enough where the hub does not answer.

    Args:
        name: `owner/name`.
        kind: What it is.
        revision: Branch, tag or commit; None: `main`.
        only: Patterns of the files that are wanted (`fnmatch`, `*` crosses folders); None: of a
            model its safetensors and papers, of a data set everything.
        cache: Folder to keep it in instead of the hub's own.

    Raises:
        UserError: The hub does not give it, or the disk does not take it.
    """
    from huggingface_hub import snapshot_download

    wanted = {"repo_type": kind, "revision": revision, "cache_dir": cache, **_wanted(kind, only)}
    try:
        found = told(name, kind, revision)
    except UserError:
        if there := cached(name, kind, revision, only):
            return there
        raise
    _check_room(found, kind, only)
    try:
        return Path(snapshot_download(name, **wanted))
    except Exception as error:
        raise UserError(_reason(error, name, kind, revision)) from error


def cached(
    name: str,
    kind: Kind = "model",
    revision: str | None = None,
    only: Sequence[str] | None = None,
) -> Path | None:
    """Return the folder of a copy in the hub's cache, see `fetch`; None where it is not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = {"repo_type": kind, "revision": revision, **_wanted(kind, only)}
    try:
        place = snapshot_download(name, local_files_only=True, **wanted)
    except (LocalEntryNotFoundError, ValueError):
        return None
    return Path(place)


def headers(found: Any) -> dict[str, dict[str, Any]]:
    """Return the header of each safetensors file of a model that the hub has `told` of.

    Raises:
        UserError: The hub does not give one.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    names = [file.rfilename for file in found.siblings or ()]
    wanted = filter_repo_objects(names, allow_patterns="*.safetensors", ignore_patterns=[*COPIES])
    try:
        read = {
            name: HfApi().parse_safetensors_file_metadata(found.id, name, revision=found.sha)
            for name in wanted
        }
    except Exception as error:
        raise UserError(_reason(error, found.id, "model", found.sha)) from error
    fields = ("dtype", "shape", "data_offsets")
    return {
        name: {key: {of: getattr(one, of) for of in fields} for key, one in head.tensors.items()}
        for name, head in read.items()
    }


def told(name: str, kind: Kind = "model", revision: str | None = None) -> Any:
    """Return what the hub tells of a model or data set: its commit (`sha`), files, their sizes.

    Raises:
        OutOfReach: The hub does not answer.
        UserError: It does not give it.
    """
    from huggingface_hub import HfApi

    try:
        return HfApi().repo_info(
            name, repo_type=kind, revision=revision, files_metadata=True, timeout=SECONDS
        )
    except Exception as error:
        if (reason := _refusal(error, name, kind, revision)) is None:
            raise OutOfReach(
                f"the hub cannot be reached ({type(error).__name__}): go online once, or give a "
                "folder"
            ) from error
        raise UserError(reason) from error


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
    with replaced(out) as aside:
        aside.symlink_to(found)
    return found


def free_bytes(place: str | Path) -> int:
    """Return what is free on the disk that a folder lies on, or will."""
    path = Path(place).absolute()
    return shutil.disk_usage(next(one for one in (path, *path.parents) if one.exists())).free


def missing_bytes(found: Any, kind: Kind = "model", only: Sequence[str] | None = None) -> int:
    """Return the bytes that `fetch` would fetch of something `told`: what the cache lacks."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.utils import filter_repo_objects

    files = found.siblings or ()
    wanted = filter_repo_objects(files, key=lambda one: one.rfilename, **_wanted(kind, only))
    return sum(
        file.size or 0
        for file in wanted
        if not try_to_load_from_cache(found.id, file.rfilename, revision=found.sha, repo_type=kind)
    )


def _wanted(kind: Kind, only: Sequence[str] | None) -> dict[str, Any]:
    if kind == "dataset":
        return {"allow_patterns": only}
    return {"allow_patterns": only or ["*.safetensors", *PAPERS], "ignore_patterns": [*COPIES]}


def _check_room(found: Any, kind: Kind, only: Sequence[str] | None) -> None:
    """Refuse a download that the disk of the hub's cache has no room for."""
    from huggingface_hub import constants

    missing, free = missing_bytes(found, kind, only), free_bytes(constants.HF_HUB_CACHE)
    if missing > free:
        raise UserError(
            f"{found.id} takes {missing / 2**30:.1f} GiB more, and {constants.HF_HUB_CACHE} has "
            f"{free / 2**30:.1f} GiB free: make room there, or set HF_HOME to a larger disk"
        )


def _reason(error: Exception, name: str, kind: Kind, revision: str | None) -> str:
    """Return why a download ended before its end, and what to do."""
    noun = "model" if kind == "model" else "data set"
    return _refusal(error, name, kind, revision) or (
        f"the {noun} {name} broke off while it was fetched ({_said(error)}): the same command goes "
        "on with what is missing"
    )


def _refusal(error: Exception, name: str, kind: Kind, revision: str | None) -> str | None:
    """Return why the hub does not give something, and what to do; None: it does not answer."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    if isinstance(error, hub.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    noun, page = ("model", name) if kind == "model" else ("data set", f"datasets/{name}")
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
            return f"the hub takes no such name ({_said(error)})"
        case hub.HfHubHTTPError() if (code := error.response.status_code) == 429 or code >= 500:
            busy = "has too many requests" if code == 429 else "is out of order"
            return f"the hub {busy} ({code}): try later"
        case hub.HfHubHTTPError():
            return f"the hub refuses the {noun} {name} ({error.server_message or _said(error)})"
        case OSError(errno=int()) if not isinstance(error, ConnectionError):
            return f"{constants.HF_HUB_CACHE} cannot take the {noun} {name}: {error.strerror}"
    return None


def _said(error: Exception) -> str:
    return (str(error).split("\n")[0] or type(error).__name__).strip()
