"""How long eight merges take in one engine, beside eight that are written and loaded.

    python perf/sweep.py
    python perf/sweep.py --vlm VLM --llm LLM --tasks mathvision --data FOLDER

Without models a random pocket VLM and a random text model are merged. `driftbench sweep` is one
process. The other way is what one does without it: `driftbench merge --alphas` once, and a process
of `driftbench eval` for each merge. Both ask the same questions; starting Python and vLLM counts.
The answers of the two are compared as well.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALPHAS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def main() -> None:
    """Print the seconds of both ways and their ratio."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--vlm", type=Path, help="instead of a random pocket VLM")
    options.add_argument("--llm", type=Path, help="instead of a random text model")
    options.add_argument("--tasks", default="pocket")
    options.add_argument("--data", type=Path, help="folder of the tasks' rows and pictures")
    options.add_argument("--questions", type=int, default=200, help="of the pocket task")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if given.vlm is None:
            _pocket(folder, given)
        asking = ["--tasks", given.tasks, "--data", given.data]
        shares = ",".join(map(str, ALPHAS))
        swept = _seconds(
            "sweep", given.vlm, given.llm, "--alphas", shares, *asking, "--out", folder / "swept"
        )
        merging = _seconds(
            "merge", given.vlm, given.llm, "--alphas", shares, "--out-dir", folder / "merges"
        )
        names = [f"merge-{alpha:.2f}" for alpha in ALPHAS]
        loading = [
            _seconds("eval", folder / "merges" / name, *asking, "--out", folder / "loaded" / name)
            for name in names
        ]
        same = sum(_said(folder / "swept" / n) == _said(folder / "loaded" / n) for n in names)
    loaded = merging + sum(loading)
    print(f"driftbench sweep, {len(ALPHAS)} merges:          {swept:8.1f} s")
    print(f"merge once, then {len(ALPHAS)} x driftbench eval: {loaded:8.1f} s")
    print(f"ratio: {loaded / swept:.1f}; all answers equal in {same} of {len(ALPHAS)} merges")


def _pocket(folder: Path, given: argparse.Namespace) -> None:
    import torch

    from drift.pocket import models, world

    world.write(folder / "world", seed=0, train=1, validation=1, test=given.questions // 4)
    for seed, name, make in ((0, "vlm", models.vlm), (1, "llm", models.text_model)):
        torch.manual_seed(seed)
        models.save(make("llava_next", 1000.0), "llava_next", folder / name)
    given.vlm, given.llm, given.data = folder / "vlm", folder / "llm", folder / "world"


def _seconds(*words: object) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-P", "-m", "driftbench", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - began


def _said(run: Path) -> dict[str, str]:
    from harness.runs import log

    return {response.id: response.text for response in log.read_responses(run)}


if __name__ == "__main__":
    main()
