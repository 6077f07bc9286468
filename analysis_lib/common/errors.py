"""The errors that end a command with one line for the person who can mend the cause, and no traceback."""

import errno

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no fault of one patient: the run stops


class StudyError(Exception):
    """Base of all of them: the message names the patient or parameter, the cause and the fix."""
