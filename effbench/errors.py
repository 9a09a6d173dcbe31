"""The exception for bad input: the command line prints it as a single line and exits with 2."""


class InputError(ValueError):
    """What the user gave cannot be used; the message says what was got, what was expected and how to mend it."""


class DivergedError(InputError, FloatingPointError):
    """A training's numbers are no longer finite, which a lower learning rate mends."""
