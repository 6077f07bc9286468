"""Cox regression of patients who enter late, count more or less than one, or stay at risk after another event.

``cox.cox_fit`` is for everybody else, and exact to the last digit for many patients; here each death's risk set is
written out, a matrix of death times and patients, so that any weight in it can be had.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis_lib.common.distributions import chi2
from analysis_lib.survival.cox import NoFiniteEstimate, _solve

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class WeightedFit:
    """Coefficients (p,), and their covariance by the information and by the patients' residuals (robust), (p, p)."""

    coefficients: Vector
    covariance: Vector
    robust: Vector
    n: int
    n_events: int


def cox_weighted(
    time: ArrayLike,
    event: ArrayLike,
    x: ArrayLike,
    *,
    entry: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    stays: ArrayLike | None = None,
) -> WeightedFit:
    """Maximise the partial likelihood, Efron's ties, as R's ``coxph(Surv(entry, time, event) ~ x + strata, weights)``.

    Args:
        time, event: months and 1 for an event, shape (n,).
        x: covariates (n, p), none of them constant.
        entry: months at which a patient comes under observation, before ``time``; 0 for all if None.
        weights: positive, of each patient (case weights).
        strata: labels of strata with hazards of their own.
        stays: weight that a patient has in the risk sets after ``time``, at the distinct event times in order (months,
            n); nobody stays if None. For Fine and Gray's subdistribution hazard.

    Raises NoFiniteEstimate as ``cox.cox_fit``. Source: Andersen and Gill 1982, doi:10.1214/aos/1176345976; Lin and Wei
    1989, doi:10.1080/01621459.1989.10478874, for the robust covariance.
    """
    dead, x = np.asarray(event, float) == 1, np.asarray(x, float)
    x = x[:, None] if x.ndim == 1 else x
    n = len(dead)
    weight = np.ones(n) if weights is None else np.asarray(weights, float)
    if not dead.any():
        raise NoFiniteEstimate("no event" if n else "no patient")
    scale = x.std(axis=0)
    if not x.size or (scale == 0).any():
        raise NoFiniteEstimate("a covariate has one value only" if x.size else "no covariate")
    z = (x - x.mean(axis=0)) / scale
    sets = _risk_sets(time, dead, entry, strata, stays)
    beta, step, value = np.zeros(z.shape[1]), np.zeros(z.shape[1]), -np.inf
    for _ in range(60):
        log_likelihood, score, information, _ = _derivatives(sets, z, beta, weight)
        if log_likelihood < value - 1e-12 * abs(value):  # too far: half of the step
            step /= 2
            beta = beta - step
            continue
        value, step = log_likelihood, _solve(information, score)
        if np.abs(step).max() < 1e-12:
            break
        beta = beta + step
        if np.abs(beta).max() > 25:
            raise NoFiniteEstimate("the covariates separate the events")
    else:
        raise NoFiniteEstimate("no convergence in 60 steps")
    *_, information, residuals = _derivatives(sets, z, beta, weight)
    covariance = _solve(information, np.eye(len(beta)))
    influence = residuals * weight[:, None] @ covariance / scale
    return WeightedFit(beta / scale, covariance / np.outer(scale, scale), influence.T @ influence, n, int(dead.sum()))


def varying_within(x: pd.DataFrame, strata: ArrayLike | None) -> list[str]:
    """The columns that vary within a stratum, and the last one: of the others no likelihood has a coefficient."""
    label = np.zeros(len(x)) if strata is None else np.asarray(strata)
    varies = (x.groupby(label).nunique() > 1).any()
    return [name for name in x if varies[name] or name == x.columns[-1]]


