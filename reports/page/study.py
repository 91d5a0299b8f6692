"""A study over seeds as the head of the page: sentences, figures, tables. All text is escaped."""

from collections.abc import Sequence
from html import escape

from reports import study_text
from reports.plots.style import Plot
from reports.study import Study


def html(study: Study, figures: Sequence[tuple[Plot, str]]) -> str:
    """The element that stands under the page's title.

    Args:
        study: What was found.
        figures: Plots, each with its SVG element.
    """
    parts = [f"<p>{escape(study_text.intro(study))}</p>"]
    for heading, claims in study_text.sentences(study).items():
        items = "".join(
            f"<li><strong>{escape(text)}.</strong> {escape(said)}.</li>" for text, said in claims
        )
        parts.append(f"<h3>{escape(heading)}</h3><ul>{items}</ul>")
    for plot, svg in figures:
        parts.append(
            f'<figure class="wide study"><figcaption>{escape(plot.title)}</figcaption>'
            f'<div class="scroll">{svg}</div><p class="muted">{escape(plot.text)}</p></figure>'
        )
    for family in study.families:
        rows = study_text.lines(family)
        parts.append(f"<h3>{escape(family.title)}</h3>{_table(study_text.header(family), rows)}")
    parts.append(f"<p>{escape(study_text.LEGEND)}</p>")
    differences = [study_text.finding_line(study, one) for one in study.findings]
    table = _table(study_text.FINDING, differences)
    parts.append(f"<details><summary>Every difference</summary>{table}</details>")
    inside = "\n".join(parts)
    return f'<section class="study"><h2>What the study says</h2>\n{inside}\n</section>'


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
