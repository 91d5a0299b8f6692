"""Score published model outputs again, and compare with what was published, row by row.

A folder holds `manifest.json` and the files that it lists: gzip JSON lines, one row a response,
with what was published about it; what can be checked of one is said beside its benchmark. A row
whose published verdict cannot be made again says so in its own fields (a random draw, or code that
has changed since), and is counted apart.
"""

import hashlib
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.progress import counted
from tasks import (
    chartqa,
    charxiv,
    dynamath,
    emma,
    hallusionbench,
    logicvista,
    mathverse,
    mathvision,
    mathvista,
    mmmu,
    mmmu_pro,
    mmstar,
    pope,
    scienceqa,
    wemath,
)
from tasks.data import local
from tasks.grading import olympiad, vlmevalkit
from tasks.published import Check, Graded, Pair, Record

BENCHMARKS: dict[str, Callable[[Record], list[Check]]] = {
    "MathVista": mathvista.checks,
    "MATH-V": mathvision.checks,
    "LogicVista": logicvista.checks,
    "We-Math": wemath.checks,
    "MathVerse": mathverse.checks,
    "MMMU": mmmu.checks,
    "MMMU-Pro": mmmu_pro.checks,
    "MMStar": mmstar.checks,
    "POPE": pope.checks,
    "HallusionBench": hallusionbench.checks,
    "ScienceQA": scienceqa.checks,
    "DynaMath": dynamath.checks,
    "EMMA-mini": emma.checks,
    "CharXiv descriptive val": charxiv.checks,
}
"""Name of a benchmark in a manifest → what can be checked of a file."""

TWINS = (mathvista, mathvision, vlmevalkit, mmmu, mmmu_pro, pope, chartqa, wemath, olympiad)
"""Modules with `VECTORS`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one check went on one file."""

    file: str
    what: str
    rows: int
    agree: int
    flagged: int = 0
    """Rows that disagree, as the file says they must."""
    wrong: tuple[str, ...]
    """Names of the others that disagree, with what was found and what was published."""
    score: float = math.nan
    """Share of right answers by our verdicts; nan where the check is of something else."""
    published: float = math.nan
    seconds: float = 0.0


# A folder


def outcomes(folder: Path) -> Iterator[Outcome]:
    """Yield how the checks went, file by file.

    Raises:
        UserError: The folder is none of these, or a file is not what its manifest says.
    """
    for entry in _manifest(folder):
        path = folder / entry["file"]
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise UserError(f"{path} is not the file that its manifest.json lists: copy it again")
        if entry["file"] in TABLES:
            continue
        rows = local.read_json(path)
        for check in checks(entry):
            yield from _checked(entry, check, rows)
    for name, compare in TABLES.items():
        if (folder / name).is_file():
            yield from compare(name, local.read_json(folder / name))


def checks(entry: Record) -> list[Check]:
    """Return what can be checked of a file, by the benchmark that its manifest names.

    Raises:
        UserError: The benchmark is not known.
    """
    benchmark = entry.get("benchmark")
    if benchmark not in BENCHMARKS:
        known = ", ".join(BENCHMARKS)
        raise UserError(
            f"{entry['file']} is of the benchmark {benchmark!r}: expected one of {known}"
        )
    return BENCHMARKS[benchmark](entry)


def _manifest(folder: Path) -> list[Record]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(f"{folder} has no manifest.json: give a folder of published outputs")
    try:
        found = [
            {**entry, "file": entry["file"], "sha256": entry["sha256"]}
            for entry in local.read_json(path)["files"]
        ]
    except (LookupError, TypeError) as error:
        raise UserError(f"{path} lists no files with their sha256") from error
    return found


def _checked(entry: Record, check: Check, rows: list[Record]) -> Iterator[Outcome]:
    if check.pair is None:
        yield from _compared(entry, check, [(row, False) for row in rows])
        return
    began = time.monotonic()
    agree, flagged, wrong = 0, 0, []
    graded: Graded = []
    right = published = 0
    for row in counted(entry["file"], rows, len(rows)):
        try:
            pair = check.pair(row)
        except Exception as error:
            pair = f"{type(error).__name__} {error}", "a value"
        if pair is None:
            continue
        found, expected = pair
        excused = _is_excused(row, found)
        if found == expected:
            agree += 1
        elif excused:
            flagged += 1
        else:
            wrong.append(f"{_name(row)}: {found!r}, published {expected!r}")
        right += _is_right(found)
        published += _is_right(expected)
        graded.append((row, _is_right(expected if excused else found)))
    if not graded:
        return
    counts = check.metrics is not None
    yield Outcome(
        file=entry["file"],
        what=check.what,
        rows=len(graded),
        agree=agree,
        flagged=flagged,
        wrong=tuple(wrong),
        score=right / len(graded) if counts else math.nan,
        published=published / len(graded) if counts else math.nan,
        seconds=time.monotonic() - began,
    )
    yield from _compared(entry, check, graded)