def _risk_sets(
    time: ArrayLike, dead: NDArray, entry: ArrayLike | None, strata: ArrayLike | None, stays: ArrayLike | None = None
) -> list[tuple]:
    """Of each distinct death time within a stratum: who dies (bool, n) and with which weight each is at risk (n,)."""
    time = np.asarray(time, float)
    entry = np.zeros(len(time)) - 1 if entry is None else np.asarray(entry, float)
    label = np.zeros(len(time), int) if strata is None else pd.factorize(np.asarray(strata))[0]
    months, out = np.unique(time[dead]), []
    after = np.zeros((len(months), len(time))) if stays is None else np.asarray(stays, float)
    for stratum in np.unique(label[dead]):
        own = label == stratum
        for k, month in enumerate(months):
            now = dead & (time == month) & own
            if now.any():
                at_risk = np.where(time >= month, 1.0, after[k]) * ((entry < month) & own)
                out.append((now, at_risk))
    return out


def _derivatives(sets: list[tuple], z: Vector, beta: Vector, weight: Vector) -> tuple[float, Vector, Vector, Vector]:
    """Log partial likelihood, score, information, and each patient's unweighted score residual (n, p)."""
    eta = z @ beta
    hazard = np.exp(eta - eta.max())
    value, score, information, residuals = 0.0, np.zeros(len(beta)), 0.0, np.zeros_like(z)
    for now, at_risk in sets:
        share = np.arange(now.sum()) / now.sum()  # of the tied deaths, that Efron takes out of the risk set
        mean_weight = weight[now].mean()
        each = at_risk - np.outer(share, now)  # (deaths, n)
        counted = each * weight * hazard
        total = counted.sum(axis=1)
        mean = counted @ z / total[:, None]
        second = np.einsum("dn,ni,nj->ij", counted / total[:, None], z, z) - np.einsum("di,dj->ij", mean, mean)
        value += weight[now] @ eta[now] - mean_weight * (np.log(total).sum() + len(share) * eta.max())
        score += weight[now] @ z[now] - mean_weight * mean.sum(axis=0)
        information += mean_weight * second
        step = mean_weight / total
        residuals[now] += z[now] - mean.mean(axis=0)
        residuals -= (each.T @ step * hazard)[:, None] * z - hazard[:, None] * (each.T @ (step[:, None] * mean))
    return value, score, np.asarray(information), residuals


