"""The heavy stages, from files on disk to the tables that the notebooks read.

Each reads parameters and the outputs of earlier stages and writes to ``build/<study>``. A patient who cannot
be used goes to the exclusions with the reason; the rest go on.
"""

from analysis_lib.common.errors import StudyError

MODEL = "TFDeepSurv"  # the study's model in every table


class StageError(StudyError, RuntimeError):
    """A stage ends with nothing to go on with; the message says why."""
