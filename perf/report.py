"""What a report costs: seconds and bytes for many answers, against just reading them.

    python perf/report.py --answers 20000 --runs 2 --characters 1500

Makes runs of reasoning-like texts (random words, so that they pack no better than real ones) with a
picture for every fifth question, reports them by the command, and prints the seconds, by the clock
and of a processor, as a ratio to reading the same files with `json`, and the size of the page.
"""

import argparse
import hashlib
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GROUPS = [f"{kind}: {value}" for kind in ("subject", "level") for value in range(8)]


def words(generator: random.Random) -> list[str]:
    """Return a vocabulary."""
    letters = "etaoinshrdlucm"
    return ["".join(generator.choices(letters, k=generator.randint(2, 9))) for _ in range(4000)]


def picture(number: int, pixels: int) -> bytes:
    """A PNG of smooth noise, unlike any other."""
    from PIL import Image

    noise = Image.frombytes("RGB", (48, 36), random.Random(number).randbytes(48 * 36 * 3))
    file = io.BytesIO()
    noise.resize((pixels, pixels * 3 // 4)).save(file, "JPEG", quality=88)
    return file.getvalue()


def write(folder: Path, questions: int, runs: int, characters: int, pixels: int) -> None:
    """Write the runs as the harness does, side by side."""
    generator = random.Random(0)
    vocabulary = words(generator)
    images = folder / "images"
    images.mkdir(parents=True)
    asked = []
    for i in range(questions):
        shown = []
        if i % 5 == 0:
            data = picture(i, pixels)
            sha = hashlib.sha256(data).hexdigest()
            (images / f"{sha}.jpg").write_bytes(data)
            shown = [{"sha256": sha, "suffix": ".jpg"}]
        prompt = f"{'<image>' * len(shown)}{' '.join(generator.choices(vocabulary, k=40))} ?"
        asked.append({"task": "made", "id": f"q{i}", "prompt": prompt, "images": shown,
                      "row": {"answer": str(i % 9)}})  # fmt: skip
    for run in range(runs):
        here = folder / f"model-{run}"
        here.mkdir()
        said, verdicts = [], []
        for i, question in enumerate(asked):
            text = " ".join(generator.choices(vocabulary, k=max(1, characters // 6)))
            correct = generator.random() < 0.5 + 0.02 * run
            place = {"task": "made", "id": question["id"], "sample": 0}
            said.append({"key": f"{run}-{i}", **place, "text": f"<think>{text}</think> {i % 9}",
                         "finish": "stop", "tokens_in": 60, "tokens_image": 0,
                         "tokens_out": characters // 4, "seconds": 1.0})  # fmt: skip
            groups = ["all", GROUPS[i % 8], GROUPS[8 + i % 7]]
            verdicts.append({**place, "correct": correct, "answer": str(i % 9), "how": "rule",
                             "groups": groups})  # fmt: skip
        for name, rows in (("questions", asked), ("responses", said), ("verdicts", verdicts)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (here / f"{name}.jsonl").write_text(lines)
        (here / "run.json").write_text(json.dumps(card(here.name, questions)))


def card(name: str, n: int) -> dict:
    """Return the card of a run of `n` questions."""
    task = {"name": "made", "version": "1.0", "revision": "0", "n": n, "protocol": "robust",
            "scoring": "made up", "max_tokens": 2048}  # fmt: skip
    return {
        "name": name, "checkpoint": name, "fingerprint": name, "made": None, "engine": "vllm",
        "engine_version": "0", "sampling": {"stop": []}, "dtype": "bfloat16", "pixels": {},
        "tasks": [task],
        "limit": None, "git": None, "packages": {}, "device": "none", "seconds": 60.0,
        "finished": True,
    }  # fmt: skip


def reading(folder: Path) -> tuple[float, float]:
    """Seconds to parse every file of the runs, and those of a processor."""
    started, used = time.perf_counter(), time.process_time()
    for path in folder.glob("*/*.jsonl"):
        for line in path.open("rb"):
            json.loads(line)
    return time.perf_counter() - started, time.process_time() - used


def main() -> None:
    """Make runs, report them, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=20_000, help="of all runs together")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--characters", type=int, default=1500, help="of one answer")
    parser.add_argument("--pixels", type=int, default=800, help="width of a picture")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftbench-report-") as made:
        runs, out = Path(made) / "runs", Path(made) / "report"
        write(runs, given.answers // given.runs, given.runs, given.characters, given.pixels)
        plain, plain_used = reading(runs)
        started = time.perf_counter()
        command = [sys.executable, "-P", "-m", "driftbench", "report", str(runs), "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = spent.ru_utime + spent.ru_stime
        page = (out / "index.html").stat().st_size
        beside = sum(path.stat().st_size for path in out.glob("pictures/*"))
        print(f"{given.answers:,} answers of {given.characters:,} characters in {given.runs} runs")
        print(f"reading them with json   {plain:8.2f} s   {plain_used:6.2f} of a processor")
        print(f"report                   {seconds:8.2f} s   {used:6.2f} of a processor")
        print(f"over reading             {seconds / plain:8.1f}     {used / plain_used:6.1f}")
        print(f"index.html               {page / 1e6:8.2f} MB")
        print(f"pictures beside it       {beside / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()
