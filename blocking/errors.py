"""Errors that blocking raises; each message says what is wrong, where, and what to do."""


class BlockingError(ValueError):
    """A request that blocking cannot carry out (bad setting, bad model, missing library)."""


class ModelNotFoundError(BlockingError):
    """No model is where a name says; the message tells why, without the name."""
