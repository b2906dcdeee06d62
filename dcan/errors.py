"""The errors that a user can act on, and the end that a scheduler asks for."""


class DcanError(Exception):
    """A refusal: one line with the value, the rule it breaks, and what to do.

    The command line prints it without a traceback and exits with status 1. Anything that
    is not a `DcanError` is a defect of this package and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Stopped(BaseException):
    """The end of a process that was told to stop; the command line treats it as a refusal.

    Not an Exception: nothing may take it for a failure of one block or run and go on.
    """
