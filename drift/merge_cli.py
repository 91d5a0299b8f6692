"""`driftbench merge`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.command_line import placeable
from common.errors import UserError
from common.hub import local
from common.terminal import print_next
from common.text import share
from drift.options import Base, Method, Overwrite, Seed, Vlm, numbers, roles

if TYPE_CHECKING:
    from common.provenance import Made
    from drift.merge_methods import Recipe

Other = Annotated[
    Path,
    typer.Argument(
        metavar="OTHER",
        help="A text-only reasoner, another VLM of the family, or a prior: folder or hub id.",
    ),
]


def merge(
    vlm: Vlm,
    other: Other,
    method: Method = "linear",
    alpha: Annotated[
        float | None, typer.Option(help="Share of OTHER, 0 … 1; of what rank1 and ip add.")
    ] = None,
    alphas: Annotated[str | None, typer.Option(help="Several shares: 0,0.1,0.3.")] = None,
    by_layer: Annotated[
        str | None,
        typer.Option(
            help="A share for each layer, 0,0.1,…; or 0..0.3, which rises evenly from the first "
            "layer to the last."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Factors of the updates of VLM and OTHER, instead of shares that add up to 1: "
            "1.6,0.2 (methods with --base)."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(callback=placeable, help="Folder to write.")] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(callback=placeable, help="Gets merge-0.10/ and so on, with --alphas."),
    ] = None,
    base: Base = None,
    density: Annotated[
        float | None, typer.Option(help="Share of entries kept by ties, dare_*; default: 0.5.")
    ] = None,
    layers: Annotated[str, typer.Option(help="Layers to swap: 0,1,2 (layer_swap).")] = "",
    modules: Annotated[
        str | None,
        typer.Option(
            help="Kinds that are merged; default: attention,mlp,norm, of two VLMs everything, with "
            "--rho-of attention,mlp."
        ),
    ] = None,
    rounding: Annotated[
        str | None,
        typer.Option(
            help="nearest (the default), or stochastic, which keeps small steps on the average, as "
            "--rho-of always does."
        ),
    ] = None,
    rho_of: Annotated[
        Path | None,
        typer.Option(
            help="Add to VLM, which was fine-tuned from --base, what brings it as far toward OTHER "
            "as this checkpoint."
        ),
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(
            help="With --rho-of: leave out as far as this fine-tuning of --base went by itself."
        ),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Merge a reasoner, another VLM or a prior into a VLM.

    A reasoner goes into the language model; OTHER may also be a fine-tune of VLM, or a prior.

    --rho-of makes the controls of a DRIFT run. SFT then merge: `merge SFT LLM --base VLM --rho-of
    DRIFT --out DIR`. Merge then SFT: `merge VLM LLM --base VLM --rho-of DRIFT --before SFT --out
    DIR`, and the same SFT on DIR.
    """
    from drift import merge as merging
    from drift.as_far import merge_as_far
    from drift.merge_methods import Recipe, density_for

    one = [alpha, weights, by_layer]
    if rho_of is not None:
        given = any(word is not None for word in (*one, alphas, out_dir, density, rounding))
        if given or layers or out is None or base is None or method != "linear":
            raise UserError(
                "--rho-of goes with --base and --out: it finds the alpha of a linear merge, and "
                "rounds by chance; leave --alpha, --method, --rounding and the like out"
            )
        made, rho = merge_as_far(
            local(vlm),
            local(other),
            local(base),
            out,
            drift=local(rho_of),
            before=before and local(before),
            modules=roles(modules or "attention,mlp"),
            seed=seed,
            overwrite=overwrite,
        )
        assert made.reached is not None
        alpha, reached = made.settings["alpha"], made.reached["rho"]
        print(f"{out}: alpha {alpha:.5g}; rho {reached:.5g}, wanted {rho:.5g}")
        print_next("eval", out, "--tasks", "…", "--out", f"runs/{out.name}")
        return
    if before is not None:
        raise UserError("--before goes with --rho-of")
    single = sum(word is not None for word in one)
    if (single, out is None, alphas is None, out_dir is None) not in (
        (1, False, True, True),
        (0, True, False, False),
    ):
        raise UserError(
            "give --alpha with --out (or --weights or --by-layer in its place), or --alphas with "
            "--out-dir"
        )
    rounding = rounding or Recipe.rounding
    if rounding not in ("nearest", "stochastic"):
        raise UserError(f"--rounding is nearest or stochastic, not {rounding}")
    swapped = numbers(layers, int, "--layers") if layers else ()
    chosen = roles(modules) if modules else None
    if alphas is not None and out_dir is not None:
        shares = _places(alphas, out_dir)
    else:
        assert out is not None
        shares = {out: alpha}
    factors = _factors(weights)
    vlm, other, base = local(vlm), local(other), base and local(base)
    recipe = Recipe(
        method=method,  # type: ignore[arg-type]
        density=density_for(method, density),
        swap_layers=swapped,
        seed=seed,
        modules=chosen or merging.usual_modules(vlm, other),
        rounding=rounding,  # type: ignore[arg-type]
        weights=factors,
        by_layer=_by_layer(by_layer, vlm),
    )
    jobs = {
        place: replace(recipe, alpha=_alpha(recipe) if share is None else share)
        for place, share in shares.items()
    }
    _warn(vlm, other, recipe)
    for place, made in merging.merge(vlm, other, jobs, base, overwrite):
        print(_line(place, jobs[place], made), flush=True)
    name = out_dir.name if out_dir else next(iter(jobs)).name
    print_next("eval", *jobs, "--tasks", "…", "--out", f"runs/{name}")