def score_test(
    time: ArrayLike,
    event: ArrayLike,
    x: ArrayLike,
    *,
    entry: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> float:
    """P of the log-rank test of the groups that the columns of ``x`` (n, p) mark beside the first; options as above.

    Without weights by the hypergeometric variance, as R's ``survdiff``, which has no delayed entry; with weights by the
    robust one of the score, as ``coxph(weights, cluster)$rscore``. NaN where no death has a contrast. Source: Lin and
    Wei 1989, doi:10.1080/01621459.1989.10478874.
    """
    x = np.asarray(x, float)
    sets = _risk_sets(time, np.asarray(event, float) == 1, entry, strata)
    score, variance = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
    if weights is not None:
        weight = np.asarray(weights, float)
        _, score, _, residuals = _derivatives(sets, x, score, weight)
        variance = (residuals * weight[:, None]).T @ (residuals * weight[:, None])
    for now, at_risk in sets if weights is None else ():
        n, d = at_risk.sum(), now.sum()
        mean = at_risk @ x / n
        score += x[now].sum(axis=0) - d * mean
        if n > 1:
            variance += d * (n - d) / (n - 1) * ((at_risk * x.T) @ x / n - np.outer(mean, mean))
    df = int(np.linalg.matrix_rank(variance))
    return float(chi2.sf(score @ np.linalg.pinv(variance) @ score, df)) if df else np.nan


def fine_gray(time: ArrayLike, cause: ArrayLike, x: ArrayLike, of: int = 1) -> WeightedFit:
    """Cox model of the subdistribution hazard of the event ``of``: whoever had another one stays at risk, by chance.

    ``cause``: 0 censored, 1 and 2 events. The weight of who stays is that of still being uncensored, by Kaplan-Meier
    of the censoring, as in R's ``finegray``; so is the robust covariance, which takes the weights for known. Source:
    Fine and Gray 1999, doi:10.1080/01621459.1999.10474144.
    """
    time, cause = np.asarray(time, float), np.asarray(cause, float)
    followed, counts = np.unique(time, return_counts=True)
    ended = np.array([(cause[time == month] == 0).sum() for month in followed])
    events = counts - ended
    at_risk = len(time) - np.r_[0, np.cumsum(counts)[:-1]] - events  # an event comes before a censoring of its month
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.cumprod(np.where(ended > 0, 1 - ended / at_risk, 1.0))

    def uncensored(month: Vector) -> Vector:
        return np.r_[1.0, free][np.searchsorted(followed, month, side="left")]

    months = np.unique(time[cause == of])
    other = (cause != 0) & (cause != of)
    with np.errstate(divide="ignore", invalid="ignore"):
        stays = np.where(other, uncensored(months)[:, None] / uncensored(time)[None, :], 0.0)
    return cox_weighted(time, cause == of, x, stays=np.nan_to_num(stays))


def gray_test(time: ArrayLike, cause: ArrayLike, group: ArrayLike, of: int = 1) -> tuple[float, float]:
    """Gray's test that the cumulative incidence of the event ``of`` is the same in two groups: chi-squared and P.

    NaN without an event or a contrast. As R's ``cmprsk::cuminc`` with rho = 0. Source: Gray 1988,
    doi:10.1214/aos/1176350951.
    """
    time, cause, member = np.asarray(time, float), np.asarray(cause, float), np.asarray(group, bool)
    own = cause == of
    if member.all() or not member.any() or not own.any():
        return np.nan, np.nan
    sides = (~member, member)
    score, pooled = 0.0, 0.0
    alive, incidence = np.ones(2), np.zeros(2)  # just before the month, by group
    c, last, cross, variance = np.zeros(2), np.zeros(2), np.zeros(2), 0.0
    for month in np.unique(time[cause != 0]):
        at_risk = np.array([(time[side] >= month).sum() for side in sides], float)
        first = np.array([(own & side & (time == month)).sum() for side in sides], float)
        second = np.array([((cause != 0) & ~own & side & (time == month)).sum() for side in sides], float)
        here = at_risk > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.where(here, alive * (at_risk - first - second) / at_risk, alive)
            size = np.where(here, at_risk / alive, 0.0)  # of the risk set, were nobody taken away
        total, events = size.sum(), first.sum()
        after = pooled + events / total
        # a: what the group's score has of an event in each group; c: the same of all events so far, as a compensator
        a = size[1] * np.array([-size[0] / total, 1 - size[1] / total])
        c = c + a * events / (total * (1 - pooled))
        if events:
            expected = np.where(here, size * (1 - incidence), 0.0)
            score += first[1] - events * expected[1] / expected.sum()
            for k in np.flatnonzero(here):
                u = 1 - (1 - after) / left[k] if left[k] > 0 else 1.0
                tied = 1 - (events - 1) / (total * alive[k] - 1) if events > 1 else 1.0
                jump = tied * alive[k] * events / (total * at_risk[k])
                last[k] += u * u * jump
                cross[k] += (a[k] - u * c[k]) * u * jump
                variance += (a[k] - u * c[k]) ** 2 * jump
        for k in np.flatnonzero(here & (second > 0) & (left > 0)):
            u = (1 - after) / left[k]
            tied = 1 - (second[k] - 1) / (at_risk[k] - 1) if second[k] > 1 else 1.0
            jump = tied * alive[k] ** 2 * second[k] / at_risk[k] ** 2
            last[k] += u * u * jump
            cross[k] -= u * c[k] * u * jump
            variance += (u * c[k]) ** 2 * jump
        with np.errstate(divide="ignore", invalid="ignore"):
            incidence = np.where(here, incidence + alive * first / np.where(here, at_risk, 1), incidence)
        alive, pooled = left, after
    variance += float(np.sum(c * c * last + 2 * c * cross))
    statistic = score**2 / variance
    return float(statistic), float(chi2.sf(statistic, 1))
