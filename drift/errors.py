"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can put right; printed as one sentence, without a traceback."""
