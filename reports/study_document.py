"""A study over seeds as documents: Markdown whose parts can be made again, LaTeX."""

import re
from collections.abc import Sequence

from common.text import in_markdown, latex_row, latex_table, markdown_table
from reports.study import Study
from reports.study_tables import (
    DIFFERENCES,
    FINDING,
    LEGEND,
    TUNING,
    finding_line,
    header,
    lines,
    tuning_lines,
)
from reports.study_text import EXPLORATORY, heading, intro, lead, sentences, tuning_intro


def blocks(study: Study) -> dict[str, str]:
    """Name → Markdown of each part of the study's document that is made from numbers alone."""
    parts = [
        f"- **{head}** {in_markdown(text)}" if head else f"**{in_markdown(text)}**\n"
        for head, text in lead(study)
    ]
    found = {"lead": "\n".join(parts), "intro": in_markdown(intro(study))}
    claims = []
    for primary in (True, False):
        said = sentences(study, primary=primary)
        if said and not primary:
            claims.append(f"### {EXPLORATORY}")
        for head, own in said.items():
            claims += [f"{'###' if primary else '####'} {head}", _bullets(own)]
    found["claims"] = "\n\n".join(claims)
    if study.families:
        tables = [
            f"### {family.title}\n\n{_table([header(family), *lines(family)])}"
            for family in study.families
        ]
        found["tables"] = "\n\n".join([*tables, LEGEND])
    found["tuning"] = "\n\n".join(
        [
            in_markdown(tuning_intro(study)),
            *(
                f"### {title}\n\n{_table([TUNING, *rows])}"
                for title, rows in tuning_lines(study).items()
            ),
        ]
    )
    if study.families:
        differences = [FINDING, *(finding_line(study, one) for one in study.findings)]
        found["differences"] = f"{_table(differences)}\n\n{DIFFERENCES}"
    return {name: text for name, text in found.items() if text}


HEADS = {
    "tables": "## Scores",
    "tuning": "## What was tried",
    "differences": "## Every difference",
}


def markdown(study: Study, figures: Sequence[tuple[str, str]] = ()) -> str:
    """The whole study as Markdown; each part stands between marks, see `MARKED`.

    Args:
        study: What was found.
        figures: File names and captions; the first stands after the first paragraph.
    """
    shown = [f"![{caption}]({name})" for name, caption in figures]
    parts = [f"# {heading(study)}"]
    for name, text in blocks(study).items():
        parts += [HEADS[name]] if name in HEADS else []
        parts.append(marked(name, text))
        if name == "lead" or (name == "intro" and not lead(study)):
            parts += shown[:1]
        if name == "claims":
            parts += shown[1:]
    return "\n\n".join(parts) + "\n"


MARKED = re.compile(r"<!-- study: (\w+) -->\n\n(.*?)\n\n<!-- study: end -->", re.DOTALL)
"""A part of a document that can be made again from the study's CSV files: its name, its text."""


def marked(name: str, text: str) -> str:
    """Put a part of a document between its marks, as `MARKED` finds it."""
    return f"<!-- study: {name} -->\n\n{text}\n\n<!-- study: end -->"


def _bullets(claims: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {in_markdown(text)}. {in_markdown(said)}." for text, said in claims)


def _table(rows: Sequence[Sequence[str]]) -> str:
    heads, *lines = ([in_markdown(cell) for cell in row] for row in rows)
    return markdown_table(heads, lines, "l" + "r" * (len(heads) - 1))


def latex(study: Study) -> str:
    """A booktabs table a family, ready to paste."""
    found = []
    for family in study.families:
        rows = [header(family), *lines(family)]
        shown = list(map(latex_row, rows))
        columns = "l" + "r" * (len(rows[0]) - 1)
        caption = f"{family.title}: means over as many seeds as the table says, in percent."
        body = [shown[0], r"\midrule", *shown[1:]]
        found.append(latex_table(caption, f"study-{family.name}", columns, body))
    return "\n".join(found)
