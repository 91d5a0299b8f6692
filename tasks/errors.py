"""The one exception of this room."""


class TaskError(Exception):
    """A benchmark or its data is not as it should be: one sentence for the user."""