def _name(record: Record) -> str:
    return "/".join(str(record[name]) for name in ("id", "key") if name in record)


def _is_excused(record: Record, found: Any) -> bool:
    """Whether a verdict may differ from the published one.

    It may where the file says that the published one is stale, or was drawn: then none is reached.
    """
    drawn = record.get("random_fallback") and _verdict(found) is None
    return bool(drawn) or "rerun_verdict" in record


def _is_right(value: Any) -> bool:
    return _verdict(value) is True


def _verdict(value: Any) -> Any:
    """Return the verdict, of a reading too."""
    return value[1] if isinstance(value, tuple) else value


# Published scores


def _compared(entry: Record, check: Check, graded: Graded) -> Iterator[Outcome]:
    """Compare the scores that both have; a share in words is good to its last digit.

    Counts are made of verdicts that were compared row by row. Where they differ, it is by other
    groups than those in the file (MathVista's were edited since), and they are flagged.
    """
    if check.metrics is None or not entry.get("official_scores"):
        return
    metrics, published = check.metrics(graded), dict(_flat(entry["official_scores"]))
    names = [name for name in metrics if name in published]
    flagged, wrong = 0, []
    for name in names:
        found, expected = metrics[name], published[name]
        if _same_score(found, expected):
            continue
        if isinstance(found, float):
            wrong.append(f"{name}: {found!r}, published {expected!r}")
        else:
            flagged += 1
    if names:
        yield Outcome(
            file=entry["file"],
            what=f"{check.what}: scores",
            rows=len(names),
            agree=len(names) - len(wrong) - flagged,
            flagged=flagged,
            wrong=tuple(wrong),
        )


def _flat(scores: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value


def _same_score(found: Any, published: Any) -> bool:
    if isinstance(published, str) and isinstance(found, float):
        number = re.match(r"-?[\d.]+", published)
        return number is not None and abs(float(number[0]) - 100 * found) <= 0.0051
    if isinstance(published, float):
        return math.isclose(found, published, rel_tol=1e-9)
    return bool(found == published)


# Tables


def _vectors(name: str, table: list[Record] | Record) -> Iterator[Outcome]:
    """Run our twins of the official functions on the inputs of theirs.

    A vector that names no function is of the one that the file is named after.
    """
    only = name.partition("_")[0]
    vectors = table["vectors"] if isinstance(table, dict) else table
    named = [(one.get("fn") or one.get("function") or only, one) for one in vectors]
    twins = {of: twin for module in TWINS for of, twin in module.VECTORS.items()}
    for (function, field), twin in twins.items():
        began = time.monotonic()
        pairs = {
            number: (_unordered(twin(vector)), _unordered(vector[field]))
            for number, (fn, vector) in enumerate(named)
            if fn == function and field in vector
        }
        if pairs:
            yield _table_outcome(name, f"{function} {field}", pairs, began)


def _unordered(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list) else value


def _aggregates(name: str, table: Record) -> Iterator[Outcome]:
    """Make We-Math's published metrics from its published counts of problems."""
    for model in table["published"]:
        began = time.monotonic()
        pairs = {
            metric: (published if _same_score(found, published) else f"{found:.2%}", published)
            for metric, (found, published) in wemath.from_counts(model).items()
        }
        yield _table_outcome(name, model["model"], pairs, began)


def _table_outcome(name: str, what: str, pairs: dict[Any, Pair], began: float) -> Outcome:
    wrong = [f"{at}: {a!r}, published {b!r}" for at, (a, b) in pairs.items() if a != b]
    return Outcome(
        file=name,
        what=what,
        rows=len(pairs),
        agree=len(pairs) - len(wrong),
        wrong=tuple(wrong),
        seconds=time.monotonic() - began,
    )


TABLES: dict[str, Callable[[str, Any], Iterator[Outcome]]] = {
    "rule_vectors.json": _vectors,
    "olympiadbench_judge_vectors.json": _vectors,
    "vlmevalkit_2025_vs_2026_vectors.json": _vectors,
    "wemath_published_aggregates.json": _aggregates,
}
