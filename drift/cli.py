"""The command line: `driftbench prior | merge | distance | train | families | pocket`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from common.errors import UserError
from common.hub import link, local

Vlm = Annotated[Path, typer.Argument(metavar="VLM", help="The VLM: folder or hub id.")]
Llm = Annotated[
    Path, typer.Argument(metavar="LLM", help="The text-only reasoner: folder or hub id.")
]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Base = Annotated[Path | None, typer.Option(help="The model that both came from: folder or hub id.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")]
Seed = Annotated[int, typer.Option(help="Of what is drawn at random.")]


def words(text: str) -> tuple[str, ...]:
    """Comma-separated words.

    >>> words("attention, mlp")
    ('attention', 'mlp')
    """
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str, kind: type, what: str) -> tuple:
    """Comma-separated numbers.

    Raises:
        UserError: one of them is none.
    """
    try:
        return tuple(kind(word) for word in words(text))
    except ValueError:
        raise UserError(f"{what} takes numbers separated by commas, not {text!r}") from None


def roles(text: str) -> tuple:
    """Comma-separated roles.

    Raises:
        UserError: one of them is none.
    """
    from drift.families import ROLES

    unknown = [word for word in words(text) if word not in ROLES]
    if unknown or not words(text):
        raise UserError(f"--modules takes {', '.join(ROLES)}, not {text!r}")
    return words(text)


def prior(
    vlm: Vlm,
    llm: Llm,
    out: Out,
    variant: Annotated[
        str, typer.Option(help="reasoner-vlm, reasoner-base, random, shuffled or negated.")
    ] = "reasoner-vlm",
    base: Base = None,
    modules: Annotated[
        str, typer.Option(help="Kinds of tensors that get a difference.")
    ] = "attention,mlp,norm",
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32.")] = "bfloat16",
    rank: Annotated[
        int | None, typer.Option(help="Store each matrix as its best approximation of this rank.")
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Store what LLM has beyond the language model of VLM."""
    from drift import delta as priors

    kinds = roles(modules)
    vlm, llm, base = local(vlm), local(llm), base and local(base)
    made = priors.build(vlm, llm, variant, base, kinds, dtype, seed)  # type: ignore[arg-type]
    error = priors.save(made, out, overwrite, rank)
    print(f"{out}: {variant}, {len(made.shapes)} tensors of {made.family}")
    if error is not None:
        worst = max(error.tensors, key=lambda name: error.tensors[name])
        print(
            f"  of rank {rank}: {error.total:.1%} of the prior's norm is lost, at most "
            f"{error.tensors[worst]:.1%} ({worst})"
        )


