"""Kill `driftbench eval` again and again; see that nothing is lost and nothing is asked twice.

    python perf/kills.py
    python perf/kills.py --shards 3
    python perf/kills.py --data-parallel 2 --signal TERM
    python perf/kills.py --engine vllm --apart

A run is killed at random moments, from its start to its grading, and started anew until 20 kills
are done; then it may end. By default it asks a slow endpoint on this machine, which counts the
requests; with `--engine hf` or `vllm` a pocket VLM with random weights, `--apart` with vLLM's
engine in a process of its own. With shards, several processes fill the run and one of them is
killed at a time; with `--data-parallel` the one that started the others is.

It fails unless, after every kill, all that was started is gone within ten seconds, nothing is asked
whose answer was on disk, each answer lies in the logs once, and all result files are in the end
those of an undisturbed run, byte for byte.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
GONE_SECONDS = 10.0
"""Within which all that a killed process started has ended."""
SAME = ("questions.jsonl", "verdicts.jsonl", "cells.json", "summary.json", "keys.json")


def main() -> None:
    """Kill, resume, compare; print what happened."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--questions", type=int, default=3000, help="fewer for a slow engine")
    options.add_argument("--shards", type=int, default=1)
    options.add_argument("--engine", choices=("server", "hf", "vllm"), default="server")
    options.add_argument("--data-parallel", type=int, default=1)
    options.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    options.add_argument("--apart", action="store_true", help="vLLM's engine in its own process")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    if given.apart:
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "harness")]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = _world(folder / "world", given.questions)
        with Endpoint(given.seed) as endpoint:
            checkpoint = ["vlm", "--engine", "server", "--endpoint", endpoint.url]
            if given.engine != "server":
                checkpoint = [str(_checkpoint(folder / "vlm")), "--engine", given.engine]
            words = ["eval", *checkpoint, "--tasks", "pocket", "--data", str(data), "--out"]
            quiet, killed = (folder / name / "vlm" for name in ("quiet", "killed"))
            seconds = _whole([*words, str(quiet)])
            if given.data_parallel > 1:
                words[1:1] = ["--data-parallel", str(given.data_parallel)]
            endpoint.asked.clear()
            _Killer(given, endpoint, [*words, str(killed)], killed, seconds).run()
        _compare(quiet, killed)
    print("the result files are those of an undisturbed run, byte for byte")


class Endpoint:
    """A slow server that counts what it is asked."""

    def __init__(self, seed: int) -> None:
        from pretend import Pretend, answer, completion

        self.asked: Counter[str] = Counter()
        """Text of a question → requests."""
        self.stored: set[str] = set()
        """Questions whose answers were on disk at the last kill."""
        self.repeated: set[str] = set()
        """Of them, those that were asked again: there must be none."""
        generator, lock = random.Random(seed), threading.Lock()

        def reply(number: int, body: dict[str, Any]) -> Any:
            parts = body["messages"][0]["content"]
            text = parts if isinstance(parts, str) else parts[-1]["text"]
            with lock:
                self.asked[text] += 1
                if text in self.stored:
                    self.repeated.add(text)
                wait = generator.uniform(0.05, 0.4)
            time.sleep(wait)
            return completion(answer(body))

        self._pretend = Pretend(reply)

    def __enter__(self) -> "Endpoint":
        self._pretend.__enter__()
        self.url = self._pretend.url
        return self

    def __exit__(self, *_: object) -> None:
        self._pretend.die()


