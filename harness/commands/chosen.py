"""From the words of a command line to what they choose."""

from typing import Any

from harness.errors import UserError


def chosen_tasks(names: str, protocol: str | None) -> list[Any]:
    """Load the tasks that comma-separated names choose, groups of tasks spelled out.

    Raises:
        UserError: None is named.
        TaskError: There is none of a name, or it lacks the protocol.
    """
    import tasks

    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise UserError(f"--tasks names none: the tasks are {', '.join(tasks.names())}")
    return [tasks.load(name, protocol) for name in tasks.expand(wanted)]
