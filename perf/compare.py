"""How long `driftbench compare` takes, beside scipy's bootstrap of the same differences.

    python perf/compare.py

Two runs of 3,040 questions with four answers each, in problems of one to five questions, so that
the interval takes 10,000 draws of whole clusters. Times are of the best of three; the command's
include starting Python and reading the runs, scipy's its 10,000 draws alone, of single questions:
it knows no clusters. Seconds are on the clock, and of the processor in brackets.
"""

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUESTIONS, ANSWERS, DRAWS = 3040, 4, 10_000


def main() -> None:
    """Print the times and their ratio."""
    with tempfile.TemporaryDirectory() as place:
        runs = [_run(Path(place) / name, seed) for seed, name in enumerate(("sft", "drift"))]
        command = [sys.executable, "-P", "-m", "driftbench", "compare", *map(str, runs)]
        whole = _best(lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True))
        differences = _differences(*runs)
    import numpy as np
    from scipy import stats

    values = np.array(differences)
    draws = _best(
        lambda: stats.bootstrap((values,), np.mean, n_resamples=DRAWS, method="percentile")
    )
    print(f"{'driftbench compare':38} {whole[0]:6.2f} s ({whole[1]:.2f})")
    print(f"{'scipy.stats.bootstrap, draws alone':38} {draws[0]:6.2f} s ({draws[1]:.2f})")
    print(f"{'ratio':38} {whole[0] / draws[0]:6.2f}   ({whole[1] / draws[1]:.2f})")


def _run(folder: Path, seed: int) -> Path:
    """Write a run whose problems are easy or hard as a whole."""
    sys.path.append(str(ROOT / "tests"))
    import graded

    generator, problems = random.Random(seed), random.Random(9)
    clusters = []
    while len(clusters) < QUESTIONS:
        clusters += [str(len(clusters))] * problems.randint(1, 5)
    ease = {cluster: random.Random(cluster).random() for cluster in clusters}
    answers = {
        f"q{i}": ["7" if generator.random() < ease[clusters[i]] else "3" for _ in range(ANSWERS)]
        for i in range(QUESTIONS)
    }
    text = "step by step " * 100 + "{}"
    return graded.write(folder, answers, cluster=lambda id: clusters[int(id[1:])], text=text)


def _differences(a: Path, b: Path) -> list[float]:
    from harness.runs.folder import read_verdicts
    from harness.statistics import scores

    first, second = (scores.question_scores(read_verdicts(run)) for run in (a, b))
    return [second[key] - first[key] for key in first]


def _best(call: Callable[[], object]) -> tuple[float, float]:
    """Return seconds on the clock and of the processor, child processes included."""
    found = []
    for _ in range(3):
        clock, cpu = time.perf_counter(), _cpu()
        call()
        found.append((time.perf_counter() - clock, _cpu() - cpu))
    return min(found)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
