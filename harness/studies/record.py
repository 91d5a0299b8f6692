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
from harness.studies.step import STATE, Design, Study


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


def write(study: Study, out: Path, **spent: float) -> None:
    """Put a study on record.

    What the same study compared, tried and claimed here before, with more seeds or controls, stays
    beside it.

    Args:
        study: It.
        out: Its folder.
        spent: Seconds and bytes of its run, once it is over.
    """
    now = {method.name: method for method in study.methods}
    before = read(out) or Design()
    for old in before.methods:
        new = now.get(old.name, old)
        now[old.name] = replace(new, runs=tuple(dict.fromkeys((*new.runs, *old.runs))))
    # Families may share a run: a variant of one has its VLM.
    trials = {(one.family, one.folder): one for one in (*before.trials, *study.trials)}
    claims = {claim.text: claim for claim in (*study.claims, *before.claims)}
    claims |= {claim.text: claim for claim in study.claims}
    held = asdict(study) | {
        "methods": [asdict(method) for method in now.values()],
        "trials": [asdict(trial) for trial in trials.values()],
        "claims": [asdict(claim) for claim in claims.values()],
        "baseline": study.baseline or before.baseline,
    }
    content = {"recipe": held.pop("name"), **held, "sharding": dict(study.sharding), **spent}
    write_json(place(out), content)


def _held(out: Path) -> dict[str, Any] | None:
    try:
        return read_json(place(out))
    except FileNotFoundError:
        return None
