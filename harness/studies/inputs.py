"""What decides the result of a step beside its words: what it reads, and what its words name.

Files of one's own that lie outside the study's folder count by their content: rows, models, a
recipe as it is with what it extends, and what its fields name. So do, for a report and for what is
chosen, those parts of the study's record that they are made from.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.provenance import digest
from drift.training import config as recipes
from harness.studies.fingerprints import Fingerprints
from harness.studies.step import Design, Step

LATER = ("outside", "design", "global_batch")
"""Of what is kept of a finished step, what older records lack."""

OF_DESIGN = {"report": tuple(Design.__dataclass_fields__), "tune": ("trials", "tuning")}
"""Command → fields of the study's record that it goes by."""


def of(
    step: Step, reads: Mapping[str, str | None], design: Design, files: "Outside"
) -> dict[str, Any]:
    """Return it as it is kept on record."""
    found: dict[str, Any] = {"reads": reads, "outside": files.of(step)}
    if names := OF_DESIGN.get(step.run[0]):
        known = asdict(design)
        found["design"] = digest({name: known[name] for name in names})
    return found


class Outside:
    """Fingerprints of what lies outside a study's folder, each looked at once."""

    def __init__(self, out: Path, fingerprints: Fingerprints) -> None:
        self._out, self._fingerprints = out, fingerprints
        self._known: dict[str, str | None] = {}

    def of(self, step: Step) -> dict[str, str]:
        """Place, as the words of a step or a recipe name it → fingerprint."""
        found, words = {}, []
        for word in step.run[1:]:
            fields = self._recipe(word) if step.run[0] == "train" else None
            if fields is None:
                words.append(word)
            else:
                found[word] = digest(sorted(map(repr, fields.items())))
                words += _texts(fields.values())
        for text in (text for word in words for text in _named(word)):
            if text not in self._known:
                path = self._apart(text)
                self._known[text] = self._fingerprint(path) if path else None
            if known := self._known[text]:
                found[text] = known
        return found

    def _apart(self, text: str) -> Path | None:
        """Return the path that a text is, unless it lies in the study's folder or holds it."""
        path = Path(os.path.abspath(self._out / os.path.expanduser(text)))
        within = path.is_relative_to(self._out) or self._out.is_relative_to(path)
        return None if within else path

    def _recipe(self, word: str) -> dict[str, Any] | None:
        path = self._apart(word)
        try:
            return recipes.fields(path) if path else None
        except UserError:
            return None

    def _fingerprint(self, path: Path) -> str | None:
        if os.path.isfile(path / "config.json"):
            from drift.fingerprints import fingerprint  # a model is known by it already

            with suppress(UserError, OSError):  # no checkpoint, or one that the step will refuse
                return fingerprint(path)
        try:
            return self._fingerprints.tree(path)
        except (OSError, ValueError):  # nothing that anyone could read, or no path at all
            return None


def _named(word: str) -> dict[str, None]:
    """What in a word may be a path: all of it, x of NAME=x, each of a list, x of x:part."""
    texts = [word, word.partition("=")[2]]
    texts += [one.strip() for text in texts for one in text.strip("[]").split(",")]
    texts += [text.rpartition(":")[0] for text in texts]
    return dict.fromkeys(filter(None, texts))


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            yield from _texts(value)
