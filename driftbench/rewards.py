"""By which rule of a task GRPO rewards an answer: `drift` knows no task, so it is given one."""

from collections.abc import Callable


def rule(name: str | None) -> Callable[[str, str], bool | None] | None:
    """Return the rule of a reward, as `drift.training.rl.rules` has it; None for None."""
    if name is None:
        return None
    from tasks import rewards

    return getattr(rewards, name)
