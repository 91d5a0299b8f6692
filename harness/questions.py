"""From a benchmark's rows to questions, and what the rows were."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness import records
from harness.records import Image, Question
from tasks import Row, Task, TaskError
from tasks.files import FOLDER, first


def questions_of(task: Task, rows: Sequence[Row], folder: Path) -> list[Question]:
    """Turn rows into questions; their pictures are kept beside the run folder.

    Raises:
        TaskError: Some rows cannot be asked; the sentence has their number and the first names.
    """
    questions, troubles = [], {}
    for row in rows:
        try:
            questions.append(_question(task, row, folder))
        except KeyError as error:
            troubles[row["id"]] = f"it has no field {error}"
        except TaskError as error:
            troubles[row["id"]] = str(error)
    if troubles:
        raise TaskError(
            f"{task.name}: {len(troubles)} of {len(rows)} rows cannot be asked "
            f"({first(list(troubles))}): {next(iter(troubles.values()))}"
        )
    return questions


def revision(rows: Sequence[Row]) -> str:
    """Return the sha256 of rows, wherever they lie."""
    bare = [{name: row[name] for name in row if name != FOLDER} for row in rows]
    return hashlib.sha256(records.canonical(bare).encode(*records.UTF8)).hexdigest()


def _question(task: Task, row: Row, folder: Path) -> Question:
    images = []
    for path in task.to_images(row):
        content = path.read_bytes()
        image = Image(hashlib.sha256(content).hexdigest(), path.suffix.lower(), content)
        records.store_image(folder, image)
        images.append(replace(image, data=b""))
    bare = {name: row[name] for name in row if name != FOLDER}
    return Question(task.name, row["id"], task.to_prompt(row), tuple(images), bare)


def unasked(task: Task, row: Row) -> Question:
    """Turn a row that was asked elsewhere into a question, without pictures."""
    bare = {name: row[name] for name in row if name != FOLDER}
    return Question(task.name, row["id"], task.to_prompt(row), (), bare)
