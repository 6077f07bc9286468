"""The linear partner of the networks: ridge and elastic-net Cox on the scaled features, and the risk of all together.

Networks learn a lone strong column late, and one that stops at once says nothing; penalised linear models do neither.
Both are judged on the folds that the networks held out, by cross-validated partial likelihood (Verweij PJM, van
Houwelingen HC. Stat Med 1993;12:2305, doi 10.1002/sim.4780122407), and are zero where that prefers no model. The risk
is a non-negative combination of the three, weighed by Cox's partial likelihood of their held-out log-risks (stacking;
Breiman L. Mach Learn 1996;24:49, doi 10.1007/BF00117832).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from analysis_lib.coxnet.cox_ensemble import CoxEnsemble, slope_and_baseline
from analysis_lib.coxnet.scaling import canonical_order

PARTS = ("networks", "ridge", "elastic net")
L1_RATIO = 0.5  # of the elastic net
VARIANCES = np.geomspace(0.01, 10, 12)  # of the log-risk, as the penalty of ridge expects it
SHARES = np.geomspace(1, 0.05, 20)  # of the penalty from which on the elastic net is zero
SMALL = 1.0  # penalty on the squares of the weights
STEPS, SWEEPS, NEAR = 30, 50, 1e-3  # of a path: at most, and the change of log-risks that ends them


class Outcome(NamedTuple):
    """Strata, times and events (n,) of patients sorted by stratum, then falling time; whether ties are Efron's."""

    strata: np.ndarray
    time: np.ndarray
    event: np.ndarray
    efron: bool

    def of(self, rows: np.ndarray) -> Outcome:
        """Of these patients alone."""
        return Outcome(self.strata[rows], self.time[rows], self.event[rows], self.efron)


