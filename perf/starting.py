"""What the shortest commands take of a processor, beside the start of Python.

    python perf/starting.py

Each in a process of its own, in turn; the least of six, as other work on the machine only adds.
"""

import resource
import subprocess
import sys
import tempfile

ROUNDS = 6
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import typer, and what it imports to read a command line": ["-c", "import typer._adapters"],
    **{
        f"driftbench {words}": ["-P", "-m", "driftbench", *words.split()]
        for words in ("--help", "eval --help", "tasks", "families", "runs .")
    },
}


def main() -> None:
    """Print a line for each command."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, words in COMMANDS.items():
            times[name].append(_processor_seconds(words))
    for name, found in times.items():
        print(f"{name:60} {min(found):.3f} s of a processor")


def _processor_seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as empty:
        subprocess.run([sys.executable, *words], cwd=empty, check=False, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
