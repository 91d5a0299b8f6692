"""Data parallel: one process a replica of the model, each with GPUs of its own, on one run.

Each replica is the same command with another `--shard`; machines are added so too, by hand.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

from common import processes
from common.errors import UserError
from harness.engines import gpus


def run(words: Sequence[str], count: int, each: int) -> None:
    """Run a command line in `count` processes, and wait for all of them.

    One that fails leaves the others at work: what they answer is kept.

    Args:
        words: The command line after the program's name.
        count: Replicas.
        each: GPUs of a replica.

    Raises:
        UserError: There are fewer GPUs than that, or a replica failed; it has said why.
    """
    places = devices(gpus.visible(), count, each)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, place in enumerate(places, start=1):
            shard = ["--data-parallel", "1", "--shard", f"{number}/{count}"]
            started.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "driftbench", *words, *shard],
                    env=os.environ | ({"CUDA_VISIBLE_DEVICES": place} if place else {}),
                    stdout=subprocess.DEVNULL,
                    preexec_fn=processes.tie(),
                )
            )
        failed = [number for number, one in enumerate(started, start=1) if one.wait()]
    except BaseException as error:
        told = isinstance(error, KeyboardInterrupt) and not processes.terminating
        processes.stop(started, tell=not told)
        raise
    if failed:
        listed = ", ".join(map(str, failed))
        raise UserError(
            f"of {count} replicas these failed: {listed}; every answer that came is kept, "
            "the same command goes on"
        )


def devices(visible: Sequence[str], count: int, each: int) -> list[str]:
    """Share GPUs out: one value of CUDA_VISIBLE_DEVICES a replica, empty where there are none.

        >>> devices(["0", "1", "2", "3"], 2, 2), devices([], 2, 1)
        (['0,1', '2,3'], ['', ''])

    Raises:
        UserError: There are some, but not enough.
    """
    if visible and len(visible) < count * each:
        raise UserError(
            f"{count} replicas of {each} GPUs need {count * each}, and {len(visible)} are visible: "
            "lower --data-parallel"
        )
    return [",".join(visible[i * each : (i + 1) * each]) for i in range(count)]


def without(words: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return a command line without some options and their values.

    >>> without(["sweep", "vlm", "--best", "tuned", "--n", "1"], ["--best"])
    ['sweep', 'vlm', '--n', '1']
    >>> without(["sweep", "--best=tuned"], ["--best"])
    ['sweep']
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word.partition("=")[0] not in options:
            kept.append(word)
        skip = not skip and word in options
    return kept
