"""From a benchmark's rows to questions, and what the rows were."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import UserError
from common.files import Stamped, cache_folder, settle, stamp
from common.provenance import digest
from harness.runs import folder
from harness.runs.schema import UTF8, Image, Question
from tasks import Row, Task
from tasks.data import FOLDER, first


class Pictures:
    """The pictures of questions: named by their content, and kept beside a run folder.

    A file that was read before and has not been touched since is not read again.
    """

    WORTHWHILE = 200
    """Fewer pictures are read again sooner than it is looked up what they were."""

    def __init__(self, run: Path | None) -> None:
        """Begin without any.

        Args:
            run: The folder; None: they are named, but not kept.
        """
        self.paths: dict[str, Path] = {}
        """sha256 → where a picture of this content was found."""
        self._run = run
        self._found: dict[str, Image] = {}
        self._known: dict[str, Stamped] = {}
        """Folder → file → sha256."""
        self._unsettled: list[Path] = []

    def image(self, path: Path) -> Image:
        """Return a picture, without its bytes."""
        where = str(path)  # hashed sooner than a path
        if where not in self._found:
            self._found[where] = self._named(path)
            self.paths[self._found[where].sha256] = path
        return self._found[where]

    def _named(self, path: Path) -> Image:
        parent, name = os.path.split(path)
        if parent not in self._known:
            self._known[parent] = Stamped(_remembered(parent))
        known, now = self._known[parent], stamp(path)
        suffix = path.suffix.lower()
        if sha256 := known.get(name, now):
            image = Image(sha256, suffix, b"")
            if self._run is None or folder.has_image(self._run, image, size=now[0]):
                return image
        content = path.read_bytes()
        whole = Image(hashlib.sha256(content).hexdigest(), suffix, content)
        if self._run is not None and (stored := folder.store_image(self._run, whole)):
            self._unsettled.append(stored)
        known.put(name, now, whole.sha256)
        return Image(whole.sha256, suffix, b"")

    def remember(self) -> None:
        """See that the pictures are on the disk; keep their names, where many were read.

        Raises:
            UserError: A picture cannot be written.
        """
        settle(self._unsettled)
        self._unsettled.clear()
        for known in self._known.values():
            if known.fresh >= self.WORTHWHILE:
                known.save()


def _remembered(parent: str) -> Path:
    name = hashlib.sha256(os.path.realpath(parent).encode(*UTF8)).hexdigest()
    return cache_folder() / "named" / f"{name}.json"


def questions_of(task: Task, rows: Sequence[Row], pictures: Pictures) -> list[Question]:
    """Turn rows into questions.

    Raises:
        UserError: Some rows cannot be asked; the sentence has their number and the first names.
    """
    questions, troubles = [], {}
    for row in rows:
        try:
            questions.append(_question(task, row, pictures))
        except KeyError as error:
            troubles[row["id"]] = f"it has no field {error}"
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            troubles[row["id"]] = f"a field of it is of another kind than expected: {error}"
        except UserError as error:
            troubles[row["id"]] = str(error)
    if troubles:
        raise UserError(
            f"{task.name}: {len(troubles)} of {len(rows)} rows cannot be asked "
            f"({first(list(troubles))}): {next(iter(troubles.values()))}"
        )
    return questions


def revision(rows: Sequence[Row]) -> str:
    """Return the sha256 of rows, wherever they lie."""
    bare = [{name: row[name] for name in row if name != FOLDER} for row in rows]
    return digest(bare)


def _question(task: Task, row: Row, pictures: Pictures) -> Question:
    images = tuple(pictures.image(path) for path in task.to_images(row))
    return _with(images, task, row)


def asked_elsewhere(task: Task, row: Row, pictures: Pictures) -> Question:
    """Turn a row into a question as far as it can be: without pictures where one is not here."""
    try:
        images = tuple(pictures.image(path) for path in task.to_images(row))
    except (UserError, KeyError, TypeError):
        images = ()
    return _with(images, task, row)


def _with(images: tuple[Image, ...], task: Task, row: Row) -> Question:
    bare = {name: row[name] for name in row if name != FOLDER}
    return Question(
        task=task.name, id=row["id"], prompt=task.to_prompt(row), images=images, row=bare
    )
