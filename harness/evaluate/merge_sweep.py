"""A row of merges through one engine: loaded in place, never written, each a run like any other.

points = merges("vlm", "reasoner", Recipe(method="linear"), (0.0, 0.1, 0.3))
run(points, tasks, Path("runs/sweep"), engine="vllm")
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import UserError
from common.provenance import Made, Parent, digest
from drift.merge import merge, open_models
from drift.merge_methods import Recipe
from harness.checkpoints.kinds import MergedModel, ModelFolder
from harness.checkpoints.preflight import open_checkpoint
from harness.runs.folder import read_cells
from harness.statistics import choice

SETTINGS = ("method", "alpha", "density", "swap_layers", "seed", "modules")
"""Fields of a recipe that decide the weights of a merge here."""


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
        llm: The same of the text-only reasoner.
        recipe: How to merge, whatever its α.
        alphas: Shares of the reasoner, each another point.
        base: The same of the model that both came from, for the methods that need it.
        template: File with a chat template, instead of the VLM's own.

    Raises:
        UserError: A model cannot be used, or the two do not merge in this way.
    """
    names = [f"merge-{alpha:.2f}" for alpha in alphas]
    if len(set(names)) < len(names):
        raise UserError(
            f"{', '.join(map(str, alphas))} holds shares that are the same to two digits"
        )
    ours, theirs = _folder(vlm, template), _folder(llm)
    if not ours.is_multimodal:
        raise UserError(f"{ours.path} takes no pictures: give the VLM first, then the reasoner")
    parents = [_parent("vlm", ours), _parent("reasoner", theirs)]
    common = _folder(base) if base else None
    if common:
        parents.append(_parent("base", common))
    place = common.path.absolute() if common else None
    recipes = [replace(recipe, alpha=alpha) for alpha in alphas]
    open_models(ours.path, theirs.path, recipes, place)
    points = []
    for name, how in zip(names, recipes, strict=True):
        settings = {field: getattr(how, field) for field in SETTINGS}
        content = {"parents": [parent.fingerprint for parent in parents], "merge": settings}
        points.append(
            MergedModel(
                name=name,
                path=ours.path,
                surroundings=ours.surroundings,
                folder=ours,
                fingerprint=digest(content),
                made=Made(method="merge", name=name, parents=tuple(parents), settings=settings),
                llm=theirs.path.absolute(),
                base=place,
                recipe=how,
                notes=ours.notes,
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


def _parent(role: str, model: ModelFolder) -> Parent:
    return Parent(role, str(model.path), model.fingerprint)
