"""Errors that the pipeline raises; the message is one line: what, where, what to do."""


class AffilError(Exception):
    """Anything that stops a run for a reason that the user can act on (exit code 1)."""


class UsageError(AffilError):
    """The request itself is wrong: an unknown setting, a missing column, no such file (exit code 2)."""
