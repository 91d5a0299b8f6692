r"""How fast published answers to MATH-Vision are scored again, beside the benchmark's own script.

    git clone https://github.com/mathllm/MATH-V
    python -m venv mathv && mathv/bin/pip install latex2sympy2==1.9.1 numpy tqdm fire
    python perf/scoring.py published/mathv_test__Qwen-VL-Max-CoT.jsonl.gz \
        --script MATH-V/evaluation --python mathv/bin/python

The file is one of a folder that `driftbench parity` takes. Each side is a whole command in a
process of its own that reads answers from disk and writes verdicts: `driftbench score --protocol`
on a run folder, the script on a folder of outputs. Rounds in turn; the verdicts of `official` must
be those of the script.
"""

import argparse
import gzip
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print seconds and processor seconds of both, and their ratio."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("file", type=Path)
    options.add_argument("--script", type=Path, required=True, help="folder with evaluate.py")
    options.add_argument("--python", default=sys.executable, help="that has what the script needs")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with gzip.open(given.file, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        run = _run(rows, folder)
        theirs = _theirs(rows, given.script, folder / "theirs")
        score = [sys.executable, "-P", "-m", "driftbench", "score", str(run)]
        sides = {
            "script": ([given.python, "evaluation/evaluate.py"], theirs),
            "official": ([*score, "--protocol", "official"], ROOT),
            "robust": ([*score, "--protocol", "robust"], ROOT),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            for name, side in sides.items():
                times[name].append(_seconds(*side))
        _check(run / "scored" / "official", theirs / "outputs" / "model.jsonl")
    base = times["script"]
    for name, found in times.items():
        wall, processor = (statistics.median(one) for one in zip(*found, strict=True))
        ratios = [a[0] / b[0] for a, b in zip(base, found, strict=True)]
        used = [a[1] / b[1] for a, b in zip(base, found, strict=True)]
        print(
            f"{name:10} {wall:6.2f} s   {processor:6.2f} of a processor   "
            f"{statistics.median(ratios):5.1f} x, {statistics.median(used):5.1f} x of a processor"
        )


def _run(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Make a run folder of the answers."""
    (folder / "data").mkdir()
    with (folder / "data" / "test.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_question(row)) + "\n")
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"id": row["id"], "response": row["response"]}) + "\n")
    words = ["--task", "mathvision", "--responses", str(folder / "answers.jsonl")]
    words += ["--data", str(folder / "data"), "--out", str(folder / "run"), "--name", "model"]
    _seconds([sys.executable, "-P", "-m", "driftbench", "score", *words], ROOT)
    return folder / "run"


def _question(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "question": f"{row['id']} <image1>",
        "options": row["choices"],
        "answer": row["answer"],
        "image": f"images/{row['id']}.jpg",
        **row["metadata"],
    }


def _theirs(rows: list[dict[str, Any]], script: Path, folder: Path) -> Path:
    """Lay out what the script reads."""
    shutil.copytree(script, folder / "evaluation")
    (folder / "data").mkdir()
    (folder / "outputs").mkdir()
    with (folder / "data" / "test.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_question(row)) + "\n" for row in rows)
    with (folder / "outputs" / "model.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({"id": row["id"], "response": row["response"] or ""}) + "\n")
    return folder


def _seconds(command: list[str], place: Path) -> tuple[float, float]:
    """Return how long a command takes, and of a processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


def _check(ours: Path, theirs: Path) -> None:
    found = {}
    for line in (ours / "verdicts.jsonl").read_text(encoding="utf-8").splitlines():
        verdict = json.loads(line)
        found[verdict["id"]] = verdict["correct"]
    for line in theirs.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert found[row["id"]] is row["correct"], row
    print(f"{len(found)} verdicts, all those of the script")


if __name__ == "__main__":
    main()