@dataclass(frozen=True)
class LinearPartner:
    """weights : (3,) of PARTS. coefficients : (2, d) log hazard per scaled feature by ridge and elastic net; zero where
    cross-validation preferred no model. penalties : (2,) against the log partial likelihood per event; 0 of no model.
    """

    weights: np.ndarray
    coefficients: np.ndarray
    penalties: np.ndarray

    def parts(self, z: np.ndarray) -> np.ndarray:
        """Log-risk (n, 2) of scaled features (n, d) by ridge and elastic net.

        Summed along each row, so that a patient's bits do not depend on who stands beside him.
        """
        return np.column_stack([(z * beta).sum(axis=1) for beta in self.coefficients])

    def combine(self, networks: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Log-risk (n, k) by each network's log-risk (n, k) and the linear models of the scaled features (n, d)."""
        return self.weights[0] * networks + (self.parts(z) * self.weights[1:]).sum(axis=1)[:, None]

    def save(self, path: Path) -> None:
        """Write as JSON; ``load`` gives the same bits back."""
        content = {"parts": PARTS, "weights": self.weights.tolist(), "penalties": self.penalties.tolist()}
        path.write_text(json.dumps(content | {"coefficients": self.coefficients.tolist()}) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> LinearPartner:
        """Read what ``save`` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        weights, coefficients, penalties = (
            np.array(raw[name], float) for name in ("weights", "coefficients", "penalties")
        )
        return cls(weights, coefficients, penalties)


def fit_partner(
    ensemble: CoxEnsemble,
    z: np.ndarray,
    x: np.ndarray,
    time: ArrayLike,
    event: ArrayLike,
    strata: ArrayLike | None,
    ties: str,
) -> tuple[LinearPartner, CoxEnsemble]:
    """The partner of a fitted ensemble, and the ensemble by raw log-risks with slope and baseline of the combination.

    z : (n, d) scaled features and x : (n, code_size) inputs of the networks, of the training patients as given to
    ``CoxEnsemble.fit``; time, event, strata : (n,). The order of the patients does not matter, to the last bit.
    """
    time, event = np.asarray(time, np.float64), np.asarray(event).astype(bool)
    strata = np.zeros(len(z), int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    order = canonical_order(z, strata, -time, ~event)
    outcome = Outcome(strata, time, event, ties == "efron").of(order)
    ensemble = replace(ensemble, risk_sd=np.ones_like(ensemble.risk_sd))
    each, held_out = ensemble.risks(x)[order], ensemble.held_out[:, order]
    with np.errstate(invalid="ignore"):
        networks = (each.T * held_out).sum(axis=0) / held_out.sum(axis=0)
    features, folds = z[order].astype(np.float64), [fold for fold in held_out if fold.any()]
    ridge, net = (_cross_validated(features, outcome, folds, l1_ratio) for l1_ratio in (0.0, L1_RATIO))
    parts = np.column_stack([networks, ridge[2], net[2]])
    known = np.isfinite(networks)
    weights = _weights(parts[known], outcome.of(known))
    partner = LinearPartner(weights, np.stack([ridge[0], net[0]]), np.array([ridge[1], net[1]]))
    held = parts @ weights
    basis = held if known.any() else each.mean(axis=1)
    slope, baseline = slope_and_baseline(basis, outcome.time, outcome.event, outcome.strata, ties)
    return partner, replace(ensemble, slope=slope, baseline=baseline, held_out_risk=held[np.argsort(order)])


def _cross_validated(
    x: np.ndarray, outcome: Outcome, folds: list[np.ndarray], l1_ratio: float
) -> tuple[np.ndarray, float, np.ndarray]:
    """Coefficients (d,), their penalty and the held-out log-risk (n,) of the linear model that the folds prefer."""
    none = np.zeros(x.shape[1]), 0.0, np.zeros(len(x))
    if not folds or not x.any():
        return none
    axes = None
    if l1_ratio == 0:  # the same in all orthonormal axes, and quick where they are the patients' own
        axes = np.linalg.svd(x, full_matrices=False)[2].T
        penalties = x.shape[1] / outcome.event.sum() / VARIANCES
        x = x @ axes
    else:
        steepest = np.abs(score(none[2], *outcome)[1] @ x).max()
        penalties = max(steepest, 1e-9) / outcome.event.sum() / l1_ratio * SHARES
    loss, held = np.zeros(1 + len(penalties)), np.zeros((1 + len(penalties), len(x)))
    for fold in folds:
        part = outcome.of(~fold)
        risks = np.vstack([none[2], path(x[~fold], part, penalties, l1_ratio) @ x.T])
        loss += [score(risk, *outcome)[0] - score(risk[~fold], *part)[0] for risk in risks]
        held += fold * risks
    best = int(loss.argmin()) - 1  # the first is no model
    if best < 0:
        return none
    beta = path(x, outcome, penalties[: best + 1], l1_ratio)[best]
    held_out = held[best + 1] / np.maximum(np.sum(folds, axis=0), 1)
    return beta if axes is None else axes @ beta, float(penalties[best]), held_out


def _weights(parts: np.ndarray, outcome: Outcome) -> np.ndarray:
    """Weights (m,), none negative, of held-out log-risks (n, m); of the first alone where nothing speaks for any."""
    alone = np.eye(parts.shape[1])[0]
    if not outcome.event.any() or not parts[:, 1:].any():
        return alone

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = score(parts @ weights, *outcome)
        return value + SMALL * weights @ weights / 2, parts.T @ gradient + SMALL * weights

    bounds, start = [(0, None)] * len(alone), np.full(len(alone), 1 / len(alone))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found if (found > 1e-6).any() else alone


def path(x: np.ndarray, outcome: Outcome, penalties: np.ndarray, l1_ratio: float) -> np.ndarray:
    """Coefficients (m, d) of Cox regression on x (n, d) under falling penalties (m,) of an elastic net.

    Minimises the negative log partial likelihood per event plus penalty * (l1_ratio |b| + (1 - l1_ratio) b^2 / 2).
    Friedman J et al. J Stat Softw 2010;33(1), doi 10.18637/jss.v033.i01.
    """
    penalties = np.asarray(penalties) * outcome.event.sum()
    return _path(np.ascontiguousarray(x.T), *outcome, penalties * l1_ratio, penalties * (1 - l1_ratio))


@njit(cache=True)
def _path(xt, strata, time, event, efron, l1, l2):
    """Iteratively reweighted least squares from penalty to penalty: l1 (m,), l2 (m,); xt (d, n).

    The weights are the events that the model expects of a patient, as in the Poisson regression with the same score
    (Whitehead J. Appl Stat 1980;29:268, doi 10.2307/2346901): they bound the curvature of the partial likelihood, with
    ties and strata too, and the fixed point is its own optimum.
    """
    beta, found = np.zeros(len(xt)), np.zeros((len(l1), len(xt)))
    log_risk = np.zeros(len(event))
    for k in range(len(l1)):
        for _ in range(STEPS):
            gradient = score(log_risk, strata, time, event, efron)[1]
            _descend(xt, gradient + event, -gradient, beta, l1[k], l2[k])
            last, log_risk = log_risk, np.dot(beta, xt)
            if np.abs(log_risk - last).max() < NEAR:
                break
        found[k] = beta
    return found


@njit(cache=True)
def _descend(xt, weight, residual, beta, l1, l2):
    """Coordinate descent, in place: beta (d,), and residual (n,), which is weight * what x beta lacks."""
    curvature = np.zeros(len(xt))
    for sweep in range(SWEEPS):
        largest, everywhere = 0.0, sweep % 10 == 0  # between, only where a coefficient is not 0
        for j in range(len(xt)):
            if not everywhere and beta[j] == 0:
                continue
            if sweep == 0:
                curvature[j] = np.sum(weight * xt[j] ** 2)
            pull = np.dot(xt[j], residual) + curvature[j] * beta[j]
            step = np.sign(pull) * max(abs(pull) - l1, 0.0) / (curvature[j] + l2) - beta[j]
            if step != 0:
                beta[j] += step
                for i in range(len(weight)):
                    residual[i] -= step * weight[i] * xt[j, i]
                largest = max(largest, abs(step) * np.sqrt(curvature[j]))
        if largest < NEAR:
            break


@njit(cache=True)
def score(log_risk, strata, time, event, efron):
    """Negative log partial likelihood of log-risks (n,) and its gradient (n,), sorted as in ``Outcome``.

    That of ``partial_likelihood``, for thousands of calls on few patients.
    """
    n = len(event)
    hazard_of = np.exp(np.maximum(log_risk - log_risk.max(), -690.0))
    step, part, gradient = np.zeros(n), np.zeros(n), np.zeros(n)
    loss = at_risk = tied = hazard = twice = 0.0
    dead = 0
    for i in range(n):
        if i == 0 or strata[i] != strata[i - 1]:
            at_risk = 0.0
        at_risk += hazard_of[i]
        if event[i]:
            dead, tied, loss = dead + 1, tied + hazard_of[i], loss - np.log(hazard_of[i])
        if i + 1 < n and time[i + 1] == time[i] and strata[i + 1] == strata[i]:
            continue
        for number in range(dead):
            share = number / dead if efron else 0.0
            loss += np.log(at_risk - share * tied)
            step[i] += 1 / (at_risk - share * tied)
            part[i] += share / (at_risk - share * tied)
        dead, tied = 0, 0.0
    for i in range(n - 1, -1, -1):
        if i + 1 == n or strata[i] != strata[i + 1]:
            hazard = 0.0
        if i + 1 == n or strata[i] != strata[i + 1] or time[i] != time[i + 1]:
            hazard, twice = hazard + step[i], part[i]
        gradient[i] = hazard_of[i] * (hazard - event[i] * twice) - event[i]
    return loss, gradient
