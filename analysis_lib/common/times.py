"""Times of follow-up: which are the same but for the last bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def tied_times(time: ArrayLike) -> NDArray[np.float64]:
    """Times of which those that differ by rounding alone are made one, the earliest; any shape, NaN stays.

    As R's ``aeqSurv``, which ``coxph`` and ``survfit`` apply: neighbours that differ by no more than the root of the
    machine's epsilon, absolutely or relative to the mean time (Therneau, vignette "Roundoff error and tied times").
    """
    time = np.asarray(time, dtype=float)
    distinct = np.unique(time[np.isfinite(time)])
    if len(distinct) < 2:
        return time
    tolerance = np.sqrt(np.finfo(float).eps) * max(1.0, np.abs(distinct).mean())
    starts = distinct[np.r_[True, np.diff(distinct) > tolerance]]
    place = np.searchsorted(starts, np.nan_to_num(time), side="right") - 1
    return np.where(np.isfinite(time), starts[place], time)
