"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can put right: one sentence, shown without a traceback."""
