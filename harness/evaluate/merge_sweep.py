"""A row of merges through one engine: poured in place, never written, each a run like any other.

    points = merges("vlm", "reasoner", "linear", (0.0, 0.1, 0.3))
    run(points, tasks, Path("runs/sweep"), engine="vllm")

The merging itself is the other package's, reached through its command (drift/pour.py).
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from harness.checkpoints.kinds import MergedModel, ModelFolder
from harness.checkpoints.preflight import open_checkpoint
from harness.runs.folder import read_cells
from harness.runs.schema import canonical


@dataclass(frozen=True)
class Method:
    """How a sweep merges; the fields are those of `driftbench merge`."""

    method: str = "linear"
    density: float = 0.5
    swap_layers: tuple[int, ...] = ()
    seed: int = 0
    modules: tuple[str, ...] = ("attention", "mlp", "norm")
    base: Path | None = None

    def options(self) -> list[str]:
        """Return them as command-line options."""
        words = ["--method", self.method, "--density", str(self.density), "--seed", str(self.seed)]
        words += ["--modules", ",".join(self.modules)]
        if self.swap_layers:
            words += ["--layers", ",".join(map(str, self.swap_layers))]
        return words + (["--base", str(self.base.absolute())] if self.base else [])


def merges(vlm: str, llm: str, method: Method, alphas: Sequence[float]) -> list[MergedModel]:
    """Return a checkpoint for each α: the VLM's own, but for the merge that is poured over it.

    Its fingerprint is made of those of its parents and of the settings of the merge, which
    together decide its weights.

    Args:
        vlm: Folder or hub id of the VLM.
        llm: The same of the text-only reasoner.
        method: How to merge.
        alphas: Shares of the reasoner, each another point.

    Raises:
        UserError: A model cannot be used, or the two do not merge in this way.
    """
    names = [f"merge-{alpha:.2f}" for alpha in alphas]
    if len(set(names)) < len(names):
        raise UserError(
            f"{', '.join(map(str, alphas))} holds shares that are the same to two digits"
        )
    ours, theirs = _folder(vlm), _folder(llm)
    if not ours.is_multimodal:
        raise UserError(f"{ours.path} takes no pictures: give the VLM first, then the reasoner")
    parents = [_parent("vlm", ours), _parent("reasoner", theirs)]
    if method.base:
        parents.append(_parent("base", _folder(str(method.base))))
    places = str(ours.path.absolute()), str(theirs.path.absolute())
    command = (sys.executable, "-P", "-m", "driftbench", "pour", *places, *method.options())
    _check(command)
    made = {"method": "merge", "parents": parents}
    points = []
    for name, alpha in zip(names, alphas, strict=True):
        settings = {
            "method": method.method,
            "alpha": alpha,
            "density": method.density,
            "swap_layers": list(method.swap_layers),
            "seed": method.seed,
            "modules": list(method.modules),
        }
        content = {"parents": [parent["fingerprint"] for parent in parents], "merge": settings}
        points.append(
            MergedModel(
                folder=ours,
                name=name,
                fingerprint=hashlib.sha256(canonical(content).encode()).hexdigest(),
                made={**made, "name": name, "settings": settings},
                command=command,
                alpha=alpha,
            )
        )
    return points


def best(folders: Sequence[Path], alphas: Sequence[float]) -> tuple[float, list[float]]:
    """Choose the α of the highest score, the mean over the tasks; of equals, the smallest.

    Args:
        folders: Run folders, one for each α.
        alphas: Shares of the reasoner.

    Returns:
        The chosen α, and the score of each.
    """
    scores = []
    for folder in folders:
        whole = [cell.score for cell in read_cells(folder) if cell.group == "all"]
        scores.append(sum(whole) / len(whole))
    return max(zip(scores, alphas, strict=True), key=lambda pair: (pair[0], -pair[1]))[1], scores


def write(vlm: str, llm: str, method: Method, alpha: float, out: Path) -> None:
    """Write one merge as a checkpoint.

    Raises:
        UserError: What `driftbench merge` says.
    """
    places = str(_folder(vlm).path), str(_folder(llm).path)
    words = [*places, "--alpha", str(alpha), "--out", str(out), *method.options()]
    _check((sys.executable, "-P", "-m", "driftbench", "merge", *words))


def _folder(where: str) -> ModelFolder:
    opened = open_checkpoint(where)
    if isinstance(opened, ModelFolder):
        return opened
    raise UserError(f"{opened.place} is an adapter: merge it into its base model first")


def _parent(role: str, model: ModelFolder) -> dict[str, str]:
    return {"role": role, "path": str(model.path), "fingerprint": model.fingerprint}


def _check(command: Sequence[str]) -> None:
    """Run a command of the other package with nothing to read; its trouble is ours."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise UserError(said[-1].removeprefix("driftbench: ") if said else "the merge failed")
