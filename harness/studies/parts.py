"""The steps that studies of published models are made of, one function a kind.

Everything of a family and a training seed lies in `seed-<n>/<family>/`, its models with the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from common.text import share
from harness.studies.scale import Scale
from harness.studies.step import ACCUMULATE, GPUS, Step, step


def pair(family: str) -> tuple[str, str]:
    """VLM and reasoner of a family."""
    return f"seed-0/{family}/vlm", f"seed-0/{family}/reasoner"


def fetched(scale: Scale) -> list[Step]:
    """Models and data: links into the hub's cache."""
    steps = []
    for name, place in scale.models.items():
        size = scale.gib[name]
        more: dict[str, Any] = {"stage": "models", "seconds": 20 * size, "download_gib": size}
        out, kind, reads = f"seed-0/{name}", [], list(scale.standins)
        if name == "data":
            out, kind = name, ["--data"]
            more["writes"] = _data(scale)
            if scale.teacher:
                kind += ["--written-by", scale.teacher]
                reads.append(scale.teacher)
                if scale.rows != name:
                    kind += ["--rows", scale.rows.removeprefix(f"{name}/")]
        run = ("fetch", place, *kind, "--out", out)
        steps.append(step(out, *run, reads=reads, **more))
    return steps


def checked(family: str, **more: Any) -> list[Step]:
    """Whether a pair fits at all (shapes, RoPE bases, lineage), and how far apart it lies."""
    here, both = f"seed-0/{family}", pair(family)
    return [
        step(
            f"{here}/preflight",
            *("families", "--check", *both),
            **{"reads": both, "writes": (), **more, "seconds": 10},
        ),
        distance(f"{here}/distance", both, plot=True, **more),
    ]


def distance(
    name: str, both: Sequence[str], of: Sequence[str] = (), plot: bool = False, **more: Any
) -> Step:
    """How far a pair lies apart, or how far training went from the one toward the other."""
    drawn = ("--plot", f"{name}.png") if plot else ()
    run = ("distance", *both, "--out", f"{name}.json", *drawn, *(f"--of={one}" for one in of))
    writes = (f"{name}.json", *drawn[1:])
    return step(name, *run, reads=(*both, *of), writes=writes, **more)


def merge(
    scale: Scale,
    out: str,
    both: Sequence[str],
    *words: str,
    reads: Sequence[str] = (),
    **more: Any,
) -> Step:
    """A merge that is written."""
    run = ("merge", *both, *words, "--out", out)
    return step(out, *run, reads=(*both, *reads), disk_gib=scale.disk(out), **more)


def _data(scale: Scale) -> tuple[str, ...]:
    """The study's rows, and what is known of their making."""
    return ("data", *(["data.made.json"] if scale.teacher else []))


def swept(
    scale: Scale,
    name: str,
    both: Sequence[str],
    alphas: Sequence[float],
    tasks: str,
    out: str = "",
    reads: Sequence[str] = (),
    **more: Any,
) -> Step:
    """Merges at several shares in one engine; runs in `out`, or in a folder of the step's name."""
    out = out or name
    words = ("--alphas", ",".join(map(str, alphas)), "--tasks", tasks, "--out", out, "--overwrite")
    return step(
        name,
        *("sweep", *both, *words, *scale.options),
        reads=(*(reads or both), *scale.standins),
        writes=tuple(f"{out}/merge-{share(alpha)}" for alpha in alphas),
        gpu="one",
        resumes=True,
        **more,
    )


def trained(
    scale: Scale,
    out: str,
    recipe: str,
    parents: Mapping[str, str],
    settings: Sequence[str] = (),
    rows: Sequence[str] = (),
    reads: Sequence[str] = (),
    **more: Any,
) -> Step:
    """A training; on the study's GPUs together, each with its share of the global batch, or one.

    A pull for each micro-batch takes whole gradients, and a global batch has as many micro-batches
    on one GPU as on several: it is made on one, where no model has to be shared.

    Args:
        scale: What stands for the rest.
        out: Folder of the checkpoint.
        recipe: Its name.
        parents: Role → model.
        settings: `field=value`.
        rows: Files of rows; none: the study's.
        reads: What it reads instead of the parents, whose place may be chosen when it starts.
        more: Of the step.
    """
    batched = "gpu" not in more
    more.setdefault("gpu", "one" if "when=backward" in settings else "ranks")
    data = ",".join(rows or [scale.rows])
    given = [f"{role}={model}" for role, model in parents.items()]
    given.append(f"data=[{data}]" if rows[1:] else f"data={data}")
    if batched:
        given.append(f"accumulate={ACCUMULATE}")
    sets, own = ([word for one in some for word in ("--set", one)] for some in (given, settings))
    run = ("train", recipe, *sets, *scale.training, *own, "--out", out)
    read = [
        path
        for one in rows or [scale.rows]
        for path in (_data(scale) if one == scale.rows else [one])
    ]
    more = {"disk_gib": scale.disk(out), **more}
    return step(out, *run, reads=(*(reads or parents.values()), *read), **more)


def answers(
    scale: Scale, name: str, names: Sequence[str], tasks: str, options: Sequence[str], **more: Any
) -> Step:
    """Of checkpoints of one folder, in its `runs`."""
    at = name.rpartition("/")[0]
    models = tuple(f"{at}/{one}" for one in names)
    runs = tuple(f"{at}/runs/{one}" for one in names)
    run = ("eval", *models, "--tasks", tasks, "--overwrite")
    run += ("--out", runs[0] if len(runs) == 1 else f"{at}/runs", "--data-parallel", GPUS)
    more = {"stage": "answers", "gpu": "all", "resumes": True, **more}
    reads = (*models, *scale.standins)
    return step(name, *run, *options, *scale.engine, reads=reads, writes=runs, **more)


def report(folders: Sequence[str]) -> Step:
    """All of it."""
    words = ("report", ".", "--out", "report")
    return step("report", *words, reads=folders, stage="report", seconds=60)


def in_miniature(steps: Sequence[Step], study: str) -> list[Step]:
    """The steps of a study behind the one that makes its stand-ins, as these take them."""
    words = ("pocket", "standins", study, "--out", "standins")
    made = step("standins", *words, stage="stand-ins", seconds=15, disk_gib=0.3)
    return [made, *(replace(one, seconds=8, download_gib=0, disk_gib=0) for one in steps)]
