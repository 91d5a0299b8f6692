"""What a step read, wrote and was made by, as hashes: equal, it need not run again."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from common.files import Stamped


class Fingerprints(Stamped):
    """Content hashes of files and folders; a file is read again only when it was touched."""

    def tree(self, path: Path) -> str | None:
        """Of a file, or of all files below a folder; None when there is nothing."""
        if path.is_file():
            return self.of(path, _sha256)
        if not path.is_dir():
            return None
        total = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not _passing(p)):
            total.update(f"{file.relative_to(path)} {self.of(file, _sha256)}\n".encode())
        return total.hexdigest()

    def code(self, packages: Sequence[str]) -> str:
        """Of the source of some packages."""
        total = hashlib.sha256()
        for name in packages:
            spec = find_spec(name)
            assert spec and spec.submodule_search_locations, f"{name} is not installed"
            total.update((self.tree(Path(spec.submodule_search_locations[0])) or "").encode())
        return total.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _passing(path: Path) -> bool:
    """Locks and byte code come and go without meaning anything."""
    return path.suffix in (".lock", ".pyc") or path.name == "lock"
