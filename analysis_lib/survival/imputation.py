"""Multiple imputation by chained equations, and Rubin's rules.

Each column with gaps is regressed on all others in turn, and its gaps are drawn from the fitted model with
the uncertainty of its coefficients: logistic regression for columns of 0 and 1, linear for all others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from analysis_lib.common.distributions import student
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
from analysis_lib.survival.cox_weighted import cox_weighted, varying_within
from analysis_lib.survival.survival import life_table

Vector = NDArray[np.float64]
PRIOR_SD = 2.5  # of a coefficient per SD; keeps a column that foretells another perfectly finite


def nelson_aalen(
    time: ArrayLike, event: ArrayLike, entry: ArrayLike | None = None, strata: ArrayLike | None = None
) -> Vector:
    """Cumulative hazard at each patient's own time, what an imputation model should know of the outcome.

    With ``entry`` that of the months under observation, with ``strata`` that of the patient's stratum. Source: White
    and Royston 2009, doi:10.1002/sim.3618.
    """
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=float)
    begun = np.full(len(time), -1.0) if entry is None else np.asarray(entry, dtype=float)  # a death of day 0 counts
    label = np.zeros(len(time)) if strata is None else pd.factorize(np.asarray(strata))[0]
    hazard = np.empty(len(time))
    for own in (label == stratum for stratum in np.unique(label)):
        months, at_risk, deaths, _ = life_table(time[own], dead[own], begun[own])
        steps = np.r_[0.0, np.cumsum(deaths / at_risk)]
        ends = (steps[np.searchsorted(months, end[own], side="right")] for end in (time, begun))
        hazard[own] = np.subtract(*ends)
    return hazard


def impute(table: pd.DataFrame, copies: int, rounds: int, seed: int) -> list[pd.DataFrame]:
    """``copies`` of ``table`` (numeric, gaps as NaN) with the gaps filled; copy k depends on ``seed`` and k alone.

    Include the outcome (event and ``nelson_aalen``) among the columns. A table without gaps comes back as it
    is. ValueError where a column is empty throughout.

    Source: van Buuren 2011, doi:10.18637/jss.v045.i03; weak prior: Gelman 2008, doi:10.1214/08-AOAS191.
    """
    values = table.to_numpy(dtype=float)
    gaps = np.isnan(values)
    if empty := [str(name) for name, whole in zip(table, gaps.all(axis=0), strict=True) if whole]:
        raise ValueError(f"nothing to impute {', '.join(empty)} from: no patient has a value")
    order = [int(k) for k in np.argsort(gaps.sum(axis=0), kind="stable") if gaps[:, k].any()]
    filled = []
    for copy in range(copies):
        rng = np.random.default_rng([seed, copy])
        now = values.copy()
        for k in order:
            now[gaps[:, k], k] = rng.choice(values[~gaps[:, k], k], gaps[:, k].sum())
        for _ in range(rounds if order else 0):
            for k in order:
                now[gaps[:, k], k] = _draw(values[:, k], gaps[:, k], np.delete(now, k, axis=1), rng)
        filled.append(pd.DataFrame(now, index=table.index, columns=table.columns))
    return filled


def _draw(column: Vector, gap: NDArray[np.bool_], others: Vector, rng: np.random.Generator) -> Vector:
    known = column[~gap]
    if known.min() == known.max():
        return np.full(gap.sum(), known[0])
    spread = others.std(axis=0)
    varies = spread > 1e-12
    x = np.column_stack([np.ones(len(others)), (others - others.mean(axis=0))[:, varies] / spread[varies]])
    seen, wanted = x[~gap], x[gap]
    penalty = np.full(x.shape[1], PRIOR_SD**-2.0)
    penalty[0] = 1e-6
    if np.isin(known, (0, 1)).all():
        beta, covariance = _logistic(seen, known, penalty)
        chance = expit(wanted @ rng.multivariate_normal(beta, covariance, method="cholesky"))
        return (rng.random(len(chance)) < chance).astype(float)
    scale = known.std()
    precision = seen.T @ seen + np.diag(penalty)
    beta = np.linalg.solve(precision, seen.T @ (known - known.mean()) / scale)
    residual = (known - known.mean()) / scale - seen @ beta
    sigma = np.sqrt(residual @ residual / rng.chisquare(max(len(known) - x.shape[1], 1)))
    beta = rng.multivariate_normal(beta, sigma**2 * np.linalg.inv(precision), method="cholesky")
    return known.mean() + scale * (wanted @ beta + sigma * rng.standard_normal(len(wanted)))


def _logistic(x: Vector, y: Vector, penalty: Vector) -> tuple[Vector, Vector]:
    """Posterior mode of logistic regression with normal priors, and the covariance there."""
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        chance = expit(x @ beta)
        information = (x * (chance * (1 - chance))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(information, x.T @ (y - chance) - penalty * beta)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    return beta, np.linalg.inv(information)


def pool(estimates: ArrayLike, variances: ArrayLike, complete_df: float) -> dict[str, float]:
    """Rubin's rules for one coefficient: estimate, se, df, fmi (fraction of missing information), p.

    ``complete_df`` are the degrees of freedom that complete data would have. The same as R's
    ``mice::pool.scalar``. Source: Rubin 1987, doi:10.1002/9780470316696; Barnard and Rubin 1999,
    doi:10.1093/biomet/86.4.948.
    """
    estimates, variances = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    m = len(estimates)
    within, between = variances.mean(), estimates.var(ddof=1)
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total
    observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
    df = observed if share == 0 else 1 / (share**2 / (m - 1) + 1 / observed)
    increase = share / (1 - share)
    error = float(np.sqrt(total))
    return {
        "estimate": float(estimates.mean()),
        "se": error,
        "df": float(df),
        "fmi": float((increase + 2 / (df + 3)) / (increase + 1)) if share else 0.0,
        "p": float(2 * student.sf(abs(estimates.mean()) / error, df)),
    }


def imputed_ratio(
    time: np.ndarray,
    dead: np.ndarray,
    values: np.ndarray,
    names: tuple[str, ...],
    confidence: float,
    how: tuple[int, int, int],
    options: dict[str, Vector] | None = None,
) -> dict:
    """Hazard ratio of the last column of ``values``, pooled over imputed data sets; empty where a fit has no end.

    ``how``: number of imputations, rounds, seed. ``options``: entry, weights and strata (n,) as of
    ``cox_weighted.cox_weighted``; then the imputation knows strata and weights too, variances are robust where
    weighted, and what is constant within the strata has no coefficient.
    """
    given, used = options or {}, list(names)
    table = pd.DataFrame(values, columns=list(names)).assign(event=dead)
    of_outcome = {name: given[name] for name in ("entry", "strata") if name in given}
    table["cumulative_hazard"] = nelson_aalen(time, dead, **of_outcome)
    if "strata" in given:
        used = varying_within(table[used], given["strata"])
        table = table.join(pd.get_dummies(pd.Series(given["strata"]), drop_first=True, prefix="stratum", dtype=float))
    if "weights" in given:
        table["weights"] = given["weights"]
    copies = impute(table, *how)

    def fitted(x: Vector) -> tuple[float, float]:
        """Coefficient of the last column, and its variance."""
        if not given:
            plain = cox_fit(time, dead, x)
            return plain.coefficients[-1], plain.covariance[-1, -1]
        fit = cox_weighted(time, dead, x, **given)
        return fit.coefficients[-1], (fit.robust if "weights" in given else fit.covariance)[-1, -1]

    try:
        coefficients, variances = zip(*(fitted(copy[used].to_numpy()) for copy in copies), strict=True)
    except NoFiniteEstimate:
        return {}
    pooled = pool(list(coefficients), list(variances), max(dead.sum() - len(names), 1))
    width = student.ppf((1 + confidence) / 2, pooled["df"]) * pooled["se"]
    ends = {"hr": 0.0, "low": -width, "high": width}
    ratio = {f"mi_{k}": float(np.exp(pooled["estimate"] + shift)) for k, shift in ends.items()}
    return ratio | {"mi_p": pooled["p"], "mi_m": len(copies), "mi_fmi": pooled["fmi"]}
