"""Accuracy, calibration and clinical use of predicted survival, beyond discrimination.

Predictions are probabilities for each patient at a month; ``predicted_survival`` makes them from risk scores.
Months, events and what happens to missing values are as in ``survival``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from analysis_lib.common.distributions import norm
from analysis_lib.survival.cox import NoFiniteEstimate, breslow_hazard, cox_fit
from analysis_lib.survival.resampling import uncensored_probability
from analysis_lib.survival.survival import kaplan_meier, survival_at

NAN = float("nan")


def predicted_survival(
    train: tuple[ArrayLike, ArrayLike], train_log_risk: ArrayLike, log_risk: ArrayLike, months: ArrayLike
) -> NDArray[np.float64]:
    """Survival probabilities of shape (n, months) from log hazard ratios and Breslow's baseline hazard.

    ``train`` is (time, event) of the patients whose scores are ``train_log_risk``; see ``cox.breslow_hazard``.
    """
    centre = float(np.mean(np.asarray(train_log_risk, dtype=float)))
    deaths, hazard = breslow_hazard(*_arrays(*train), train_log_risk, centre)
    place = np.searchsorted(deaths, np.atleast_1d(np.asarray(months, dtype=float)), side="right")
    baseline = np.r_[0.0, hazard][place]
    return np.exp(-np.exp(np.asarray(log_risk, dtype=float) - centre)[:, None] * baseline)


def brier(
    time: ArrayLike,
    event: ArrayLike,
    survival: NDArray[np.float64],
    months: ArrayLike,
    *,
    train: tuple[ArrayLike, ArrayLike] | None = None,
) -> pd.DataFrame:
    """Brier score with inverse probability of censoring weights: month, brier, null, skill.

    ``survival`` has shape (n, months). ``null`` is the score of the Kaplan-Meier estimate for everybody and
    ``skill`` 1 - brier / null. Censoring is taken from ``train`` or from the patients themselves.

    Source: Graf 1999, doi:10.1002/(SICI)1097-0258(19990915/30)18:17/18<2529::AID-SIM274>3.0.CO;2-5.
    """
    time, dead = _arrays(time, event)
    months = np.atleast_1d(np.asarray(months, dtype=float))
    weight, alive, everybody = brier_terms(time, dead, months, train=train)
    score = np.mean(weight * (alive - survival) ** 2, axis=0)
    null = np.mean(weight * (alive - everybody) ** 2, axis=0)
    skill = 1 - np.divide(score, null, out=np.full(len(months), NAN), where=null > 0)
    return pd.DataFrame({"month": months, "brier": score, "null": null, "skill": skill})


def brier_terms(
    time: ArrayLike, event: ArrayLike, months: ArrayLike, *, train: tuple[ArrayLike, ArrayLike] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """What every model's Brier score shares: weights and who is alive, (n, months); Kaplan-Meier, (months,).

    A patient who died by the month has the inverse probability of being uncensored just before the death, one followed
    beyond it that at the month, the others 0; see ``brier``.
    """
    time, dead = _arrays(time, event)
    months = np.atleast_1d(np.asarray(months, dtype=float))
    censored_time, censored_event = (time, dead) if train is None else train
    at_time = uncensored_probability(censored_time, censored_event, time, just_before=True)[:, None]
    at_month = uncensored_probability(censored_time, censored_event, months)[None, :]
    alive = time[:, None] > months
    died = ~alive & dead[:, None]
    weight = np.zeros(alive.shape)
    np.divide(1, at_time, out=weight, where=died & (at_time > 0))
    np.divide(1, at_month, out=weight, where=alive & (at_month > 0))
    everybody = np.array([survived(time, dead, month) for month in months])
    weight[:, np.isnan(everybody)] = NAN  # nobody is followed to the month: the score would be that of the dead alone
    return weight, alive, everybody


def mean_over_months(scores: NDArray[np.float64], months: ArrayLike) -> NDArray[np.float64]:
    """Mean over the months by the trapezoidal rule, as of the integrated Brier score; months along the last axis."""
    months = np.asarray(months, dtype=float)
    return np.trapezoid(scores, months) / (months[-1] - months[0])


def calibration(
    time: ArrayLike, event: ArrayLike, probability: ArrayLike, month: float, groups: int, confidence: float
) -> pd.DataFrame:
    """Observed against predicted probability of the event by ``month``, in groups of equal size.

    Returns group, n, predicted (mean), observed (1 - Kaplan-Meier) with low and high; observed is NaN in a
    group not followed to the month. Kaplan-Meier has no interval before the first event; there the upper limit is
    the exact one for no event among those followed to the month (Clopper and Pearson 1934,
    doi:10.1093/biomet/26.4.404).
    """
    time, dead = _arrays(time, event)
    probability = np.asarray(probability, dtype=float)
    rank = pd.Series(probability).rank(method="first").to_numpy() - 1
    member = (rank * groups // len(time)).astype(int)
    rows = []
    for group in range(min(groups, len(time))):
        inside = member == group
        if not inside.any():
            continue
        found = survival_at(kaplan_meier(time[inside], dead[inside], confidence), month).iloc[0]
        observed = 1 - found["survival"], 1 - found["high"], 1 - found["low"]
        if found["survival"] == 1:
            followed = np.sum(time[inside] >= month)
            observed = 0.0, 0.0, 1 - ((1 - confidence) / 2) ** (1 / followed)
        rows.append((group + 1, int(inside.sum()), probability[inside].mean(), *observed))
    return pd.DataFrame(rows, columns=["group", "n", "predicted", "observed", "low", "high"])


def calibration_summary(
    time: ArrayLike, event: ArrayLike, probability: ArrayLike, month: float, at: ArrayLike = ()
) -> dict[str, Any]:
    """Calibration slope and integrated calibration index (ICI) of event probabilities by ``month``.

    The slope is the Cox coefficient of log(-log(1 - probability)): 1 where the spread is right, less where
    predictions are too extreme. The ICI is the mean distance of the predictions from a smooth observed curve,
    a Cox model with a restricted cubic spline (3 knots) of the same transform. Returns slope, slope_error
    (its SE), ici, curve (its values ``at`` predicted probabilities), note.

    Source: Austin 2020, doi:10.1002/sim.8570; Crowson 2016, doi:10.1177/0962280213497434.
    """
    time, dead = _arrays(time, event)
    probability = np.asarray(probability, dtype=float)
    scale = _loglog(probability)
    try:
        line = cox_fit(time, dead, scale)
        smooth = smooth_curve(time, dead, probability, month)
        observed, curve = smooth(probability), smooth(at)
    except (NoFiniteEstimate, ValueError) as error:
        unknown = np.full(np.size(at), NAN)
        return {"slope": NAN, "slope_error": NAN, "ici": NAN, "curve": unknown, "note": str(error)}
    return {
        "slope": float(line.coefficients[0]),
        "slope_error": float(np.sqrt(line.covariance[0, 0])),
        "ici": float(np.mean(np.abs(observed - probability))),
        "curve": curve,
        "note": "",
    }


def smooth_curve(
    time: ArrayLike, event: ArrayLike, probability: ArrayLike, month: float
) -> Callable[[ArrayLike], NDArray[np.float64]]:
    """Observed probability of the event by ``month`` as a smooth function of the predicted one.

    A Cox model with a restricted cubic spline (3 knots) of log(-log(1 - probability)), see
    ``calibration_summary``. Raises NoFiniteEstimate, or ValueError where predictions hardly differ.
    """
    scale = _loglog(probability)
    knots = np.quantile(scale, [0.1, 0.5, 0.9])
    curve = restricted_cubic_spline(scale, knots)
    fit = cox_fit(time, event, curve)

    def observed(at: ArrayLike) -> NDArray[np.float64]:
        wanted = restricted_cubic_spline(_loglog(at), knots) @ fit.coefficients
        return 1 - predicted_survival((time, event), curve @ fit.coefficients, wanted, [month])[:, 0]

    return observed


def _loglog(probability: ArrayLike) -> NDArray[np.float64]:
    return np.log(-np.log1p(-np.clip(np.asarray(probability, dtype=float), 1e-6, 1 - 1e-6)))


def restricted_cubic_spline(value: ArrayLike, knots: ArrayLike) -> NDArray[np.float64]:
    """Basis of shape (n, knots - 1): the value, then cubic terms that are linear beyond the outer knots.

    Harrell's parametrisation, as in R's ``rms::rcs``. Source: Durrleman and Simon 1989,
    doi:10.1002/sim.4780080504.
    """
    value, knots = np.asarray(value, dtype=float), np.asarray(knots, dtype=float)
    if len(knots) < 3 or (np.diff(knots) <= 0).any():
        raise ValueError("a restricted cubic spline needs at least three increasing knots")

    def cube(knot: float) -> NDArray[np.float64]:
        return np.maximum(value - knot, 0) ** 3

    last, before = knots[-1], knots[-2]
    terms = [value]
    for knot in knots[:-2]:
        term = cube(knot) - cube(before) * (last - knot) / (last - before)
        term += cube(last) * (before - knot) / (last - before)
        terms.append(term / (last - knots[0]) ** 2)
    return np.column_stack(terms)


def net_reclassification(
    time: ArrayLike, event: ArrayLike, old: ArrayLike, new: ArrayLike, month: float
) -> dict[str, float]:
    """Continuous net reclassification improvement by ``month``, its event and non-event parts apart.

    ``old`` and ``new`` are event probabilities; parts are Kaplan-Meier weighted. A useless marker can show a
    positive NRI when models are badly calibrated (Kerr 2014, doi:10.1097/EDE.0000000000000018): never read it
    alone. Returns nri_event, nri_nonevent, nri. Source: Pencina 2011, doi:10.1002/sim.4085.
    """
    time, dead = _arrays(time, event)
    change = np.asarray(new, dtype=float) - np.asarray(old, dtype=float)
    overall = _event_by(time, dead, month)
    parts = {1: (0.0, 0.0), -1: (0.0, 0.0)}
    for sign in parts:
        moved = sign * change > 0
        if moved.any():
            risk = _event_by(time[moved], dead[moved], month)
            parts[sign] = (risk * moved.mean(), (1 - risk) * moved.mean())
    if not 0 < overall < 1:
        return {"nri_event": NAN, "nri_nonevent": NAN, "nri": NAN}
    gain = (parts[1][0] - parts[-1][0]) / overall
    loss = (parts[-1][1] - parts[1][1]) / (1 - overall)
    return {"nri_event": gain, "nri_nonevent": loss, "nri": gain + loss}


def restricted_mean(time: ArrayLike, event: ArrayLike, horizon: float) -> tuple[float, float]:
    """Mean survival months up to ``horizon`` and its standard error; NaN where follow-up ends before.

    Source: Royston and Parmar 2013, doi:10.1186/1471-2288-13-152.
    """
    time, dead = _arrays(time, event)
    curve = kaplan_meier(time, dead, 0.95)
    if time.max() < horizon and curve["survival"].iloc[-1] > 0:
        return NAN, NAN
    curve = curve[curve["month"] <= horizon]
    length = np.diff(np.r_[curve["month"], horizon])
    area = curve["survival"].to_numpy() * length
    beyond = np.cumsum(area[::-1])[::-1]  # area from each month to the horizon
    events, at_risk = curve["events"].to_numpy(), curve["at_risk"].to_numpy()
    left = at_risk * (at_risk - events)
    variance = np.divide(beyond**2 * events, left, out=np.zeros(len(curve)), where=left > 0)
    return float(area.sum()), float(np.sqrt(variance.sum()))


def restricted_mean_difference(
    time: ArrayLike, event: ArrayLike, group: ArrayLike, horizon: float, confidence: float
) -> dict[str, float]:
    """Restricted mean survival of ``group`` less that of the others, months: difference, low, high, p."""
    time, dead = _arrays(time, event)
    member = np.asarray(group).astype(bool)
    if member.all() or not member.any():
        return {"rmst_group": NAN, "rmst_others": NAN, "difference": NAN, "low": NAN, "high": NAN, "p": NAN}
    ours, our_error = restricted_mean(time[member], dead[member], horizon)
    others, their_error = restricted_mean(time[~member], dead[~member], horizon)
    gap, error = ours - others, float(np.hypot(our_error, their_error))
    width = norm.ppf((1 + confidence) / 2) * error
    p = float(2 * norm.sf(abs(gap) / error)) if error > 0 else NAN
    bounds = {"difference": gap, "low": float(gap - width), "high": float(gap + width), "p": p}
    return {"rmst_group": ours, "rmst_others": others} | bounds


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """P values adjusted for the false discovery rate over a family; NaN stays NaN and does not count.

    Not SciPy's ``false_discovery_control``, which refuses NaN and rounds otherwise: p (m / rank), not p m / rank.
    Source: Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    p = np.asarray(p, dtype=float)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])[::-1]]
    rank = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(p[order] * len(order) / rank))
    return adjusted


def _arrays(time: ArrayLike, event: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=float)
    if not (np.isfinite(time).all() and np.isfinite(dead).all()):
        raise ValueError("time and event must be known for every patient")
    return time, dead.astype(bool)


def survived(time: ArrayLike, event: ArrayLike, month: float) -> float:
    """Kaplan-Meier estimate at one month; NaN beyond the follow-up of the living. Fast, for the bootstrap."""
    time, dead = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=np.bool_)
    return float(_survived(time, dead, np.argsort(time), float(month)))


@njit(cache=True, nogil=True)
def _survived(time, dead, order, month):
    n, row, alive = len(order), 0, 1.0
    last = time[order[n - 1]]
    if month > last:
        for i in order[::-1]:
            if time[i] < last:
                break
            if not dead[i]:
                return np.nan
    while row < n and time[order[row]] <= month:
        here, deaths, first = time[order[row]], 0, row
        while row < n and time[order[row]] == here:
            deaths += dead[order[row]]
            row += 1
        alive *= 1 - deaths / (n - first)
    return alive


def _event_by(time: NDArray, dead: NDArray, month: float) -> float:
    return 1 - survived(time, dead, month)
