"""Published outputs of models as checks: what was said of a response, and what is made of it here.

A benchmark's `checks(entry)` says how a published record becomes a row and a response, and what is
expected of them; its `VECTORS` are our twins of its script's functions. `entry` is the record's
file in the manifest.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tasks.data import Row
from tasks.judging import Reading, Verdict, settle

Record = dict[str, Any]

Graded = list[tuple[Record, bool]]

Pair = tuple[Any, Any]
"""What is found here, and what was published."""

Vectors = dict[tuple[str, str], Callable[[Record], Any]]
"""Function of a script, and the field with what it returned → our twin, called with the inputs."""


@dataclass(frozen=True)
class Check:
    """One thing that was published about responses of a benchmark."""

    what: str
    pair: Callable[[Record], Pair | None] | None
    """Of a verdict, or of a reading and its verdict; None for a record of which it was not
    published. Without any function only the metrics are compared."""
    metrics: Callable[[Graded], dict[str, Any]] | None = None
    """Of records and whether they are right, by these pairs: the published scores by their names,
    the parts of a name joined by "/"; None where pairs are no verdicts."""


def bare(record: Record) -> Row:
    """Return the row of a record that comes without its question."""
    return {"question": "", "images": [], **record}


def reading(
    verdict: Verdict,
    record: Record,
    to_row: Callable[[Record], Row] = bare,
    replies: Iterable[str] = (),
) -> Reading:
    """Return what a verdict makes of a record's response."""
    text = record.get("response_entry", record.get("response")) or ""
    return settle(verdict, to_row(record), text, replies)[0]


def right(
    verdict: Verdict,
    to_row: Callable[[Record], Row] = bare,
    *,
    replies: Callable[[Record], Iterable[str]] = lambda record: (),
    expected: str = "official_verdict",
) -> Callable[[Record], Pair | None]:
    """Compare whether a response is right with what stands in the field `expected`."""

    def pair(record: Record) -> Pair | None:
        if record.get(expected) is None:
            return None
        return reading(verdict, record, to_row, replies(record))[1], record[expected]

    return pair


def extracted(verdict: Verdict, to_row: Callable[[Record], Row] = bare) -> Callable[[Record], Pair]:
    """Compare what is read with `official_extraction`."""
    return lambda record: (reading(verdict, record, to_row)[0], record["official_extraction"])


def whole(verdict: Verdict, to_row: Callable[[Record], Row] = bare) -> Callable[[Record], Pair]:
    """Compare what is read, and whether it is right, with both."""

    def pair(record: Record) -> Pair:
        published = record["official_extraction"], record["official_verdict"]
        return reading(verdict, record, to_row), published

    return pair


def matched(verdict: Verdict, to_row: Callable[[Record], Row] = bare) -> Callable[[Record], Any]:
    """Compare what VLMEvalKit's rules read without a judge; False is nothing."""

    def pair(record: Record) -> Pair | None:
        if (published := record.get("vlmevalkit_prefetch")) is None:
            return None
        return reading(verdict, record, to_row)[0] or False, of(published, "2025")

    return pair


def word(verdict: Verdict, to_row: Callable[[Record], Row] = bare) -> Callable[[Record], Any]:
    """Compare the word that VLMEvalKit reads of yes and no."""

    def pair(record: Record) -> Pair | None:
        if "vlmevalkit_extraction" not in record:
            return None
        found = reading(verdict, record, to_row)[0] or "Unknown"
        return found, record["vlmevalkit_extraction"]

    return pair


def of(by_version: dict[str, Any], version: str) -> Any:
    """Return what was published of a version of VLMEvalKit, or of both alike."""
    return by_version["both"] if "both" in by_version else by_version[version]


# Published scores


def no_scores(_: Graded) -> dict[str, Any]:
    """Return none: the pairs are verdicts of which no scores were published."""
    return {}


def counts(graded: Graded, names: Callable[[Record], Iterable[str]]) -> dict[str, tuple[int, int]]:
    """Return for each name the right answers and all of the records that bear it."""
    found: dict[str, list[bool]] = defaultdict(list)
    for record, is_right in graded:
        for name in names(record):
            found[name].append(is_right)
    return {name: (sum(rights), len(rights)) for name, rights in found.items()}


def counter(names: Callable[[Record], Iterable[str]]) -> Callable[[Graded], dict[str, Any]]:
    """Return a function that counts right answers and all, of each name that a record bears."""

    def metrics(graded: Graded) -> dict[str, Any]:
        found = counts(graded, names)
        correct = {f"{name}/correct": k for name, (k, _) in found.items()}
        return correct | {f"{name}/total": n for name, (_, n) in found.items()}

    return metrics


def shares(names: Callable[[Record], Iterable[str]]) -> Callable[[Graded], dict[str, Any]]:
    """Return a function that gives the share of right answers, of each name that a record bears."""
    return lambda graded: {name: k / n for name, (k, n) in counts(graded, names).items()}
