"""A row of merges through one engine: loaded in place, never written, each a run like any other.

points = merges("vlm", "reasoner", Recipe(method="linear"), (0.0, 0.1, 0.3))
run(points, tasks, Path("runs/sweep"), engine="vllm")
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from common.errors import UserError
from common.hub import local
from common.provenance import Made, Parent, digest, lineage
from common.text import share
from drift.fingerprints import fingerprint
from drift.merge import is_prior, merge, open_models, warnings
from drift.merge_methods import Recipe
from harness.checkpoints.kinds import MergedModel, ModelFolder
from harness.checkpoints.preflight import open_checkpoint
from harness.runs.folder import read_cells
from harness.statistics import choice

SETTINGS = ("method", "alpha", "density", "swap_layers", "seed", "modules")
"""Fields of a recipe that are always told, and others where they are not the default."""


def merges(
    vlm: str,
    llm: str,
    recipe: Recipe,
    alphas: Sequence[float],
    base: str | None = None,
    template: Path | None = None,
) -> list[MergedModel]:
    """Return a checkpoint for each α: the VLM's own, but for the merge that is loaded over it.

    Its fingerprint is made of those of its parents and of the settings of the merge, which
    together decide its weights.

    Args:
        vlm: Folder or hub id of the VLM.
        llm: The same of what is merged into it: a text-only reasoner, another VLM, a prior.
        recipe: How to merge, whatever its α.
        alphas: Shares of the reasoner, each another point.
        base: The same of the model that both came from, for the methods that need it.
        template: File with a chat template, instead of the VLM's own.

    Raises:
        UserError: A model cannot be used, or the two do not merge in this way.
    """
    names = [f"merge-{share(alpha)}" for alpha in alphas]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(map(str, alphas))} names a share twice")
    ours, theirs = _folder(vlm, template), local(llm).absolute()
    # Not that of the folder: a template given apart is in it.
    prints = [ours.fingerprint]
    prints += [fingerprint(theirs) if is_prior(theirs) else _folder(llm).fingerprint]
    if not ours.is_multimodal:
        raise UserError(f"{ours.path} takes no pictures: give the VLM first, then the reasoner")
    common = _folder(base) if base else None
    if common:
        prints.append(common.fingerprint)
    place = common.path.absolute() if common else None
    recipes = [replace(recipe, alpha=alpha) for alpha in alphas]
    models = open_models(ours.path, theirs, recipes, place)
    parents = tuple(
        Parent(role, str(folder), one)
        for (role, folder), one in zip(models.parents, prints, strict=True)
    )
    cost = {"flops": 0, "before": [asdict(one) for one in lineage(parents)]}
    points = []
    for name, how in zip(names, recipes, strict=True):
        settings = {
            field: value
            for field, value in vars(how).items()
            if field in SETTINGS or value != getattr(Recipe, field)
        }
        content = {"parents": [parent.fingerprint for parent in parents], "merge": settings}
        points.append(
            MergedModel(
                name=name,
                path=ours.path,
                surroundings=ours.surroundings,
                folder=ours,
                fingerprint=digest(content),
                made=Made(method="merge", name=name, parents=parents, settings=settings, cost=cost),
                llm=theirs,
                base=place,
                recipe=how,
                notes=(*ours.notes, *warnings(ours.path, theirs)),
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
    scores = {}
    for alpha, folder in zip(alphas, folders, strict=True):
        whole = [cell.score for cell in read_cells(folder) if cell.group == "all"]
        scores[alpha] = sum(whole) / len(whole)
    return choice.best(dict(sorted(scores.items()))), list(scores.values())


def write(point: MergedModel, out: Path) -> None:
    """Write one of `merges` as a checkpoint.

    Raises:
        UserError: See `drift.merge.merge`.
    """
    list(merge(point.folder.path, point.llm, {out: point.recipe}, point.base))


def _folder(where: str, template: Path | None = None) -> ModelFolder:
    opened = open_checkpoint(where, template=template)
    if isinstance(opened, ModelFolder):
        return opened
    raise UserError(f"{opened.path} is an adapter: merge it into its base model first")
