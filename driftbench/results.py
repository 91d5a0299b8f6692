"""What a report shows, as DataFrames and figures for a notebook."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from common.errors import UserError, near
from common.text import listed
from reports import costs, formats, study_csv, study_read, tables
from reports.blocks import Block, Material
from reports.tables import Entry

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from reports.plots.style import Plot


class Results:
    """Runs or a study, as `driftbench report` shows them. Each table is made when it is read."""

    def __init__(self, material: Material) -> None:
        """Take what was read from disk."""
        self.material = material

    @cached_property
    def _tables(self) -> list[tables.Table]:
        return [tables.compare(block) for block in self.material.blocks]

    @property
    def table(self) -> "pandas.DataFrame":
        """The table of the report as text: runs down, benchmarks or groups across."""
        import pandas

        frames = {}
        for table in self._tables:
            heads, lines = formats.grid(table)
            rows = [[_text(cell) for cell in line] for line in lines]
            frames[table.title] = pandas.DataFrame(rows, columns=["run", *heads[1:]]).set_index(
                "run"
            )
        if len(frames) > 1:
            return pandas.concat(frames, names=["block"])
        return next(iter(frames.values()), pandas.DataFrame())

    @property
    def cells(self) -> "pandas.DataFrame":
        """Scores with counts and standard errors, a row a run, task and group (scores.csv)."""
        return _frame(formats.SCORES, formats.score_rows(self.material))

    @property
    def differences(self) -> "pandas.DataFrame":
        """Every difference to the baseline, with its test (comparison.csv)."""
        return _frame(formats.DIFFERENCES, formats.difference_rows(self._tables))

    @property
    def costs(self) -> "pandas.DataFrame":
        """What each checkpoint took to make and to ask: FLOPs, seconds, bytes (cost.csv)."""
        return _frame(costs.FIELDS, costs.rows(self.material.blocks))

    @property
    def training(self) -> "pandas.DataFrame":
        """Training logs, a row a step and module (training.csv)."""
        from reports.plots import training

        logs = ((block.name, block.logs) for block in self.material.blocks)
        return _frame(training.FIELDS, training.rows(logs))

    @property
    def findings(self) -> "pandas.DataFrame":
        """What a study of several seeds claims, and what came out (findings.csv).

        Raises:
            UserError: It is no study, or has one seed.
        """
        found = study_read.of(self.material)
        if found is None or not found.families:
            raise UserError("there are findings of studies of several training seeds alone")
        return _frame(study_csv.FOUND, study_csv.finding_rows(found))

    @property
    def answers(self) -> "pandas.DataFrame":
        """Every answer with its verdict, a row each."""
        import pandas

        from harness.runs.export import table
        from harness.statistics.sides import root

        frames = []
        for block in self.material.blocks:
            for run in {row.run.folder: row.run for row in (*block.rows, *block.sweep)}.values():
                verdicts = [verdict for own in run.verdicts.values() for verdict in own]
                frame = table(root(run.folder), verdicts).to_pandas()
                frame.insert(0, "block", block.name)
                frame.insert(1, "run", run.name)
                frames.append(frame.astype({"correct": "boolean"}))
        return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()

    @property
    def questions(self) -> "pandas.DataFrame":
        """What was asked, a row a question; `row` is the benchmark's own."""
        import pandas

        rows = []
        for block in self.material.blocks:
            for asked in block.questions.values():
                one = asked.question
                known = {"task": one.task, "id": one.id, "prompt": one.prompt, "row": one.row}
                rows.append(known | {"answer": one.row.get("answer"), "images": len(one.images)})
        found = pandas.DataFrame(rows, columns=["task", "id", "prompt", "answer", "images", "row"])
        return found.drop_duplicates(["task", "id", "prompt"], ignore_index=True)

    @cached_property
    def _plots(self) -> "dict[str, Plot]":
        from reports.plots import categories, figures
        from reports.plots import study as over_seeds

        counted = [*self._tables, *(t for own in self._tables for t in categories.tables(own))]
        found = [p for own in figures.of(self.material, counted).values() for p in own]
        if whole := study_read.of(self.material):
            found += over_seeds.plots(whole)
        return {plot.name: plot for plot in found}

    @property
    def plots(self) -> list[str]:
        """Names of what `plot` draws."""
        return list(self._plots)

    def plot(self, name: str) -> "Figure":
        """Draw a plot of the report as a Matplotlib figure, of which no window is opened.

        Raises:
            UserError: There is none of this name.
        """
        from reports.plots import style

        if name not in self._plots:
            raise UserError(
                f"there is no plot {name!r}: {near(str(name), self.plots)}there are "
                f"{', '.join(self.plots) or 'none'}"
            )
        return style.figure(self._plots[name])

    def question(self, id: str, task: str | None = None) -> "Asked":
        """Return a question with its pictures and every run's answers; a notebook shows it.

        Raises:
            UserError: There is none of this id, or several tasks have one.
        """
        places = [
            (block, key)
            for block in self.material.blocks
            for key in block.questions
            if key[1] == str(id)
        ]
        if not places:
            ids = [key[1] for block in self.material.blocks for key in block.questions]
            raise UserError(f"no question is called {id!r}: {near(str(id), ids)}see `questions`")
        tasks = dict.fromkeys(key[0] for _, key in places)
        if task is None and len(tasks) > 1:
            raise UserError(f"{listed([*tasks])} have a question {id}: give `task`")
        if task is not None and task not in tasks:
            raise UserError(f"{task} has no question {id}: there is one of {listed([*tasks])}")
        return next(Asked(*place) for place in places if task in (None, place[1][0]))

    def __repr__(self) -> str:
        """Return the table as text."""
        return self.table.to_string()

    def _repr_html_(self) -> str:
        notes = [*self.material.notes, *(note for table in self._tables for note in table.notes)]
        told = "".join(f"<li>{html.escape(note)}</li>" for note in dict.fromkeys(notes))
        return self.table.to_html() + (f"<ul>{told}</ul>" if told else "")


