"""The controls of a DRIFT run: merges that go as far toward the reasoner as it went."""

from pathlib import Path

from common.errors import UserError
from common.files import refuse_existing
from common.provenance import Made
from drift.displacement import displacement
from drift.families import Role
from drift.merge import merge
from drift.merge_methods import FURTHEST, Recipe


def to_reach(
    rho: float,
    vlm: Path | str,
    llm: Path | str,
    sft: Path | str,
    modules: tuple[Role, ...],
    *,
    seed: int = 0,
) -> Recipe:
    """How to merge `sft` with `llm`, base `vlm`, so that the displacement becomes `rho`.

    ρ = ⟨w − w₀, Δ⟩/‖Δ‖² grows by α when α·Δ is added, so α is what is missing. Rounding is
    stochastic: the step is often smaller than 16 bits resolve.

    Args:
        rho: Wanted displacement from `vlm` along Δ = llm − vlm.
        vlm: Folder of the VLM before training, w₀.
        llm: Folder of the reasoner.
        sft: Folder of what plain fine-tuning made of `vlm`.
        modules: Roles that count and that are merged.
        seed: Of the rounding.

    Raises:
        UserError: `sft` has gone as far already, or it is too far to be meant.
    """
    there = displacement(vlm, llm, sft, modules).rho
    if not 0 < rho - there <= FURTHEST:
        raise UserError(
            f"{sft} has a displacement of {there:.4g} toward {llm}; a merge adds more than 0 and "
            f"at most {FURTHEST:g} to it, which does not reach {rho:.4g}"
        )
    return Recipe(
        method="task_arithmetic",
        alpha=rho - there,
        seed=seed,
        modules=modules,
        rho=rho,
        rounding="stochastic",
    )


def merge_as_far(
    sft: Path,
    llm: Path,
    vlm: Path,
    out: Path,
    *,
    drift: Path,
    before: Path | None = None,
    modules: tuple[Role, ...],
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Made, float]:
    """Merge `sft` and `llm` so that the displacement from `vlm` is that of `drift`.

    With `before`, so that it is less than that by the displacement of `before`.

    Returns:
        What is written to `made.json`, and the displacement that was wanted.
    """
    refuse_existing(out, overwrite)
    rho = displacement(vlm, llm, drift, modules).rho
    if before is not None:
        rho -= displacement(vlm, llm, before, modules).rho
    recipe = to_reach(rho, vlm, llm, sft, modules, seed=seed)
    ((_, made),) = merge(sft, llm, {out: recipe}, vlm, overwrite)
    return made, rho
