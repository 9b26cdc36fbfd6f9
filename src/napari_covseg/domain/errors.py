"""Errors a user can act on: what was expected, what arrived, what to do."""

from __future__ import annotations

_LONGEST = 1000


class CovsegError(Exception):
    """Base of every error that is shown to the user as one line.

    ``exit_code`` is what the command line exits with (``docs/reference/cli.md``).
    """

    exit_code = 1

    def __str__(self) -> str:
        """One line of printable text, however much of a damaged file was quoted in it."""
        line = " ".join(super().__str__().split())
        line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        cut = len(line) > _LONGEST
        return f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}" if cut else line


class UsageError(CovsegError):
    """The call itself is wrong: an unknown option value, or options that contradict."""

    exit_code = 2


class InputError(CovsegError):
    """The input is unreadable or unsuitable."""

    exit_code = 3


class ResourceError(CovsegError):
    """Memory or disk ran out."""

    exit_code = 4


class ModelError(CovsegError):
    """The model is missing, damaged or made for something else."""

    exit_code = 5


class Cancelled(CovsegError):
    """The user stopped the work."""

    exit_code = 130