@dataclass(frozen=True)
class Asked:
    """One question and what the runs of a table answered."""

    block: Block
    key: tuple[str, str]
    """Task and id."""

    @property
    def prompt(self) -> str:
        """What the model was asked, without its pictures."""
        return self.block.questions[self.key].question.prompt

    @property
    def images(self) -> list[bytes]:
        """The pictures' files, those that are still there."""
        from harness.runs.folder import image_path

        asked = self.block.questions[self.key]
        paths = [image_path(asked.folder, image) for image in asked.question.images]
        return [path.read_bytes() for path in paths if path.exists()]

    @property
    def answers(self) -> "pandas.DataFrame":
        """The answers of every run, with their verdicts."""
        whole = Results(Material(title="", blocks=(self.block,), notes=())).answers
        here = (whole["task"] == self.key[0]) & (whole["id"] == self.key[1])
        columns = ["run", "sample", "text", "answer", "correct", "how"]
        return whole.loc[here, columns].reset_index(drop=True)

    def __repr__(self) -> str:
        """Return prompt and answers as text."""
        return f"{self.prompt}\n\n{self.answers.to_string()}"

    def _repr_html_(self) -> str:
        drawn = "".join(map(_picture, self.images))
        prompt = f"<pre style='white-space: pre-wrap'>{html.escape(self.prompt)}</pre>"
        return f"<p>{drawn}</p>{prompt}{self.answers.to_html()}"


def _picture(content: bytes) -> str:
    """A picture as a browser can show it, whatever its kind was."""
    from common.pictures import decoded

    try:
        file = io.BytesIO()
        decoded(content).save(file, "PNG")
    except ValueError as error:
        return html.escape(f"[a picture that cannot be read: {error}]")
    data = base64.b64encode(file.getvalue()).decode()
    return f"<img style='max-width: 400px' src='data:image/png;base64,{data}'>"


def _text(cell: str | Entry) -> str:
    if isinstance(cell, str):
        return cell
    said = ", ".join(filter(None, tables.difference(cell)))
    return f"{tables.score(cell)} ({said})" if said else tables.score(cell)


def _frame(fields: Sequence[str], rows: Sequence[Mapping[str, object]]) -> "pandas.DataFrame":
    """The rows of a report's file; what is empty there is missing.

    Not read back from the file, in which a run named 0100 or NA cannot be told from a number.
    """
    import pandas

    lines = [[_known(row.get(field)) for field in fields] for row in rows]
    return pandas.DataFrame(lines, columns=list(fields))


def _known(value: object) -> object:
    unknown = value in (None, "") or (isinstance(value, float) and not math.isfinite(value))
    return math.nan if unknown else value
