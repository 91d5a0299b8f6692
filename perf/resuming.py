"""How long `driftbench eval` takes to find out what is left to ask, beside reading the files.

    python perf/resuming.py
    python perf/resuming.py --questions 100000 --answers 1
    python perf/resuming.py --questions 3040 --answers 1 --parquet

Two runs of the same questions, each with a picture: a file of its own, or in Parquet as the hub has
datasets. One is finished and asked again: the time of
the whole command. The other lacks one answer: the time from starting the command until an endpoint,
on this machine, gets that one question. The baseline is a process of its own that reads the same
files (rows, unless they are in Parquet, questions, responses) as JSON lines and does nothing with
them. Best of three.

The start of the engine is not in it: an endpoint has none, and nothing of vLLM or torch is loaded.
"""

import argparse
import functools
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PICTURES = 2000
READING = """
import json, sys
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        for line in file:
            json.loads(line)
"""


def main() -> None:
    """Print the times and their ratios."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--questions", type=int, default=12_500)
    options.add_argument("--answers", type=int, default=8, help="to each question")
    options.add_argument("--words", type=int, default=400, help="of an answer")
    options.add_argument("--parquet", action="store_true", help="pictures as bytes in Parquet")
    given = options.parse_args()
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "harness")]
    from pretend import Pretend

    with tempfile.TemporaryDirectory() as place, Pretend() as pretend:
        folder = Path(place)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        make = _parquet if given.parquet else _world
        data = make(folder / "world", given.questions)
        whole, lacking = folder / "runs" / "whole", folder / "runs" / "lacking"
        _write(pretend, data, whole, given, left_out=0)
        _write(pretend, data, lacking, given, left_out=1)
        print(f"{given.questions} questions, {given.answers} answers to each")
        _measure("a finished run, asked again", whole, data, pretend, given)
        _measure("a run that lacks one answer", lacking, data, pretend, given)


def _task(given: argparse.Namespace) -> str:
    return "mathvision" if given.parquet else "pocket"


def _measure(what: str, run: Path, data: Path, pretend: Any, given: argparse.Namespace) -> None:
    files = [*data.glob("*.jsonl"), run / "questions.jsonl", run / "responses.jsonl"]
    reading = _best(lambda: _seconds([sys.executable, "-c", READING, *map(str, files)]))
    before = {name: (run / name).read_bytes() for name in ("responses.jsonl", "run.json")}
    command = [sys.executable, "-P", "-m", "driftbench", *_words(run, data, pretend, given)]

    def until_asked() -> float:
        for name, content in before.items():
            (run / name).write_bytes(content)
        pretend.times.clear()
        began = time.monotonic()
        whole = _seconds(command)
        assert bool(pretend.times) != what.startswith("a finished run")
        return pretend.times[0] - began if pretend.times else whole

    seconds = _best(until_asked)
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"{what:30} {seconds:6.2f} s   reading {size:.0f} MB {reading:6.2f} s   ", end="")
    print(f"ratio {seconds / reading:.2f}", flush=True)


def _words(run: Path, data: Path, pretend: Any, given: argparse.Namespace) -> list[str]:
    n = given.answers
    drawn = ["--temperature", "0.7", "--n", str(n)] if n > 1 else []
    where = ["--engine", "server", "--endpoint", pretend.url, "--out", str(run)]
    return ["eval", "vlm", "--tasks", _task(given), "--data", str(data), *where, *drawn]


def _world(folder: Path, count: int) -> Path:
    import tiny_models as tiny

    folder.mkdir()
    for number in range(PICTURES):
        (folder / f"{number}.png").write_bytes(tiny.picture(number))
    with (folder / "test.jsonl").open("w") as file:
        for number in range(count):
            row = {"id": f"q{number}", "question": f"<image>what is {number}?", "answer": "7"}
            row |= {"group": "perception", "images": [f"{number % PICTURES}.png"]}
            file.write(json.dumps(row) + "\n")
    return folder


def _parquet(folder: Path, count: int) -> Path:
    """Write questions as the hub has MATH-Vision, each with a picture of about 60 kB."""
    import datasets
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)

    def row(number: int) -> dict[str, Any]:
        noise = generator.integers(0, 255, (40, 30, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((480, 360)).save(file, "JPEG", quality=98)
        picture = {"bytes": file.getvalue(), "path": None}
        fields = {"question": f"What is {number}? <image1>", "options": ["1", "2"], "answer": "A"}
        place = {"image": f"{number}.jpg", "level": 1, "subject": "algebra"}
        return {"id": str(number), **fields, **place, "decoded_image": picture}

    folder.mkdir()
    table = datasets.Dataset.from_list([row(number) for number in range(count)])
    datasets.disable_progress_bars()
    table.cast_column("decoded_image", datasets.Image(decode=False)).to_parquet(
        str(folder / "test-00000-of-00001.parquet")
    )
    return folder


def _write(
    pretend: Any, data: Path, run: Path, given: argparse.Namespace, *, left_out: int
) -> None:
    """Make a run as the server engine would, without the requests."""
    import tasks
    from harness.engines import Request
    from harness.engines.server import ServerEngine, Service, served_checkpoint
    from harness.evaluate import run as room
    from harness.runs.schema import Response, Sampling

    generator = random.Random(0)
    text = " ".join(
        generator.choice(["step", "so", "\\frac{1}{2}", "é", "7\n"]) for _ in range(given.words)
    )

    class Ready(ServerEngine):
        def generate(self, requests: Iterable[Request]) -> Iterator[Response]:
            for left, request in zip(range(total - 1, -1, -1), requests, strict=True):
                if left >= left_out:
                    yield Response(
                        key=request.key,
                        task=request.question.task,
                        id=request.question.id,
                        sample=request.sample,
                        text=f"{text} 7",
                        finish="stop",
                        tokens_in=9,
                        tokens_image=4,
                        tokens_out=given.words,
                        seconds=0.1,
                    )

    service = Service((pretend.url,))
    n = given.answers
    sampling = Sampling(temperature=0.7 if n > 1 else 0.0, n=n)
    total = n * given.questions
    room.run(
        [served_checkpoint("vlm", service)],
        [tasks.load(_task(given))],
        run,
        room.EvalConfig(data=data, sampling=sampling),
        engine=functools.partial(Ready, service=service),
    )


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.monotonic() - began


def _best(call: Callable[[], float]) -> float:
    return min(call() for _ in range(3))


if __name__ == "__main__":
    main()
