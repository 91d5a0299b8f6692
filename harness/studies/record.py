"""`steps/study.json`: what a study in a folder is, for those who come after its run.

{"recipe": "pocket", "about": "…", "steps": [{"name": "…", "run": ["train", …], …}],
"methods": [{"name": "sft", "label": "SFT", "runs": [{"family": …, "seed": 0, "folder": …}]}],
"claims": [{"text": "…", "method": "drift", "against": "sft", …}], "baseline": "sft",
"seconds": 577.7, "peak_memory_bytes": 3529842688}
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common.typed import as_kind, read_json, record
from harness.runs.folder import write_json
from harness.studies.step import STATE, Claim, Design, Method, Study, Trial


def place(out: Path) -> Path:
    """The record of the study in a folder."""
    return out / STATE / "study.json"


def name(out: Path) -> str | None:
    """Name of the study in a folder; None where there is none.

    Raises:
        UserError: Its record cannot be read.
    """
    held = _held(out)
    return None if held is None else as_kind(held.get("recipe", ""), str, f"{place(out)}: recipe")


def read(out: Path) -> Design | None:
    """Return what the study in a folder compares.

    Returns:
        None where the folder holds no study, or one whose record does not say.

    Raises:
        UserError: The record cannot be read.
    """
    held = _held(out)
    if held is None or "methods" not in held:
        return None
    return record(Design, held, place(out), part=True)


def write(study: Study, out: Path) -> None:
    """Put a study on record.

    What the same study compared, tried and claimed here before, with more seeds or controls, stays
    beside it, unless the study now says something else of the same: another run of a method's
    family and seed, another trial at the same settings or in the same folder, another sentence for
    a claim.

    Args:
        study: It.
        out: Its folder.
    """
    now = {method.name: method for method in study.methods}
    before = read(out) or Design()
    for old in before.methods:
        now[old.name] = _joined(now[old.name], old) if old.name in now else old
    claims = [one for one in before.claims if not any(_restates(new, one) for new in study.claims)]
    tried = {key for one in study.trials for key in _keys(one)}
    trials = [one for one in before.trials if tried.isdisjoint(_keys(one))]
    held = asdict(study) | {
        "methods": [asdict(method) for method in now.values()],
        "trials": [asdict(trial) for trial in (*trials, *study.trials)],
        "claims": [asdict(claim) for claim in (*study.claims, *claims)],
        "baseline": study.baseline or before.baseline,
    }
    content = {"recipe": held.pop("name"), **held, "sharding": dict(study.sharding)}
    write_json(place(out), content | _spent(out))


def spend(out: Path, seconds: float, memory: int, *, whole: bool) -> None:
    """Note what a run of the study in a folder took.

    Args:
        out: The folder.
        seconds: On the clock.
        memory: Bytes at one time.
        whole: The run made all steps; else what earlier ones took is added to it.
    """
    before = {} if whole else _spent(out)
    spent = {
        "seconds": round(before.get("seconds", 0) + seconds, 1),
        "peak_memory_bytes": max(before.get("peak_memory_bytes", 0), memory),
    }
    write_json(place(out), (_held(out) or {}) | spent)


def _joined(new: Method, old: Method) -> Method:
    """A method with its older runs of other families and seeds."""
    if new.chosen_on or new.sweep:
        return replace(new, runs=tuple(dict.fromkeys((*new.runs, *old.runs))))
    runs = {(run.family, run.seed): run for run in (*old.runs, *new.runs)}
    order = dict.fromkeys((run.family, run.seed) for run in (*new.runs, *old.runs))
    return replace(new, runs=tuple(runs[one] for one in order))


def _restates(new: Claim, old: Claim) -> bool:
    """Whether a claim stands for an older one; of primary ones, for whatever families."""
    same = (new.method, new.against, new.group) == (old.method, old.against, old.group)
    return same and (old.primary or new.families == old.families)


def _keys(trial: Trial) -> list[tuple[object, ...]]:
    """What no two trials have in common; families may share a run: a variant of one has its VLM."""
    settings = tuple(sorted(trial.settings.items()))
    return [(trial.family, trial.folder), (trial.method, trial.family, trial.seed, settings)]


def _spent(out: Path) -> dict[str, float]:
    held = _held(out) or {}
    kinds = {"seconds": float, "peak_memory_bytes": int}
    return {
        name: as_kind(held[name], kind, f"{place(out)}: {name}")
        for name, kind in kinds.items()
        if held.get(name) is not None
    }


def _held(out: Path) -> dict[str, Any] | None:
    try:
        return read_json(place(out))
    except FileNotFoundError:
        return None
