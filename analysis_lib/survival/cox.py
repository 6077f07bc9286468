"""Cox's partial likelihood, maximised to the last digit: Efron's or Breslow's ties, strata, Firth's penalty.

Written out here because hazard ratios are the study's main numbers and must agree with R's ``coxph`` to
rounding; the general packages stop a few parts in a million short.
``survival`` turns the fits into hazard ratios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from analysis_lib.common.distributions import chi2

Vector = NDArray[np.float64]


class NoFiniteEstimate(ValueError):
    """The partial likelihood has no finite maximum; the message says what was seen."""


@dataclass(frozen=True)
class CoxFit:
    """Coefficients (p,), their covariance (p, p), log partial likelihoods at zero and at the maximum.

    With Firth's penalty both likelihoods include it.
    """

    coefficients: Vector
    covariance: Vector
    loglik_zero: float
    loglik: float
    n: int
    n_events: int

    @property
    def likelihood_ratio(self) -> tuple[float, float]:
        """Chi-squared against no covariate, and its P value."""
        statistic = 2 * (self.loglik - self.loglik_zero)
        return statistic, float(chi2.sf(statistic, len(self.coefficients)))


def breslow_hazard(
    time: ArrayLike, event: ArrayLike, log_risk: ArrayLike, centre: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Breslow's cumulative hazard of a patient whose log-risk is ``centre``: times and hazard, one a death in order.

    Of tied deaths the last has the whole step. Source: Breslow 1972, in the discussion of
    doi:10.1111/j.2517-6161.1972.tb00899.x. R: basehaz(fit, centered = FALSE) with ties = "breslow" for centre 0.
    """
    time, dead = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
    order = np.argsort(time, kind="stable")
    time, dead = time[order], dead[order]
    weight = np.exp(np.asarray(log_risk, dtype=np.float64) - centre)[order]
    at_risk = np.cumsum(weight[::-1])[::-1]
    months = time[dead]
    return months, np.cumsum(1 / at_risk[np.searchsorted(time, months, side="left")])


@dataclass(frozen=True)
class _Risk:
    """What the likelihood needs of the data, in the order of descending time within each stratum."""

    x: Vector  # (n, p) centred and scaled
    row_of_death: NDArray[np.int64]  # (d,)
    last_at_risk: NDArray[np.int64]  # (d,) last row still at risk at the death's time
    first_at_risk: NDArray[np.int64]  # (d,) first row of the death's stratum
    tie: NDArray[np.int64]  # (d,) number of the distinct death time
    share: Vector  # (d,) part of the tied deaths that Efron takes out of the risk set
    scale: Vector  # (p,)


