"""Analytic intervals of the C-index and of the difference of two, the check beside the bootstrap.

The infinitesimal jackknife: the estimate's derivative by each patient's weight, squared and summed. It is what R's
``concordance`` reports. Compares all pairs, so for up to some ten thousand patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis_lib.common.distributions import norm
from analysis_lib.survival.resampling_kernels import TIED_TOLERANCE
from analysis_lib.survival.survival import c_index

NAN = float("nan")


def c_index_analytic(time: ArrayLike, event: ArrayLike, risk: ArrayLike, confidence: float) -> dict[str, float]:
    """Harrell's C-index with its interval: c_index, se, low, high; NaN without a comparable pair.

    Source: Newson 2006, doi:10.1177/1536867X0600600302.
    """
    value, influence = _c_index(time, event, risk)
    error = float(np.sqrt(np.sum(influence**2)))
    width = norm.ppf((1 + confidence) / 2) * error
    return {"c_index": value, "se": error, "low": value - width, "high": value + width}


def c_index_difference_analytic(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, other: ArrayLike, confidence: float
) -> dict[str, float]:
    """C-index of ``risk`` less that of ``other`` on the same patients: difference, se, low, high, p (two-sided).

    The patients' parts in the two are subtracted, so that what both owe to the same patients cancels; P is NaN where
    the two rank alike. Source: Kang 2015, doi:10.1002/sim.6370.
    """
    value, influence = _c_index(time, event, risk)
    other_value, other_influence = _c_index(time, event, other)
    gap, error = value - other_value, float(np.sqrt(np.sum((influence - other_influence) ** 2)))
    width = norm.ppf((1 + confidence) / 2) * error
    p = float(2 * norm.sf(abs(gap) / error)) if error > 0 else NAN
    return {"difference": gap, "se": error, "low": gap - width, "high": gap + width, "p": p}


def _c_index(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> tuple[float, NDArray[np.float64]]:
    """The C-index and each patient's influence on it, shape (n,).

    ``c_index`` has the value; the pairs are gone through again for each patient's part, which its trees do not hold.
    """
    value = c_index(time, event, risk)
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    risk = np.asarray(risk, dtype=float)
    gained, pairs = np.zeros(len(time)), np.zeros(len(time))  # over the pairs that a patient is part of
    for i in np.flatnonzero(dead):
        later = (time > time[i]) | ((time == time[i]) & ~dead)
        gap = risk[i] - risk
        right = later * np.where(np.abs(gap) <= TIED_TOLERANCE, 0.5, gap > 0)
        gained += right
        pairs += later
        gained[i] += right.sum()
        pairs[i] += later.sum()
    if np.isnan(value):
        return NAN, np.full(len(time), NAN)
    return value, (gained - value * pairs) / (pairs.sum() / 2)