def merge(
    vlm: Vlm,
    llm: Llm,
    method: Annotated[
        str,
        typer.Option(
            help="linear, task_arithmetic, slerp, ties, dare_linear, dare_ties or layer_swap."
        ),
    ] = "linear",
    alpha: Annotated[float | None, typer.Option(help="Share of the reasoner, 0 … 1.")] = None,
    alphas: Annotated[str | None, typer.Option(help="Several shares: 0,0.1,0.3.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write, with --alpha.")] = None,
    out_dir: Annotated[
        Path | None, typer.Option(help="Gets merge-0.10/ and so on, with --alphas.")
    ] = None,
    base: Base = None,
    density: Annotated[float, typer.Option(help="Share of entries kept by ties, dare_*.")] = 0.5,
    layers: Annotated[str, typer.Option(help="Layers to swap: 0,1,2 (layer_swap).")] = "",
    modules: Annotated[
        str | None,
        typer.Option(
            help="Kinds that are merged; default: attention,mlp,norm, with --rho-of attention,mlp."
        ),
    ] = None,
    rho_of: Annotated[
        Path | None,
        typer.Option(
            help="Add to VLM, which was fine-tuned from --base, what brings it as far toward LLM "
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
    """Merge LLM into the language model of VLM.

    --rho-of makes the controls of a DRIFT run. SFT then merge: `merge SFT LLM --base VLM --rho-of
    DRIFT --out DIR`. Merge then SFT: `merge VLM LLM --base VLM --rho-of DRIFT --before SFT --out
    DIR`, and the same SFT on DIR.
    """
    from drift import merge as merging

    given = [word is not None for word in (alpha, out, alphas, out_dir)]
    if rho_of is not None:
        if given[0] or any(given[2:]) or out is None or base is None or method != "linear":
            raise UserError("--rho-of goes with --base and --out, without --alpha and --method")
        _merge_as_far(
            vlm, llm, base, rho_of, before, out, roles(modules or "attention,mlp"), seed, overwrite
        )
        return
    if before is not None:
        raise UserError("--before goes with --rho-of")
    if given not in ([True, True, False, False], [False, False, True, True]):
        raise UserError("give --alpha with --out, or --alphas with --out-dir")
    if alpha is not None and out is not None:
        jobs = {alpha: out}
    else:
        assert alphas is not None and out_dir is not None
        values = numbers(alphas, float, "--alphas")
        jobs = {value: out_dir / f"merge-{value:.2f}" for value in values}
        if len(set(jobs.values())) < len(values):
            raise UserError(f"--alphas {alphas} holds shares that are the same to two digits")
    recipes = {
        place: merging.Recipe(
            method,  # type: ignore[arg-type]
            share,
            density,
            numbers(layers, int, "--layers"),
            seed,
            roles(modules or "attention,mlp,norm"),
        )
        for share, place in jobs.items()
    }
    vlm, llm, base = local(vlm), local(llm), base and local(base)
    for place, made in merging.merge(vlm, llm, recipes, base, overwrite):
        assert made.coverage is not None
        print(
            f"{place}: {method}, alpha {recipes[place].alpha:g}, {made.coverage['tensors']} "
            f"tensors, {made.coverage['decoder_share']:.1%} of the decoder"
        )


def _merge_as_far(
    sft: Path,
    llm: Path,
    vlm: Path,
    drift: Path,
    before: Path | None,
    out: Path,
    modules: tuple,
    seed: int,
    overwrite: bool,
) -> None:
    """Merge `sft` and `llm` so that the displacement from `vlm` is that of `drift`.

    With `before`, so that it is less than that by the displacement of `before`.
    """
    from dataclasses import replace

    from common.files import refuse_existing
    from drift import merge as merging
    from drift.distance import displacement

    refuse_existing(out, overwrite)
    sft, llm, vlm, drift = map(local, (sft, llm, vlm, drift))
    rho = displacement(vlm, llm, drift, modules).rho
    if before is not None:
        rho -= displacement(vlm, llm, local(before), modules).rho
    recipe = replace(merging.to_reach(rho, vlm, llm, sft, modules), seed=seed)
    for _ in merging.merge(sft, llm, {out: recipe}, vlm, overwrite):
        reached = displacement(vlm, llm, out, modules).rho
        print(f"{out}: alpha {recipe.alpha:.5g}; rho {reached:.5g}, wanted {rho:.5g}")


def train(
    recipe: Annotated[
        str, typer.Argument(help="YAML file, or a bundled one such as qwen2_5_vl_drift.")
    ],
    out: Out,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value, winning over the recipe; may be repeated."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Fine-tune a VLM: SFT, or DRIFT when the recipe names a prior."""
    from drift.training import config as recipes

    config = recipes.load(recipe, recipes.from_settings(settings or []))

    from drift.training.trainer import train as run

    run(config, out, overwrite)


def distance(
    vlm: Vlm,
    llm: Llm,
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    plot: Annotated[Path | None, typer.Option(help="Also a heat map, PNG or SVG.")] = None,
    of: Annotated[
        list[Path] | None,
        typer.Option(help="Also how far this checkpoint, made from VLM, has gone toward LLM."),
    ] = None,
    modules: Annotated[
        str, typer.Option(help="Kinds of tensors that count for --of.")
    ] = "attention,mlp",
) -> None:
    """Tell how far LLM lies from the language model of VLM."""
    from dataclasses import replace

    from drift import distance as distances

    counted = roles(modules)
    vlm, llm = local(vlm), local(llm)
    gone = tuple(distances.displacement(vlm, llm, local(made), counted) for made in of or ())
    found = replace(distances.measure(vlm, llm), displacements=gone)
    distances.save(found, out)
    if plot is not None:
        distances.heat_map(found, plot)
    print(distances.table(found))


def fetch(
    place: Annotated[str, typer.Argument(help="owner/name[@revision] on the hub, or a folder.")],
    out: Annotated[Path, typer.Option(help="Link to lay to it.")],
    data: Annotated[bool, typer.Option("--data", help="It is a data set, not a model.")] = False,
) -> None:
    """Get a model or a data set from the hub's cache or the hub, and lay a link to it."""
    print(f"{out} -> {link(place, out, 'dataset' if data else 'model')}")


def noisy(
    data: Annotated[str, typer.Argument(help="Rows, as `train` takes them.")],
    out: Out,
    seed: Seed = 0,
) -> None:
    """Write rows and as many again with answers that belong to other questions."""
    from drift.training import noise

    count = noise.write(local(data, "dataset"), out, seed)
    print(f"{out}: {count} rows, the second half noise")


def families(
    check: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--check", metavar="VLM LLM", help="Pair these two, tensor by tensor."),
    ] = None,
) -> None:
    """List the families of VLMs, or check a pair."""
    from drift.families import pair

    if check is None:
        _print_families()
        return
    found = pair(*map(local, check))
    print(f"{found.family.name}: {len(found.weights)} tensors paired")
    for note in found.notes:
        print(f"  {note}")


def _print_families() -> None:
    from rich.console import Console
    from rich.table import Table

    from drift.families import FAMILIES
    from drift.published import PUBLISHED

    columns = ("family", "model_type", "decoder on disk", "partner", "published pairs checked")
    table = Table(*columns, box=None, pad_edge=False)
    for family in FAMILIES:
        pairs = [
            f"{one.vlm.split('/')[1]} + {one.llm.split('/')[1]}"
            for one in PUBLISHED
            if one.model_type == family.model_type
        ]
        table.add_row(
            family.name,
            family.model_type,
            "\n".join(f"{prefix}layers.*" for prefix, _ in family.layouts),
            ", ".join(family.text_types),
            "\n".join(pairs) or "-",
        )
    # Nothing is cut off in a file or a pipe.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
