"""By which answers are judged, and the rows whose own answers can be judged so.

The rules are the tasks' own and come from above: see `driftbench.rewards`.
"""

from collections.abc import Callable

from drift.training.rows import Row

Rule = Callable[[str, str], bool | None]
"""The answer of a row, thought and all, and a sampled one → whether it is right; None: unread."""


def judged(rows: list[Row], rule: Rule, bad: list[str]) -> list[Row]:
    """Return the rows whose answer is right by its own measure; `bad` gets a sentence on others."""
    found = []
    for row in rows:
        answer = row.turns[-1].text
        if rule(answer, answer) is True:
            found.append(row)
        else:
            bad.append(f"{row.where} has an answer that its reward cannot read: {answer[-60:]!r}")
    return found
