"""A study over seeds as the head of the page: sentences, figures, tables. All text is escaped."""

from collections.abc import Sequence
from html import escape

from reports import study_tables, study_text
from reports.plots.study_tuning import CURVES
from reports.plots.style import Plot
from reports.study import Study


def html(study: Study, figures: Sequence[tuple[Plot, str]]) -> str:
    """The element that stands under the page's title.

    Args:
        study: What was found.
        figures: Plots, each with its SVG element; the first stands beside what the study says.
    """
    shown = [_figure(plot, svg) for plot, svg in figures if not plot.name.startswith(CURVES)]
    tried = _tried(study, [one for one in figures if one[0].name.startswith(CURVES)])
    intro = f"<p>{escape(study_text.intro(study))}</p>"
    if not study.families:
        return _section(study, [intro, tried, *shown])
    parts = [*_lead(study), *shown[:1], intro]
    parts += [_claims(heading, own) for heading, own in _sentences(study, primary=True)]
    parts += shown[1:]
    for family in study.families:
        rows = study_tables.lines(family)
        parts.append(f"<h3>{escape(family.title)}</h3>{_table(study_tables.header(family), rows)}")
    parts.append(f"<p>{escape(study_tables.LEGEND)}</p>")
    if tried:
        parts.append(_closed("What was tried", tried))
    other = [_claims(heading, own) for heading, own in _sentences(study, primary=False)]
    if other:
        parts.append(_closed(study_text.EXPLORATORY, "".join(other)))
    differences = [study_tables.finding_line(study, one) for one in study.findings]
    table = _table(study_tables.FINDING, differences)
    table += f"<p>{escape(study_tables.DIFFERENCES)}</p>"
    parts.append(_closed("Every difference", table))
    return _section(study, parts)


def _lead(study: Study) -> list[str]:
    said = study_text.lead(study)
    counts = [f"<p><strong>{escape(text)}</strong></p>" for head, text in said if not head]
    heads = [f"<li><strong>{head}</strong> {escape(text)}</li>" for head, text in said if head]
    return [*counts, *(["<ul>", *heads, "</ul>"] if heads else [])]


def _section(study: Study, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return f'<section class="study"><h2>{study_text.heading(study)}</h2>\n{inside}\n</section>'


def _tried(study: Study, curves: Sequence[tuple[Plot, str]]) -> str:
    """Each family's choices, then the curves; empty where nothing was tried."""
    parts = [
        f"<h3>{escape(title)}</h3>{_table(study_tables.TUNING, rows)}"
        for title, rows in study_tables.tuning_lines(study).items()
    ]
    if parts:
        parts = [f"<p>{escape(study_text.tuning_intro(study))}</p>", *parts]
    return "".join([*parts, *(_figure(plot, svg) for plot, svg in curves)])


def _sentences(study: Study, *, primary: bool) -> list[tuple[str, list[tuple[str, str]]]]:
    return list(study_text.sentences(study, primary=primary).items())


def _claims(heading: str, claims: Sequence[tuple[str, str]]) -> str:
    items = "".join(
        f"<li><strong>{escape(text)}.</strong> {escape(said)}.</li>" for text, said in claims
    )
    return f"<h3>{escape(heading)}</h3><ul>{items}</ul>"


def _figure(plot: Plot, svg: str) -> str:
    return (
        f'<figure class="wide study"><figcaption>{escape(plot.title)}</figcaption>'
        f'<div class="scroll">{svg}</div><p class="muted">{escape(plot.text)}</p></figure>'
    )


def _closed(summary: str, inside: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )
