"""Cumulative incidence of one event where another prevents it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis_lib.common.distributions import norm

CENSORED = 0


def cumulative_incidence(time: ArrayLike, cause: ArrayLike, confidence: float) -> pd.DataFrame:
    """Aalen-Johansen estimate of each cause's cumulative incidence with pointwise intervals.

    They are on the scale log(-log(1 - F)), as Kaplan-Meier's; R and SAS take log(-log F), lower for rare events.

    ``cause`` is 0 for a censored patient and 1, 2 ... for the first event. Returns cause, month, incidence, se,
    low, high, at_risk, a row at month 0 and one at each distinct time. Written out because lifelines jitters
    tied times at random. Variance by the infinitesimal jackknife, as in R's multi-state ``survfit``.

    Source: Aalen and Johansen 1978, doi:10.2307/4615704.
    """
    time, cause = np.asarray(time, dtype=float), np.asarray(cause, dtype=float)
    if len(time) == 0 or time.shape != cause.shape or not (np.isfinite(time).all() and np.isfinite(cause).all()):
        raise ValueError("time and cause must be known for every patient and of one length")
    months, place = np.unique(time, return_inverse=True)
    n = len(time)
    at_risk = n - np.searchsorted(np.sort(time), months, side="left")
    any_event = np.bincount(place, weights=cause != CENSORED, minlength=len(months))
    alive = np.cumprod(1 - any_event / at_risk)
    before = np.r_[1.0, alive[:-1]]
    causes = sorted(set(cause[cause != CENSORED]))
    events = {k: np.bincount(place, weights=cause == k, minlength=len(months)) for k in causes}
    # Influence of each patient on survival just before a month and on each incidence, month by month: matrices of
    # months and patients, of which nothing but sums is wanted, would fill the memory.
    relative, influence = np.zeros(n), {k: np.zeros(n) for k in causes}
    squares = {k: np.empty(len(months)) for k in causes}
    for j in range(len(months)):
        here, later = place == j, place >= j
        for k in causes:
            own = (here & (cause == k)) / at_risk[j] - later * (events[k][j] / at_risk[j] ** 2)
            influence[k] += before[j] * (own - events[k][j] / at_risk[j] * relative)
            squares[k][j] = np.sum(influence[k] ** 2)
        on_any = (here & (cause != CENSORED)) / at_risk[j] - later * (any_event[j] / at_risk[j] ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative += on_any / (1 - any_event[j] / at_risk[j])
    rows = []
    for k in causes:
        hazard, error = events[k] / at_risk, np.sqrt(squares[k])
        incidence = np.cumsum(before * hazard)
        with np.errstate(divide="ignore", invalid="ignore"):
            width = norm.ppf((1 + confidence) / 2) * error / np.abs((1 - incidence) * np.log1p(-incidence))
            low, high = 1 - (1 - incidence) ** np.exp(-width), 1 - (1 - incidence) ** np.exp(width)
        table = pd.DataFrame(
            {"cause": int(k), "month": months, "incidence": incidence, "se": error, "low": low, "high": high}
        )
        table.loc[incidence == 0, ["low", "high"]] = 0.0
        rows.append(table.assign(at_risk=at_risk))
    start = {"month": 0.0, "incidence": 0.0, "se": 0.0, "low": 0.0, "high": 0.0, "at_risk": n}
    rows = [pd.concat([pd.DataFrame([{"cause": int(t["cause"].iloc[0])} | start]), t]) for t in rows]
    columns = ["cause", *start]
    return pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)


def incidence_at(table: pd.DataFrame, month: float) -> pd.DataFrame:
    """One row a cause: the last row of ``cumulative_incidence`` at or before ``month``; NaN past the follow-up."""
    found = table[table["month"] <= month].groupby("cause", as_index=False).last().assign(month=month)
    if len(table) and month > table["month"].max():
        found[["incidence", "se", "low", "high"]] = np.nan
    return found
