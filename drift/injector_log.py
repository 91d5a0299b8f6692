"""What an injector tells: its coverage, and of a step cosine, ratio and displacement by role."""

from dataclasses import dataclass

from drift.joined import Target


@dataclass(frozen=True)
class Coverage:
    """What share of a decoder the method reaches."""

    tensors: int
    parameters: int
    decoder_share: float
    """Of the decoder's parameters (embeddings and head not counted)."""
    by_role: dict[str, int]
    """Tensors of each role."""

    def line(self) -> str:
        """One line for people."""
        roles = ", ".join(f"{count} {role}" for role, count in self.by_role.items())
        return (
            f"{self.tensors} tensors ({roles}), {self.parameters:,} parameters, "
            f"{self.decoder_share:.1%} of the decoder"
        )


class Log:
    """Sums per role over the tensors of one step."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}

    def add(
        self, target: Target, gg: float, gd: float, dd: float, push: float, moved: float
    ) -> None:
        """Add what was measured of one tensor: see `drift.equations.strength`."""
        sums = self.sums.setdefault(target.role, [0.0] * 6)
        cosine = ratio(gd, (max(gg, 0.0) * dd) ** 0.5)
        for i, value in enumerate((1, cosine, gg, push * push * dd, moved, target.dd)):
            sums[i] += value

    def rho(self) -> float:
        """Displacement over everything."""
        return ratio(*(sum(sums[i] for sums in self.sums.values()) for i in (4, 5)))

    def by_role(self) -> dict[str, dict[str, float]]:
        """Role → mean cosine, ratio of the norms, displacement."""
        return {
            role: {
                "cos": cosine / count,
                "ratio": ratio(pushed, gg) ** 0.5,
                "rho": ratio(moved, dd),
            }
            for role, (count, cosine, gg, pushed, moved, dd) in self.sums.items()
        }


def ratio(a: float, b: float) -> float:
    """A / b; 0 where there is nothing to divide by."""
    return a / b if b > 0 else 0.0
