"""The errors that end a command with one line for the person who can mend the cause, and no traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no fault of one patient: the run stops


class StudyError(Exception):
    """Base of all of them: the message names the patient or parameter, the cause and the fix.

    ``at_terminal``: the same with names that may be persons', for whom runs the command on a file of his own. No table,
    record or page shows it.
    """

    at_terminal = ""


class ParameterError(StudyError, ValueError):
    """A parameter is misspelt or impossible; the message names it, the cause and the fix."""


def suggest(name: str, known: Sequence[str]) -> str:
    """The end of a message on an unknown name: the nearest known one, else all; case does not count."""
    by_folded = {entry.casefold(): entry for entry in reversed(known)}  # of two alike, the first
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean '{by_folded[close[0]]}'?" if close else f"; known: {', '.join(known)}"