@np.errstate(divide="ignore", invalid="ignore")  # see _likelihood
def cox_fit(
    time: ArrayLike,
    event: ArrayLike,
    x: ArrayLike,
    *,
    ties: str = "efron",
    strata: ArrayLike | None = None,
    firth: bool = False,
    max_steps: int = 60,
) -> CoxFit:
    """Maximise the partial likelihood by Newton's method with step halving.

    Args:
        time: months, shape (n,).
        event: 1 or True for an event, shape (n,).
        x: covariates, shape (n, p), none of them constant.
        ties: "efron" or "breslow".
        strata: labels of strata with hazards of their own, shape (n,).
        firth: add Firth's penalty, which is finite also where a group has no event.
        max_steps: upper limit of Newton steps.

    Raises:
        NoFiniteEstimate: covariates are collinear or separate the events, or there is no patient or no covariate.

    Source: Efron 1977, doi:10.1080/01621459.1977.10480613; Breslow 1974, doi:10.2307/2529620; Heinze and
    Schemper 2001 for the penalty, doi:10.1111/j.0006-341X.2001.00114.x.
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties must be 'efron' or 'breslow', not '{ties}'")
    risk = _prepare(time, event, x, ties, strata)
    p = risk.x.shape[1]
    if len(risk.row_of_death) == 0:
        raise NoFiniteEstimate("no event")
    beta = np.zeros(p)
    zero, gradient, information = _likelihood(risk, beta, firth)
    value = zero
    for _ in range(max_steps):
        step = _solve(information, gradient)
        length = 1.0
        while True:
            new_value, new_gradient, new_information = _likelihood(risk, beta + length * step, firth)
            if new_value >= value - 1e-12 * abs(value) or length < 1e-8:
                break
            length /= 2
        beta = beta + length * step
        value, gradient, information = new_value, new_gradient, new_information
        # Covariates are in units of their SD; 25 SDs on the log scale is a likelihood that climbs for ever.
        if np.abs(beta).max() > 25:
            raise NoFiniteEstimate("the covariates separate the events")
        if np.abs(length * step).max() < 1e-11:
            break
    else:
        raise NoFiniteEstimate(f"no convergence in {max_steps} steps")
    covariance = _solve(information, np.eye(p)) / np.outer(risk.scale, risk.scale)
    n = len(risk.x)
    return CoxFit(beta / risk.scale, covariance, zero, value, n, len(risk.row_of_death))


@np.errstate(divide="ignore", invalid="ignore")
def firth_binary(time: ArrayLike, event: ArrayLike, group: ArrayLike, confidence: float) -> dict[str, float]:
    """Hazard ratio of ``group`` (bool) with Firth's penalty: hr, low, high, p.

    Interval and P from the profile of the penalised likelihood, since Wald's are wrong where events are few.
    All are NaN where a group is empty or nobody has an event. Source: Heinze and Schemper 2001,
    doi:10.1111/j.0006-341X.2001.00114.x.
    """
    member = np.asarray(group, dtype=float)
    nothing = dict.fromkeys(("hr", "low", "high", "p"), float("nan"))
    try:
        fit = cox_fit(time, event, member, firth=True)
    except NoFiniteEstimate:
        return nothing
    risk = _prepare(time, event, member, "efron", None)

    def fallen(log_hr: float) -> float:
        """How far twice the likelihood lies below its maximum, less what the interval allows."""
        value = _likelihood(risk, np.array([log_hr]) * risk.scale, True)[0]
        return 2 * (fit.loglik - value) - chi2.ppf(confidence, 1)

    estimate, ends = float(fit.coefficients[0]), []
    for side in (-1, 1):
        far = 1.0
        while fallen(estimate + side * far) < 0:
            far *= 2
        ends.append(brentq(fallen, *sorted((estimate, estimate + side * far)), xtol=1e-12, rtol=1e-12))
    low, high = np.exp(ends)
    return {"hr": float(np.exp(estimate)), "low": float(low), "high": float(high), "p": fit.likelihood_ratio[1]}


def proportional_hazards_test(time: ArrayLike, event: ArrayLike, x: pd.DataFrame) -> pd.DataFrame:
    """Score test of a coefficient that changes with 1 - Kaplan-Meier: covariate, chisq, df, p.

    The last row, GLOBAL, tests all covariates together. NaN where too few months have a death. The same test as R's
    ``cox.zph(transform = "km")`` since survival 3.0. Source: Grambsch and Therneau 1994, doi:10.1093/biomet/81.3.515.
    """
    fit = cox_fit(time, event, x.to_numpy(dtype=float))
    risk = _prepare(time, event, x.to_numpy(dtype=float), "efron", None)
    _, mean, second = _moments(risk, fit.coefficients * risk.scale, 2)
    variance = second - mean[:, :, None] * mean[:, None, :]
    dead_time = np.sort(np.asarray(time, dtype=float))[::-1][risk.row_of_death]
    order = np.argsort(dead_time, kind="stable")
    ordered = dead_time[order]
    followed = np.asarray(time, dtype=float)
    curve, step = 1.0, np.empty(len(order))
    for month in np.unique(ordered):
        here = ordered == month
        step[here] = 1 - curve  # the curve just before the month
        curve *= 1 - here.sum() / np.sum(followed >= month)
    moment = np.empty(len(order))
    moment[order] = step - step.mean()
    residual = risk.x[risk.row_of_death] - mean
    score = moment @ residual
    base = variance.sum(axis=0)
    cross = np.einsum("d,dij->ij", moment, variance)
    full = np.einsum("d,dij->ij", moment**2, variance)
    adjusted = full - cross @ _solve(base, cross)
    rows = []
    for k, name in enumerate(x.columns):
        own = full[k, k] - cross[k] @ _solve(base, cross[:, k])
        # Too few distinct deaths leave nothing to test, and a difference that is rounding.
        statistic = score[k] ** 2 / own if own > 1e-10 * full[k, k] else float("nan")
        rows.append((str(name), statistic, 1, chi2.sf(statistic, 1)))
    tested = all(np.isfinite(row[1]) for row in rows)
    statistic = float(score @ _solve(adjusted, score)) if tested else float("nan")
    rows.append(("GLOBAL", statistic, len(rows), chi2.sf(statistic, len(rows))))
    return pd.DataFrame(rows, columns=["covariate", "chisq", "df", "p"])


def _prepare(time: ArrayLike, event: ArrayLike, x: ArrayLike, ties: str, strata: ArrayLike | None) -> _Risk:
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=float).astype(bool)
    x = np.asarray(x, dtype=float)
    x = x[:, None] if x.ndim == 1 else x
    if len(x) != len(time) or not (np.isfinite(x).all() and np.isfinite(time).all()):
        raise ValueError("covariates and times must be finite and of one length")
    if x.size == 0:
        raise NoFiniteEstimate("no covariate" if len(x) else "no patient")
    label = np.zeros(len(time), dtype=np.int64) if strata is None else pd.factorize(np.asarray(strata))[0]
    order = np.lexsort((-time, label))
    time, dead, x, label = time[order], dead[order], x[order], label[order]
    scale = x.std(axis=0)
    if (scale == 0).any():
        raise NoFiniteEstimate("a covariate has one value only")
    new_tie = np.ones(len(time), dtype=bool)
    new_tie[1:] = (time[1:] != time[:-1]) | (label[1:] != label[:-1])
    tie = np.cumsum(new_tie) - 1
    last = np.append(np.flatnonzero(new_tie)[1:], len(time)) - 1
    first = np.searchsorted(label, label, side="left")
    rows = np.flatnonzero(dead)
    number = np.cumsum(np.diff(tie[rows], prepend=-1) > 0) - 1
    share = np.zeros(len(rows))
    if ties == "efron":
        share = (np.arange(len(rows)) - np.searchsorted(number, number)) / np.bincount(number)[number]
    return _Risk((x - x.mean(axis=0)) / scale, rows, last[tie[rows]], first[rows], number, share, scale)


def _moments(risk: _Risk, beta: Vector, up_to: int) -> list[Vector]:
    """Sum of the hazards in each death's risk set, then the weighted mean moments of x in it."""
    eta = risk.x @ beta
    top = eta.max()
    places = risk.first_at_risk, risk.last_at_risk, risk.row_of_death, risk.tie, risk.share
    hazard, means = _totals(np.exp(eta - top), risk.x, up_to, *places)
    p, start, out = len(beta), 0, [np.log(hazard) + top]
    for power in range(1, up_to + 1):
        out.append(means[:, start : start + p**power].reshape(-1, *([p] * power)))
        start += p**power
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _totals(weight, x, up_to, first_at_risk, last_at_risk, row_of_death, tie, share):
    """Sum of ``weight`` over each death's risk set, (d,), and weighted means of the products of columns of x, (d, k):
    of one column, then of two and so on, without Efron's part of the tie.

    Compiled, since a bootstrap needs it some 100,000 times; additions in the order of the rows.
    """
    (n, p), deaths = x.shape, len(row_of_death)
    width = 0
    for power in range(up_to + 1):
        width += p**power
    products = np.empty((n, width))
    cumulative = np.zeros((n + 1, width))
    for i in range(n):
        products[i, 0] = weight[i]
        end = 1
        for before in range((width - 1) // p):
            for j in range(p):
                products[i, end] = products[i, before] * x[i, j]
                end += 1
        for j in range(width):
            cumulative[i + 1, j] = cumulative[i, j] + products[i, j]
    tied = np.zeros((tie[-1] + 1 if deaths else 0, width))
    for death in range(deaths):
        for j in range(width):
            tied[tie[death], j] += products[row_of_death[death], j]
    hazard, means = np.empty(deaths), np.empty((deaths, width - 1))
    for death in range(deaths):
        for j in range(width):
            total = cumulative[last_at_risk[death] + 1, j] - cumulative[first_at_risk[death], j]
            total -= share[death] * tied[tie[death], j]
            if j:
                means[death, j - 1] = total / hazard[death]
            else:
                hazard[death] = total
    return hazard, means


def _likelihood(risk: _Risk, beta: Vector, firth: bool) -> tuple[float, Vector, Vector]:
    """Log partial likelihood, its gradient and information; the gradient with Firth's penalty on demand.

    Not finite where a coefficient is so large that the hazards of a whole risk set vanish beside another's.
    """
    log_hazard, mean, second, *third = _moments(risk, beta, 3 if firth else 2)
    dead = risk.x[risk.row_of_death]
    value = float((dead @ beta).sum() - log_hazard.sum())
    gradient = (dead - mean).sum(axis=0)
    information = (second - mean[:, :, None] * mean[:, None, :]).sum(axis=0)
    if firth:
        # The derivative of the information is the sum of the third central moments.
        pair = np.einsum("dij,dk->dijk", second, mean)
        central = third[0] - pair - pair.transpose(0, 1, 3, 2) - pair.transpose(0, 3, 1, 2)
        central += 2 * np.einsum("di,dj,dk->dijk", mean, mean, mean)
        inverse = _solve(information, np.eye(len(beta)))
        gradient = gradient + np.einsum("ij,ijk->k", inverse, central.sum(axis=0)) / 2
        value += float(np.linalg.slogdet(information)[1]) / 2
    return value, gradient, information


def _solve(matrix: Vector, right: Vector) -> Vector:
    ill = not np.isfinite(matrix).all()
    if not ill and len(matrix) == 1:  # the same quotient as LAPACK's, without its way there
        if matrix[0, 0] != 0:
            return right / matrix[0, 0]
        ill = True
    if not ill:
        singular = np.linalg.svd(matrix, compute_uv=False)
        ill = singular[-1] == 0 or singular[0] / singular[-1] > 1e13
    if ill:
        raise NoFiniteEstimate("the covariates are collinear, or separate the events")
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
