"""Tests of calibration: of whole predicted curves (D-calibration), and of the risk by one month (one-calibration)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from analysis_lib.common.distributions import chi2
from analysis_lib.survival.evaluation import survived

NAN = float("nan")


def d_calibration(event: ArrayLike, alive: ArrayLike, bins: int = 10) -> dict[str, Any]:
    """Whether each tenth of the predicted probability of survival holds a tenth of the patients' ends.

    ``alive`` is each patient's predicted probability, shape (n,), of outliving the own time; with true curves it is
    uniform over those who died. A censored patient is spread evenly below it, which hides part of the scatter: of true
    models under censoring fewer than 5% have P < 0.05. Returns statistic, p (chi-squared, bins - 1 degrees of freedom)
    and count, the patients in each bin from the highest probability to the lowest.

    Source: Haider 2020, doi:10.48550/arXiv.1811.11347.
    """
    dead, alive = np.asarray(event, dtype=bool), np.asarray(alive, dtype=float)
    if not len(alive) or not ((alive >= 0) & (alive <= 1)).all():
        raise ValueError("the predicted probability of survival must be known and between 0 and 1 for every patient")
    low = np.arange(bins) / bins
    place = np.minimum((alive[dead] * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins).astype(float)
    spread = np.clip(alive[~dead, None] - low, 0, 1 / bins)
    zero = spread.sum(axis=1) == 0  # a curve that has come down to nothing
    spread[zero, 0] = 1
    count += (spread / spread.sum(axis=1, keepdims=True)).sum(axis=0)
    statistic = ((count - count.mean()) ** 2 / count.mean()).sum()
    return {"statistic": float(statistic), "p": float(chi2.sf(statistic, bins - 1)), "count": count[::-1]}


def one_calibration(
    time: ArrayLike, event: ArrayLike, probability: ArrayLike, month: float, groups: int
) -> dict[str, float]:
    """Observed against predicted probability of the event by ``month`` in groups of equal size: statistic, p.

    Squared differences from 1 - Kaplan-Meier over Greenwood's variance, summed; chi-squared with a degree of freedom a
    group, since the predictions were made elsewhere. Rejects too often where a group has few events. NaN where a group
    has no event by the month or is not followed to it: its variance is not known.

    Source: Demler 2015, doi:10.1002/sim.6428; D'Agostino and Nam 2003, doi:10.1016/S0169-7161(03)23001-7.
    """
    time, dead, probability = np.asarray(time, float), np.asarray(event, bool), np.asarray(probability, float)
    members = [rows for rows in np.array_split(np.argsort(-probability, kind="stable"), groups) if len(rows)]
    statistic = 0.0 if members else NAN
    for rows in members:
        own, ordered = time[rows], np.sort(time[rows])
        observed = 1 - survived(own, dead[rows], month)
        months, deaths = np.unique(own[dead[rows] & (own <= month)], return_counts=True)
        at_risk = len(rows) - np.searchsorted(ordered, months, side="left")
        # Greenwood's sum has no value once everybody died
        parts = deaths / (at_risk * (at_risk - deaths)) if observed < 1 else np.array([NAN])
        variance = (1 - observed) ** 2 * parts.sum()
        statistic += (observed - probability[rows].mean()) ** 2 / variance if variance > 0 else NAN
    return {"statistic": float(statistic), "p": float(chi2.sf(statistic, len(members)))}
