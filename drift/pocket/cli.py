"""`driftbench pocket …`: the world, and a command for each stage of the tiny models' schooling."""

from pathlib import Path
from typing import Annotated

import typer

from common.command_line import completing
from drift.options import Out

app = typer.Typer(
    help="Make the pocket world and its tiny models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _families() -> tuple[str, ...]:
    from drift.pocket.models import FAMILIES

    return FAMILIES


Family = Annotated[
    str,
    typer.Argument(
        help="qwen2_5_vl, llava_next or idefics3.", autocompletion=completing(_families)
    ),
]
Base = Annotated[Path, typer.Argument(metavar="BASE", help="Folder of the family's base.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")]
Length = Annotated[float, typer.Option(min=0.001, help="Share of the training steps.")]


@app.command("world")
def make_world(
    out: Out,
    seed: Seed = 0,
    train: Annotated[int, typer.Option(min=1, help="Rows of the fine-tuning set.")] = 192,
    validation: Annotated[int, typer.Option(min=1, help="Questions a group.")] = 100,
    test: Annotated[int, typer.Option(min=1, help="Questions a group.")] = 200,
) -> None:
    """Draw the questions and pictures of the three splits."""
    from drift.pocket import world

    world.write(out, seed, train, validation, test)
    print(f"{out}: {train} rows to train on, {validation} + {test} questions a group to ask")


@app.command("base")
def make_base(family: Family, out: Out, seed: Seed = 0, length: Length = 1.0) -> None:
    """Train the text model that the family's reasoner and VLM grow from."""
    from drift.pocket import build

    build.base(family, out, seed, length)


@app.command("reasoner")
def make_reasoner(
    family: Family,
    base: Base,
    out: Out,
    distance: Annotated[str, typer.Option(help="From the base: close or far.")] = "close",
    rope: Annotated[str, typer.Option(help="Base of its positions: same or other.")] = "same",
    sums: Annotated[str, typer.Option(help="Taught right or wrong.")] = "right",
    seed: Seed = 0,
    length: Length = 1.0,
) -> None:
    """Train the family's text-only reasoner from its base."""
    from common.typed import record
    from drift.pocket import build
    from drift.pocket.stages import Schooling

    given = {"distance": distance, "rope": rope, "sums": sums}
    school = record(Schooling, given, "the reasoner")
    build.reasoner(family, base, out, school, seed=seed, length=length)


@app.command("vlm")
def make_vlm(
    family: Family,
    base: Base,
    out: Out,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="How much a card on a picture is seen as its word.")
    ] = 0.7,
    seed: Seed = 0,
    length: Length = 1.0,
) -> None:
    """Train the family's vision-language model from its base."""
    from drift.pocket import build

    build.vlm(family, base, out, share=share, seed=seed, length=length)


@app.command("standins")
def make_standins(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="paper or small.")],
    out: Out,
    seed: Seed = 0,
) -> None:
    """Write random tiny models and rows in the place of a study's: nothing is trained."""
    from drift.pocket import standins

    standins.write(study, out, seed)
    print(f"{out}: {', '.join(standins.models_of(study))}, and a world to ask about")