def _places(alphas: str, out_dir: Path) -> dict[Path, float | None]:
    """Folder → share of the reasoner."""
    values = numbers(alphas, float, "--alphas")
    if len(set(values)) < len(values):
        raise UserError(f"--alphas {alphas} names a share twice")
    return {out_dir / f"merge-{share(value)}": value for value in values}


def _factors(weights: str | None) -> tuple[float, float] | None:
    if weights is None:
        return None
    values = numbers(weights, float, "--weights")
    if len(values) != 2:
        raise UserError(f"--weights takes two factors, VLM's and OTHER's (1.6,0.2), not {weights}")
    return values


def _by_layer(text: str | None, vlm: Path) -> tuple[float, ...]:
    """A share for each layer, from a list or from `first..last`."""
    from drift.merge import layer_count

    if text is None:
        return ()
    shares = numbers(text.replace("..", ","), float, "--by-layer")
    if ".." not in text:
        return shares
    if len(shares) != 2:
        raise UserError(
            f"--by-layer takes the shares of the first and the last layer, 0..0.3, not {text}"
        )
    (first, last), count = shares, layer_count(vlm)
    return tuple(first + (last - first) * i / max(1, count - 1) for i in range(count))


def _alpha(recipe: "Recipe") -> float:
    if recipe.weights:
        return recipe.weights[1]
    return sum(recipe.by_layer) / len(recipe.by_layer)


def _warn(vlm: Path, other: Path, recipe: "Recipe") -> None:
    """Say what makes the two ill-matched, and what a method does that its name does not say."""
    from drift import merge
    from drift.merge_methods import THINNING

    found = list(merge.warnings(vlm, other))
    if recipe.method in THINNING:
        found.append(
            f"{recipe.method} thins the VLM's own update too, and so lies off the VLM however "
            "small alpha is; at alpha 0 nothing is touched"
        )
    for line in found:
        print(f"warning: {line}")


def _line(place: Path, recipe: "Recipe", made: "Made") -> str:
    """What was written, and how far it went."""
    from drift.families import DECODER_ROLES

    assert made.coverage is not None and made.reached is not None
    how = f"alpha {recipe.alpha:g}"
    if recipe.weights:
        how = f"weights {recipe.weights[0]:g} and {recipe.weights[1]:g}"
    elif recipe.by_layer:
        how = f"alpha {recipe.by_layer[0]:g} … {recipe.by_layer[-1]:g}"
    rho, kept = made.reached["rho"], made.reached["kept"]
    gate = made.coverage.get("left_alone")
    stopped = f" ({gate} left alone)" if gate else ""
    outside = [role for role in made.coverage["by_role"] if role not in DECODER_ROLES]
    parts = ", ".join([f"{made.coverage['decoder_share']:.1%} of the decoder", *sorted(outside)])
    sample = " (by a sample)" if "measured" in made.reached else ""
    lost = f", {kept:.0%} of the step outlived rounding" if kept < 0.995 else ""
    return (
        f"{place}: {recipe.method}, {how}, {made.coverage['tensors']} tensors{stopped}, "
        f"{parts}, rho {rho:.4g}{sample}{lost}"
    )
