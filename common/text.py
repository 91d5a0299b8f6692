"""Numbers and names as text, for people, terminals, Markdown, LaTeX and CSV: each rule once.

Names of runs, tasks and groups come from outside. What a format or a terminal would take for
markup, a formula or a command becomes inert here.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence

LONGEST_SENTENCE = 1000
"""Characters of what others say that are shown."""

# Numbers


def percent(value: float) -> str:
    """0.625 → `62.5`; `?` where it is not known."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "?"


def signed(value: float) -> str:
    """0.016 → `+1.6`, in points, with a true minus; `?` where it is not known."""
    if not math.isfinite(value):
        return "?"
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def with_error(value: float, stderr: float) -> str:
    """`62.5 ± 3.4`, in percent."""
    return f"{percent(value)} ± {percent(stderr)}"


def share(value: float) -> str:
    """Write a share to two digits, or whole where these would be another number.

    >>> share(0.1), share(0.025)
    ('0.10', '0.025')
    """
    text = f"{value:.2f}"
    return text if float(text) == value else repr(value)


def gib(count: float) -> str:
    """Write bytes in GiB.

    >>> gib(1610612736)
    '1.5 GiB'
    """
    return f"{count / 2**30:,.1f} GiB"


def p_value(p: float) -> str:
    """`0.21`, `0.043`, `< 0.001`."""
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def probability(p: float) -> str:
    """`p = 0.21`, `p = 0.043`, `p < 0.001`."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def some(names: Sequence[str], most: int = 6) -> str:
    """`a, b and 198 others`: no more than so many by name."""
    more = [f"{len(names) - most:,} others"] if len(names) > most else []
    return listed([*names[:most], *more])


# Names


def printable(text: str) -> str:
    r"""Return a text with what could steer a terminal as escapes; all languages' letters stay.

    >>> printable("é\x1b[2J\u202e")
    'é\\x1b[2J\\u202e'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def said(error: Exception) -> str:
    """Return what an exception says, on one line that is not too long."""
    return shown(str(error)) or type(error).__name__


def shown(text: str) -> str:
    """Return a text from outside on one line, without its end if it is long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_SENTENCE else f"{line[:LONGEST_SENTENCE]} …"


def in_markdown(text: str) -> str:
    """Escape what Markdown would read as markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", printable(text))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    "Δ": r"$\Delta$",
    "≥": r"$\geq$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "<": r"$<$",
    ">": r"$>$",
    "–": "--",
    "[": "{[}",  # after \\ it would begin an option
    **{char: "\\" + char for char in "&%$#_{}"},
}


def in_latex(text: str) -> str:
    """Make any text safe to paste into LaTeX; other characters beyond ASCII pass as UTF-8."""
    return "".join(_LATEX.get(char, char) for char in printable(text))


def in_csv(value: object) -> object:
    """Return a CSV field: unknown numbers empty, no text that a spreadsheet takes for a formula.

    A quote goes before `=`, `+`, `-`, `@` and their wide forms at the beginning of a text (OWASP,
    "CSV Injection"); numbers are left as they are.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        text = printable(value)
        return f"'{text}" if text.lstrip()[:1] in set("=+-@＝＋－＠") else text
    return value


# Tables


def csv_text(fields: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Write rows as CSV under a head of fields; what a row lacks is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([in_csv(row.get(field)) for field in fields] for row in rows)
    return file.getvalue()


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """Write a table in Markdown.

    Args:
        heads: Of the columns, in Markdown.
        rows: Their cells, in Markdown.
        align: A letter for each column, `l` or `r`.
    """
    rule = ["---:" if letter == "r" else "---" for letter in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def latex_row(cells: Iterable[str]) -> str:
    """Write the cells of a line of a LaTeX table, escaped."""
    return " & ".join(map(in_latex, cells)) + r" \\"


def latex_table(caption: str, name: str, align: str, lines: Sequence[str]) -> str:
    r"""Write a `table*`; it needs `\usepackage{booktabs}`.

    Args:
        caption: Not escaped yet.
        name: Of its label, after `tab:`.
        align: A letter for each column, as `tabular` wants them.
        lines: What stands between the outer rules, in LaTeX.
    """
    label = re.sub(r"[^A-Za-z0-9]+", "-", name)
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{in_latex(caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )
