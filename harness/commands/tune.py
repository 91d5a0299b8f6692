"""`driftbench tune`: each method's settings, chosen among the trials of a study."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from common.command_line import completing, placeable
from common.progress import working


def _families() -> tuple[str, ...]:
    from drift.pocket.models import FAMILIES

    return FAMILIES


def tune(
    study: Annotated[Path, Argument(help="Folder of a study that tried settings.")],
    out: Annotated[Path, Option(callback=placeable, help="JSON file to write.")],
    methods: Annotated[
        str, Option(metavar="A,B", help="Some methods; default: all that were tried.")
    ] = "",
    families: Annotated[
        str,
        Option(
            metavar="A,B",
            help="Some families; default: all that were tried.",
            autocompletion=completing(_families),
        ),
    ] = "",
) -> None:
    """Choose each method's settings among a study's trials.

    The rule stands in the study, and is printed. Each family has its own choice.
    """
    from common.errors import UserError
    from common.terminal import print_table
    from common.text import percent
    from drift.options import words
    from harness.studies import record, tuning

    design = record.read(study)
    if design is None:
        raise UserError(f"{study} holds no study: expected a folder of `driftbench reproduce`")
    with working("choosing"):
        tuned = tuning.tune(design, study, words(methods), words(families))
    tuning.write(out, tuned)
    rows = []
    for method, of in tuned.methods.items():
        for family, one in of.items():
            settings = ", ".join(f"{name} {value}" for name, value in one.settings.items())
            kept = "" if one.kept is None else percent(one.kept)
            note = "" if one.keeps else "not kept"
            rows.append((method, family, settings, f"{one.trials}", percent(one.score), kept, note))
    rule = tuned.rule
    print_table(("method", "family", "chosen", "of", rule.group, rule.keeps, ""), rows, "lllrrrl")
    print(f"{out}: {len(rows)} choices, by the highest {rule.group} of {rule.task}", end="")
    print(f" that loses at most {rule.points:g} points of {rule.keeps}" if rule.keeps else "")
