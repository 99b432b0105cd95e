"""The one exception of a wrong set-up; a failed measurement is a row, not an exception."""


class SetupProblem(Exception):
    """A run cannot start or continue; the message says what was found, expected, and what to do."""