class _Killer:
    """Runs a command in one or several processes, and kills them."""

    def __init__(
        self, given: Any, endpoint: Endpoint, words: list[str], run: Path, seconds: float
    ) -> None:
        self._given, self._endpoint, self._words, self._run = given, endpoint, words, run
        self._random = random.Random(given.seed + 1)
        self._seconds = seconds
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._moments: Counter[str] = Counter()
        self._slowest = 0.0

    def run(self) -> None:
        kills = self._given.kills
        for number in range(kills):
            self._start()
            # Some die while they start, most while they ask, the last one while it grades.
            way = (
                "grading"
                if number == kills - 1
                else self._random.choice(["start", *["asking"] * 4])
            )
            self._wait(way, kills - number)
            self._kill(number)
        self._start()
        for process in self._processes.values():
            process.wait()
            assert process.returncode == 0, f"it ended with {process.returncode}"
        lines = _lines(self._run)
        names = Counter((row["id"], row["sample"]) for row in lines)
        assert len(lines) == len(names) == self._given.questions, "answers are there twice"
        moments = ", ".join(f"{count} in {name}" for name, count in self._moments.items())
        print(f"{kills} kills ({moments}); {len(names)} answers, each in the logs once")
        print(f"all that was started was gone within {self._slowest:.1f} s")
        if self._given.engine == "server":
            requests = sum(self._endpoint.asked.values())
            print(
                f"{requests} requests, {requests - len(names)} of them again: in flight at a kill"
            )

    def _start(self) -> None:
        """Start what is not running, in the beginning or after a kill."""
        count = self._given.shards
        for index in range(1, count + 1):
            process = self._processes.get(index)
            if process is None or process.poll() not in (None, 0):
                shard = ["--shard", f"{index}/{count}"] if count > 1 else []
                command = [sys.executable, "-P", "-m", "driftbench", *self._words, *shard]
                self._processes[index] = subprocess.Popen(
                    command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )

    def _wait(self, way: str, left: int) -> None:
        """Wait for a random moment of some phase, or until it ends."""
        if way == "start":
            time.sleep(self._random.uniform(0.1, 1.5))
            return
        began, there = time.monotonic(), _count(self._run)
        rest = self._given.questions - there
        more = rest if way == "grading" else self._random.uniform(0.2, 1.2) * rest / left
        while _count(self._run) < there + more and self._alive():
            assert time.monotonic() - began < 20 * self._seconds + 300, "it does not go on"
            time.sleep(0.01)
        time.sleep(self._random.uniform(0, 0.03))

    def _of_run(self) -> list[psutil.Process]:
        """Processes that were started for the run, also those whose parent is gone."""
        running = psutil.process_iter(["cmdline"])
        return [one for one in running if str(self._run) in (one.info["cmdline"] or ())]

    def _others(self) -> set[int]:
        """Shards that go on."""
        return {one.pid for one in self._processes.values() if one.poll() is None}

    def _alive(self) -> bool:
        return any(process.poll() is None for process in self._processes.values())

    def _kill(self, number: int) -> None:
        alive = [process for process in self._processes.values() if process.poll() is None]
        assert alive, "it ended before it was killed: let it ask more, with --questions"
        there = _count(self._run)
        phase = "starting" if not there else "asking"
        self._moments["grading" if there >= self._given.questions else phase] += 1
        process = self._random.choice(alive)
        started = psutil.Process(process.pid).children(recursive=True)
        began = time.monotonic()
        process.send_signal(signal.Signals[f"SIG{self._given.signal}"])
        process.wait()
        left = [one for one in (*started, *self._of_run()) if one.pid not in self._others()]
        _, left = psutil.wait_procs(left, GONE_SECONDS)
        assert not left, f"still there: {left}"
        self._slowest = max(self._slowest, time.monotonic() - began)
        self._endpoint.stored.update(row["id"] for row in _lines(self._run))
        assert not self._endpoint.repeated, f"asked twice: {self._endpoint.repeated}"
        print(f"kill {number + 1}: {_count(self._run)} answers are there", flush=True)


def _count(run: Path) -> int:
    """Return the whole lines of all logs."""
    return sum(path.read_bytes().count(b"\n") for path in run.glob("responses*.jsonl"))


def _lines(run: Path) -> list[dict[str, Any]]:
    """Return the whole lines of all logs; a line that a kill tore is none."""
    whole = [
        line
        for path in run.glob("responses*.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]
    return [json.loads(line) for line in whole]


def _compare(quiet: Path, killed: Path) -> None:
    for name in SAME:
        assert (quiet / name).read_bytes() == (killed / name).read_bytes(), f"{name} differs"
    cards, answers = [], []
    for run in (quiet, killed):
        # The checkout that this runs from may change meanwhile.
        card = json.loads((run / "run.json").read_bytes())
        cards.append(card | {"seconds": 0, "processor_seconds": 0, "git": ""})
        rows = [{**row, "seconds": 0} for row in _lines(run)]
        answers.append(sorted(rows, key=lambda row: (row["id"], row["sample"])))
    differ = [name for name in cards[0] if cards[0][name] != cards[1][name]]
    assert not differ, f"run.json differs in {differ}"
    assert answers[0] == answers[1], "the answers differ"
    left = [path.name for path in killed.glob(".*") if not path.name.startswith(".lock.")]
    assert not left, f"{left} are left behind"


def _world(folder: Path, count: int) -> Path:
    """Write questions, two of three with a picture; the text of each is its id."""
    import tiny_models as tiny

    folder.mkdir()
    (folder / "a.png").write_bytes(tiny.picture(1))
    with (folder / "test.jsonl").open("w") as file:
        for number in range(count):
            picture = number % 3 > 0
            row = {"id": f"q{number}", "question": f"{'<image>' if picture else ''}q{number}"}
            row |= {"answer": "7", "group": "perception", "images": ["a.png"] if picture else []}
            file.write(json.dumps(row) + "\n")
    return folder


def _checkpoint(folder: Path) -> Path:
    import tiny_models as tiny

    return tiny.make_vlm("qwen2_5_vl", folder)


def _whole(words: list[str]) -> float:
    began = time.monotonic()
    command = [sys.executable, "-P", "-m", "driftbench", *words]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    print(f"undisturbed: {time.monotonic() - began:.1f} s", flush=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
