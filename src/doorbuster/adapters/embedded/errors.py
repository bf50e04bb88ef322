"""The one exception of this package."""


class EmbeddedError(Exception):
    """An embedded server cannot be had. The message is one line that says what happened and what to do."""
