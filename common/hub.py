"""Where a model or data set lies: a folder here, or `owner/name[@revision]` on the hub.

What is fetched goes to huggingface_hub's own cache, whose folder is named after the commit, so that
`made.json` tells what was really used.
"""

import re
from pathlib import Path
from typing import Literal

from common.errors import UserError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
PAPERS = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
"""What is fetched of a model beside its safetensors."""


def local(place: str, kind: Literal["model", "dataset"] = "model") -> Path:
    """The folder (or file) that `place` stands for, fetched from the hub if it is not here.

    Raises:
        UserError: it is neither here nor on the hub, or the hub cannot be reached.
    """
    path = Path(place)
    is_file = path.suffix in (".json", ".jsonl", ".parquet", ".yaml")
    if path.exists() or is_file or not HUB_NAME.fullmatch(place):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = place.partition("@")
    try:
        found = snapshot_download(
            name,
            repo_type=kind,
            revision=revision or None,
            # Weights in other formats would double the download, and pickles are never read.
            allow_patterns=["*.safetensors", *PAPERS] if kind == "model" else None,
        )
    except GatedRepoError as error:
        raise UserError(
            f"{name} asks for its terms to be accepted on the hub and for a token (`hf auth login`)"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"the hub's {kind} {name} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"there is no folder {place}, and the hub has no public {kind} of this name"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"there is no folder {place}, and it cannot be fetched from the hub "
            f"({type(error).__name__}); go online once, or give a folder"
        ) from error
    return Path(found)


def link(place: str, out: Path, kind: Literal["model", "dataset"] = "model") -> Path:
    """Lay a link at `out` to what `place` stands for: nothing is there twice.

    Args:
        place: A folder here, or `owner/name[@revision]` on the hub, which is fetched.
        out: Where the link goes; a link that is there already is replaced.
        kind: What it is on the hub.

    Returns:
        The folder that the link leads to.

    Raises:
        UserError: there is no such thing, or something other than a link is at `out`.
    """
    found = local(place, kind)
    if not found.exists():
        raise UserError(f"there is no {found}: give a folder, or owner/name on the hub")
    if out.exists() and not out.is_symlink():
        raise UserError(f"{out} exists and is no link: choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.partial")
    aside.unlink(missing_ok=True)
    aside.symlink_to(found.resolve())
    aside.replace(out)
    return found.resolve()
