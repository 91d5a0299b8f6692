"""How far two protocols agree on the same answers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.runs.schema import Verdict


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two verdicts on each answer."""

    n: int
    """Answers that both protocols graded."""
    counts: dict[tuple[str, str], int]
    """(word of the first, word of the second) → answers; the words are those of `WORDS`."""
    share: float
    """Of answers to which both say the same."""
    kappa: float
    """Cohen's: 1 is full agreement, 0 what chance alone gives; nan where both only know one word,
    so that chance alone would make them agree."""
    score_a: float
    score_b: float


WORDS = {True: "right", False: "wrong", None: "unparsed"}


def agreement(a: Iterable[Verdict], b: Iterable[Verdict]) -> Agreement:
    """Compare two protocols' verdicts on the same answers.

    Cohen 1960, "A Coefficient of Agreement for Nominal Scales":
    (observed − expected) / (1 − expected).

    Args:
        a: Verdicts of the first protocol, of one run and task.
        b: Those of the second.

    Raises:
        ValueError: No answer was graded by both.
    """
    first, second = _words(a), _words(b)
    common = [key for key in first if key in second]
    if not common:
        raise ValueError("no answer was graded by both protocols")
    n = len(common)
    counts = Counter((first[key], second[key]) for key in common)
    ours, theirs = Counter(first[key] for key in common), Counter(second[key] for key in common)
    same = sum(counts[word, word] for word in WORDS.values()) / n
    chance = sum(ours[word] * theirs[word] for word in WORDS.values()) / n**2
    return Agreement(
        n=n,
        counts=dict(counts),
        share=same,
        kappa=(same - chance) / (1 - chance) if chance < 1 else float("nan"),
        score_a=ours["right"] / n,
        score_b=theirs["right"] / n,
    )


def _words(verdicts: Iterable[Verdict]) -> dict[tuple[str, str, int], str]:
    return {(v.task, v.id, v.sample): WORDS[v.correct] for v in verdicts}
