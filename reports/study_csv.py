"""A study as CSV, and back.

Of a study whose seeds ask questions of their own all that is said can be made again from three
files; a test over shared questions takes the answers themselves.

study_scores.csv   a line for each family, method, seed and group
study_trials.csv   a line for each trial
findings.csv       a line for each claim and family, with what came out
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.text import csv_text
from harness.statistics.seeds import SeedDifference, over_seeds
from harness.studies.step import Claim, Tuning
from reports.study import Finding, Study, build
from reports.study_rows import Scored, Training, Tried

SCORES, TRIALS, FINDINGS = "study_scores.csv", "study_trials.csv", "findings.csv"

TRAINING = tuple(one.name for one in fields(Training))
SCORED = (*(one.name for one in fields(Scored) if one.name != "training"), *TRAINING)
RULE = tuple(one.name for one in fields(Tuning))
TRIED = (*(one.name for one in fields(Tried) if one.name != "training"), *TRAINING, "chosen", *RULE)
NUMBERS = ("difference", "stderr", "low", "high", "p")
FOUND = (
    *("claim", "family", "method", "against", "group", "sign", "primary", "floor"),
    *("score_a", "score_b", "readable_a", "readable_b", *NUMBERS, "p_holm", "verdict", "seeds"),
)


def files(study: Study) -> dict[str, str]:
    """Name of each file → its content, at full precision; unknown is empty."""
    found = {SCORES: csv_text(SCORED, map(_flat, study.rows)), FINDINGS: findings(study)}
    if study.trials and study.tuning:
        rule = asdict(study.tuning)
        chosen = {(o.family, o.method, _key(o.settings)) for o in study.settings if o.chosen}
        rows = (
            _flat(one)
            | rule
            | {
                "settings": _key(one.settings),
                "chosen": (one.family, one.method, _key(one.settings)) in chosen,
            }
            for one in study.trials
        )
        found[TRIALS] = csv_text(TRIED, rows)
    return found


def findings(study: Study) -> str:
    """A line for each claim and family, primary ones that could not be judged too."""
    return csv_text(FOUND, finding_rows(study))


def finding_rows(study: Study) -> list[dict[str, object]]:
    """What came out of each claim in each family, under `FOUND`."""
    rows = [_finding(one, study.floors) for one in study.findings]
    rows += [_claim(claim, family, study.floors) for claim, family in study.missing]
    return rows


def _finding(one: Finding, floors: Mapping[str, float]) -> dict[str, object]:
    found = one.found
    return _claim(one.claim, one.family, floors) | {
        "score_a": found.score_a,
        "score_b": found.score_b,
        "readable_a": one.readable[0],
        "readable_b": one.readable[1],
        **{name: getattr(found, name) for name in NUMBERS},
        "p_holm": one.p if one.claim.primary else None,
        "verdict": one.verdict,
        "seeds": len(found.differences) or None,
    }


def _claim(claim: Claim, family: str, floors: Mapping[str, float]) -> dict[str, object]:
    names = ("method", "against", "group", "sign", "primary")
    own = {name: getattr(claim, name) for name in names}
    return {"claim": claim.text, "family": family, **own, "floor": floors.get(claim.group)}


def _flat(row: Scored | Tried) -> dict[str, object]:
    values = {one.name: getattr(row, one.name) for one in fields(row) if one.name != "training"}
    return values | asdict(row.training)


def _key(settings: Mapping[str, float | str]) -> str:
    return json.dumps(dict(settings), ensure_ascii=False)


# And back


def read(folder: Path) -> Study:
    """Make a study from the files in a folder.

    Every p is computed, and every claim judged, from the scores: what `findings.csv` says of them
    is not looked at, only which claims there are.

    Raises:
        UserError: A file is missing, or has other columns.
    """
    rows = [_scored(line) for line in _lines(folder / SCORES, SCORED)]
    lines = list(_lines(folder / FINDINGS, FOUND))
    tests = {_asked(line): _test(_asked(line), rows) for line in lines}
    floors = {line["group"]: float(line["floor"]) for line in lines if line["floor"]}
    trials, rule = [], None
    if (folder / TRIALS).exists():
        for line in _lines(folder / TRIALS, TRIED):
            trials.append(_tried(line))
            words = {name: line[name] for name in RULE if name != "points"}
            rule = Tuning(**words, points=float(line["points"]))
    return build(rows, tests, floors, trials=trials, tuning=rule)


def _lines(path: Path, names: Sequence[str]) -> Iterator[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if lacking := [name for name in names if name not in (reader.fieldnames or ())]:
                raise UserError(f"{path} has no column {lacking[0]}: expected {', '.join(names)}")
            yield from reader
    except FileNotFoundError:
        raise UserError(
            f"there is no {path}: expected a file that `driftbench report` of a study wrote"
        ) from None


def _asked(line: Mapping[str, str]) -> tuple[Claim, str]:
    own: dict[str, Any] = {name: line[name] for name in ("method", "against", "group")}
    own |= {"sign": int(line["sign"]), "primary": line["primary"] == "True"}
    return Claim(text=line["claim"], **own), line["family"]


def _test(asked: tuple[Claim, str], rows: Sequence[Scored]) -> SeedDifference | None:
    """The difference over the seeds that ran both methods, of which there are at least two."""
    claim, family = asked
    first, second = (
        {
            row.seed: row.score
            for row in rows
            if (row.family, row.method, row.group) == (family, name, claim.group)
        }
        for name in (claim.method, claim.against)
    )
    both = [seed for seed in first if seed in second]
    if len(both) < 2:
        return None
    return over_seeds([first[seed] for seed in both], [second[seed] for seed in both])


def _scored(line: Mapping[str, str]) -> Scored:
    texts = ("family", "title", "method", "label", "group")
    counts = ("seed", "n", "answers", "correct", "unparsed", "truncated", "error")
    own: dict[str, Any] = {name: line[name] for name in texts}
    own |= {name: int(line[name]) for name in counts}
    return Scored(
        **own,
        score=float(line["score"]),
        floor=_number(line["floor"]),
        alpha=_number(line["alpha"]),
        moved=_number(line["moved"]),
        training=_training(line),
    )


def _tried(line: Mapping[str, str]) -> Tried:
    return Tried(
        **{name: line[name] for name in ("family", "title", "method", "label")},
        seed=int(line["seed"]),
        settings=json.loads(line["settings"]),
        score=float(line["score"]),
        kept=_number(line["kept"]),
        training=_training(line),
    )


def _training(line: Mapping[str, str]) -> Training:
    own: dict[str, Any] = {name: _number(line[name]) for name in TRAINING if name != "converged"}
    return Training(**own, converged={"True": True, "False": False}.get(line["converged"]))


def _number(text: str) -> float | None:
    return float(text) if text else None
