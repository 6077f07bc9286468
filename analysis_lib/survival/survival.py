"""Survival estimators on plain columns: Kaplan-Meier, Cox regression, log-rank, C-index, AUC over time.

Times are months from surgery, events 1 (dead, or recurred) or 0 (censored), risks higher for worse. Every
function takes arrays or Series of one length and raises ValueError when a value is missing: who is left out
is the caller's decision, made once and counted. What cannot be estimated is NaN, with the reason beside it in
``note``, never an absurd number.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis_lib.common.distributions import norm
from analysis_lib.survival import resampling
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
from analysis_lib.survival.cox_weighted import score_test

Risks: TypeAlias = ArrayLike | Mapping[str, ArrayLike] | pd.DataFrame
NAN = float("nan")
LARGEST_LOG_HR = 100.0


# ---- Kaplan-Meier -------------------------------------------------------------------------------------


def kaplan_meier(
    time: ArrayLike,
    event: ArrayLike,
    confidence: float,
    *,
    entry: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> pd.DataFrame:
    """Kaplan-Meier estimate with pointwise log-log intervals.

    Returns a frame with one row at month 0 and one at each distinct time: month, survival, low, high, at_risk
    (just before the month), events and censored (in it). Where survival is 0 the interval is NaN, as in R.

    ``entry`` (n,): the month after which a patient is under observation, before ``time``; ``weights`` (n,): what he
    counts. With weights the three counts are their sums, and the variance is robust (infinitesimal jackknife), as in
    R's ``survfit(Surv(entry, time, event) ~ 1, weights = w)``; source: Therneau and Grambsch 2000,
    doi:10.1007/978-1-4757-3294-8.

    Not lifelines' fitter, whose last bits differ (it sums logarithms) and whose medians of flat stretches are not R's.
    Source: Kaplan and Meier 1958, doi:10.1080/01621459.1958.10501452; interval on the scale log(-log S):
    Kalbfleisch and Prentice 2002, doi:10.1002/9781118032985.
    """
    months, at_risk, deaths, censored = life_table(time, event, entry, weights)
    survival = np.cumprod(1 - deaths / at_risk)
    left = at_risk - deaths
    hazard = np.cumsum(np.divide(deaths, at_risk * left, out=np.zeros(len(months)), where=left > 0))
    if weights is not None:
        hazard = _robust(time, event, entry, weights, months, hazard, left)
    counted = int if weights is None else float
    inside = (survival > 0) & (survival < 1)  # Greenwood's variance on the log-log scale
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = norm.ppf((1 + confidence) / 2) * np.sqrt(hazard) / np.abs(np.log(survival))
        low, high = survival ** np.exp(spread), survival ** np.exp(-spread)
    certain = np.where(survival == 1, 1.0, np.nan)
    table = pd.DataFrame(
        {
            "month": months,
            "survival": survival,
            "low": np.where(inside, low, certain),
            "high": np.where(inside, high, certain),
            "at_risk": at_risk.astype(counted),
            "events": deaths.astype(counted),
            "censored": censored.astype(counted),
        }
    )
    if months[0] > 0:
        start = {"month": 0.0, "survival": 1.0, "low": 1.0, "high": 1.0}
        start |= {"at_risk": numbers_at_risk(time, [0.0], entry=entry, weights=weights)[0], "events": 0, "censored": 0}
        table = pd.concat([pd.DataFrame([start]), table], ignore_index=True)
    return table


def survival_at(table: pd.DataFrame, months: ArrayLike) -> pd.DataFrame:
    """Rows of a Kaplan-Meier table as they stand at ``months``; NaN beyond the follow-up of the living."""
    months = np.atleast_1d(np.asarray(months, dtype=float))
    row = np.searchsorted(table["month"].to_numpy(), months, side="right") - 1
    found = table[["survival", "low", "high"]].iloc[row].reset_index(drop=True)
    if table["survival"].iloc[-1] > 0:
        found[months > table["month"].iloc[-1]] = np.nan
    return found.assign(month=months)[["month", "survival", "low", "high"]]


def numbers_at_risk(
    time: ArrayLike, months: ArrayLike, *, entry: ArrayLike | None = None, weights: ArrayLike | None = None
) -> NDArray[Any]:
    """Patients followed at each month, those whose time equals it included (as in R's survfit), or their weights' sum.

    Who enters in the month comes after it, but at the start.
    """
    ordered = np.sort(time := np.asarray(time, dtype=float))
    if entry is None and weights is None:
        return len(ordered) - np.searchsorted(ordered, np.asarray(months, dtype=float), side="left")
    entry = np.zeros(len(time)) if entry is None else np.asarray(entry, dtype=float)
    counts = np.ones(len(time), dtype=int) if weights is None else np.asarray(weights, dtype=float)
    return np.array([counts[(time >= m) & ((entry < m) | (entry <= 0))].sum() for m in np.asarray(months, dtype=float)])


def median_survival(time: ArrayLike, event: ArrayLike) -> float:
    """Month at which the Kaplan-Meier curve falls to one half; NaN where it stays above.

    Where the curve runs exactly at one half the middle of that stretch, as in R.
    """
    return median_interval(time, event, 0.95)[0]


def median_interval(
    time: ArrayLike, event: ArrayLike, confidence: float, **late: ArrayLike
) -> tuple[float, float, float]:
    """``median_survival`` with its interval (median, low, high): where the limits of the curve fall to one half.

    NaN for a limit that stays above, which is not reached. Limits on the log-log scale, and ``late`` (entry, weights)
    as in ``kaplan_meier``. Source: Brookmeyer and Crowley 1982, doi:10.2307/2530286.
    """
    curve = kaplan_meier(time, event, confidence, **late)
    months = curve["month"].to_numpy()
    median, low, high = (_falls_to_half(months, curve[column].to_numpy()) for column in ("survival", "low", "high"))
    return median, low, high


def _falls_to_half(months: NDArray[Any], curve: NDArray[Any]) -> float:
    months, curve = months[np.isfinite(curve)], curve[np.isfinite(curve)]
    tolerance = 1e-12  # products of fractions: 1/2 is seldom 0.5 to the last bit
    reached = np.flatnonzero(curve <= 0.5 + tolerance)
    if len(reached) == 0:
        return NAN
    first = reached[0]
    lower = np.flatnonzero(curve < 0.5 - tolerance)
    if curve[first] >= 0.5 - tolerance and len(lower):
        return float((months[first] + months[lower[0]]) / 2)
    return float(months[first])


def median_follow_up(
    time: ArrayLike, event: ArrayLike, confidence: float, **late: ArrayLike
) -> tuple[float, float, float]:
    """Median follow-up in months with its interval, by the reverse Kaplan-Meier method: the median time to censoring.

    ``late`` as in ``kaplan_meier``. Source: Schemper and Smith 1996, doi:10.1016/0197-2456(96)00075-X.
    """
    _, dead = _followed(time, event)
    return median_interval(time, ~dead, confidence, **late)


def _followed(time: ArrayLike, event: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    patients = resampling.sort_patients(time, event)  # checks the values
    return patients.time[patients.row_of_patient], patients.event[patients.row_of_patient]


def life_table(
    time: ArrayLike, event: ArrayLike, entry: ArrayLike | None = None, weights: ArrayLike | None = None
) -> tuple[NDArray[Any], ...]:
    """Distinct months, at risk just before, deaths and censored in each; ``entry`` and ``weights`` as above."""
    time, dead = _followed(time, event)
    months, index = np.unique(time, return_inverse=True)
    if entry is None and weights is None:
        deaths = np.bincount(index, weights=dead, minlength=len(months))
        leaving = np.bincount(index, minlength=len(months))
        at_risk = len(time) - np.r_[0, np.cumsum(leaving)[:-1]]
        return months, at_risk.astype(float), deaths, leaving - deaths
    counts = np.ones(len(time)) if weights is None else np.asarray(weights, dtype=float)
    at_risk = numbers_at_risk(time, months, entry=entry, weights=counts)
    deaths = np.bincount(index, weights=dead * counts, minlength=len(months))
    censored = np.bincount(index, weights=~dead * counts, minlength=len(months))
    # sums of the same weights in another order: where all at risk die nobody is left, to the last bit
    return months, at_risk, np.where(at_risk - deaths > 1e-12 * at_risk, deaths, at_risk), censored


def _robust(
    time: ArrayLike,
    event: ArrayLike,
    entry: ArrayLike | None,
    weights: ArrayLike,
    months: NDArray[Any],
    spent: NDArray[Any],
    left: NDArray[Any],
) -> NDArray[np.float64]:
    """Variance of log S at each month: squared influence of the patients, each on all that happened while at risk.

    ``spent`` is the sum of deaths / (at risk * left) up to the month.
    """
    time, dead = _followed(time, event)
    place = np.searchsorted(months, time)
    before = 0.0 if entry is None else np.r_[0.0, spent][np.searchsorted(months, np.asarray(entry), side="right")]
    own = np.divide(dead, left[place], out=np.zeros(len(time)), where=left[place] > 0)
    found = np.empty(len(months))
    for k in range(len(months)):
        influence = np.maximum(spent[np.minimum(place, k)] - before, 0) - np.where(place <= k, own, 0)
        found[k] = np.sum((np.asarray(weights, dtype=float) * influence) ** 2)
    return found


# ---- Cox regression and log-rank ------------------------------------------------------------------------


def cox_binary(time: ArrayLike, event: ArrayLike, group: ArrayLike, confidence: float) -> dict:
    """Hazard ratio of the patients in ``group`` (bool) against the others, Efron's ties, Wald interval and P.

    Returns hr, low, high, p, n, n_events, n_group, events_group, note. The four estimates are NaN, and
    ``note`` says why, where a group is empty or the estimate is not finite: no event in one group, or never a
    patient of the one at risk when one of the other dies.

    Source: Cox 1972, doi:10.1111/j.2517-6161.1972.tb00899.x; Efron 1977, doi:10.1080/01621459.1977.10480613.
    """
    time, dead = _followed(time, event)
    member = _group(group, len(time))
    counts = {
        "n": len(time),
        "n_events": int(dead.sum()),
        "n_group": int(member.sum()),
        "events_group": int((dead & member).sum()),
    }
    note = _not_finite(time, dead, member)
    fit = {"hr": NAN, "low": NAN, "high": NAN, "p": NAN}
    if not note:
        fit, note = _cox_one(time, dead, member.astype(float), confidence)
    return fit | counts | {"note": note}


def cox_continuous(
    time: ArrayLike, event: ArrayLike, value: ArrayLike, confidence: float, *, per_sd: bool = True
) -> dict:
    """Hazard ratio for one standard deviation more of ``value`` (or one unit with ``per_sd=False``).

    Returns hr, low, high, p, n, n_events, sd, note; method as in ``cox_binary``.
    """
    time, dead = _followed(time, event)
    value = np.asarray(value, dtype=float)
    if value.shape != time.shape or not np.isfinite(value).all():
        raise ValueError("value must be finite and of the same length as time")
    sd = float(np.std(value, ddof=1)) if len(value) > 1 else 0.0
    fit, note = {"hr": NAN, "low": NAN, "high": NAN, "p": NAN}, ""
    if not dead.any():
        note = "no event"
    elif sd == 0:
        note = "all values are equal"
    else:
        fit, note = _cox_one(time, dead, value / (sd if per_sd else 1.0), confidence)
    return fit | {"n": len(time), "n_events": int(dead.sum()), "sd": sd, "note": note}


def cox_adjusted(time: ArrayLike, event: ArrayLike, covariates: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Multivariable Cox model, one row a covariate: covariate, hr, low, high, p, n, n_events, note.

    ``covariates`` are numeric columns without missing values (complete cases, or one imputed data set). A
    covariate with one value only is left out of the model and said so in its row.
    """
    if len(covariates) == 0:
        nothing = {"hr": NAN, "low": NAN, "high": NAN, "p": NAN, "n": 0, "n_events": 0, "note": "no patient"}
        return pd.DataFrame([{"covariate": name} | nothing for name in covariates])
    time, dead = _followed(time, event)
    table = covariates.reset_index(drop=True).astype(float)
    if len(table) != len(time) or not np.isfinite(table.to_numpy()).all():
        raise ValueError("covariates must be finite and as many as the patients")
    constant = [name for name in table if table[name].nunique() < 2]
    used = table.drop(columns=constant)
    base = {"n": len(time), "n_events": int(dead.sum())}
    fits = {name: {"note": "all values are equal"} for name in constant}
    if dead.any() and len(used.columns):
        fits |= _cox(time, dead, used, confidence)
    else:
        fits |= {name: {"note": "no event"} for name in used}
    columns = ["covariate", "hr", "low", "high", "p", "n", "n_events", "note"]
    rows = [{"covariate": name, "note": ""} | base | fits[name] for name in table]
    return pd.DataFrame(rows).reindex(columns=columns)


def logrank_p(time: ArrayLike, event: ArrayLike, group: ArrayLike, **options: ArrayLike) -> float:
    """P value of the log-rank test between the groups (two or more values); NaN without event or contrast.

    ``options``: entry, weights and strata as of ``cox_weighted.score_test``. Source: Peto and Peto 1972,
    doi:10.2307/2344317.
    """
    time, dead = _followed(time, event)
    codes, values = pd.factorize(np.asarray(group), use_na_sentinel=True)
    if len(codes) != len(time) or (codes < 0).any():
        raise ValueError("group must be known for every patient")
    if len(values) < 2 or not dead.any():
        return NAN
    if options:
        return score_test(time, dead, codes[:, None] == np.arange(1, len(values)), **options)
    from lifelines.statistics import multivariate_logrank_test  # here, because it takes a second to load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(multivariate_logrank_test(time, codes, dead).p_value)


def _group(group: ArrayLike, n: int) -> NDArray[np.bool_]:
    values = np.asarray(group)
    if values.shape != (n,) or pd.isna(values).any():
        raise ValueError("group must be known for every patient")
    return values.astype(bool)


def _not_finite(time: NDArray, dead: NDArray, member: NDArray) -> str:
    """Why the hazard ratio of a binary group has no finite estimate; empty where it has one."""
    if member.all() or not member.any():
        return "one group is empty"
    if not dead.any():
        return "no event"
    for ours, name in ((member, "the group"), (~member, "the others")):
        if not (dead & ours).any():
            return f"no event in {name}"
        # Somebody of the other group must be at risk at one of our events, else nothing bounds the ratio.
        if time[dead & ours].min() > time[~ours].max():
            return "the groups never overlap at an event"
    return ""


def _cox_one(time: NDArray, dead: NDArray, value: NDArray, confidence: float) -> tuple[dict, str]:
    fit = _cox(time, dead, pd.DataFrame({"value": value}), confidence)["value"]
    note = fit.pop("note")
    return fit, note


def _cox(time: NDArray, dead: NDArray, covariates: pd.DataFrame, confidence: float) -> dict[str, dict]:
    """Hazard ratio, Wald interval and P by covariate; NaN with a note where there is no finite estimate."""
    try:
        fit = cox_fit(time, dead, covariates.to_numpy(dtype=float))
    except NoFiniteEstimate as error:
        nothing = {"hr": NAN, "low": NAN, "high": NAN, "p": NAN}
        return {name: nothing | {"note": str(error)} for name in covariates}
    standard_error = np.sqrt(np.diag(fit.covariance))
    width = norm.ppf((1 + confidence) / 2) * standard_error
    # An interval that no number can hold is a likelihood that is all but flat: no estimate either.
    if (np.abs(fit.coefficients) + width > LARGEST_LOG_HR).any():
        nothing = {"hr": NAN, "low": NAN, "high": NAN, "p": NAN}
        return {name: nothing | {"note": "the covariates all but separate the events"} for name in covariates}
    return {
        name: {
            "hr": float(np.exp(fit.coefficients[k])),
            "low": float(np.exp(fit.coefficients[k] - width[k])),
            "high": float(np.exp(fit.coefficients[k] + width[k])),
            "p": float(2 * norm.sf(abs(fit.coefficients[k]) / standard_error[k])),
            "note": "",
        }
        for k, name in enumerate(covariates)
    }


# ---- discrimination -------------------------------------------------------------------------------------


def c_index(time: ArrayLike, event: ArrayLike, risk: ArrayLike) -> float:
    """Harrell's C-index; NaN without a comparable pair. Equals scikit-survival's, ties included."""
    ones = np.ones((1, np.size(np.asarray(time))), dtype=np.uint16)
    return float(resampling.c_index_replicates(time, event, risk, 1, 0, counts=ones)[0, 0])


def uno_c_index(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    tau: float | None = None,
    train: tuple[ArrayLike, ArrayLike] | None = None,
) -> float:
    """Uno's C-index up to ``tau`` months; censoring from ``train`` (time, event) or from the set itself."""
    ones = np.ones((1, np.size(np.asarray(time))), dtype=np.uint16)
    values = resampling.uno_c_index_replicates(time, event, risk, 1, 0, tau=tau, train=train, counts=ones)
    return float(values[0, 0])


def bootstrap_c_index(
    time: ArrayLike,
    event: ArrayLike,
    risks: Risks,
    replicates: int,
    confidence: float,
    seed: int,
    *,
    method: str = "percentile",
    uno_tau: float | None = None,
) -> pd.DataFrame:
    """C-index of each model with its bootstrap interval over patients: model, c_index, low, high, n, events, and
    low_mc_error and high_mc_error, by how much the ends of the percentile interval move with the seed.

    ``method`` is "percentile" or "bca"; ``uno_tau`` in months gives Uno's C-index instead of Harrell's, with
    the censoring estimated anew in every replicate. All models see the same resamples.
    """
    _known_method(method)
    names, matrix = resampling.risk_matrix(risks)
    n = len(matrix)

    def measure(counts: NDArray[np.uint16] | None) -> NDArray[np.float64]:
        if uno_tau is None:
            return _harrell(time, event, matrix, replicates, seed, counts)
        return resampling.uno_c_index_replicates(time, event, matrix, replicates, seed, tau=uno_tau, counts=counts)

    estimate = measure(np.ones((1, n), dtype=np.uint16))[0]
    left_out = measure(resampling.jackknife_counts(n)) if method == "bca" else None
    values = measure(None)
    low, high = _ends(values, estimate, left_out, confidence)
    low_error, high_error = resampling.monte_carlo_error(values, confidence)
    return pd.DataFrame(
        {
            "model": names,
            "c_index": estimate,
            "low": low,
            "high": high,
            "n": n,
            "events": int(np.asarray(event, dtype=float).sum()),
            "low_mc_error": low_error,
            "high_mc_error": high_error,
        }
    )


def bootstrap_c_index_difference(
    time: ArrayLike,
    event: ArrayLike,
    risks: Risks,
    reference: str,
    replicates: int,
    confidence: float,
    seed: int,
    *,
    method: str = "percentile",
) -> pd.DataFrame:
    """C-index of the model ``reference`` minus that of each other one, paired over the same resamples.

    Returns model, difference, low, high, p. ``method`` is "percentile" or "bca". P is that of
    ``resampling.bootstrap_p``.
    """
    _known_method(method)
    names, matrix = resampling.risk_matrix(risks)
    if reference not in names:
        raise ValueError(f"no model '{reference}' among {', '.join(names)}")
    place, n = names.index(reference), len(matrix)

    def gaps(counts: NDArray[np.uint16] | None) -> NDArray[np.float64]:
        values = _harrell(time, event, matrix, replicates, seed, counts)
        return values[:, [place]] - values

    estimate, gap = gaps(np.ones((1, n), dtype=np.uint16))[0], gaps(None)
    left_out = gaps(resampling.jackknife_counts(n)) if method == "bca" else None
    low, high = _ends(gap, estimate, left_out, confidence)
    rows = []
    for k, name in enumerate(names):
        if k == place:
            continue
        rows.append((name, estimate[k], low[k], high[k], resampling.bootstrap_p(gap[:, k])))
    return pd.DataFrame(rows, columns=["model", "difference", "low", "high", "p"])


def _harrell(
    time: ArrayLike, event: ArrayLike, matrix: NDArray, replicates: int, seed: int, counts: NDArray[np.uint16] | None
) -> NDArray[np.float64]:
    if counts is not None:
        return resampling.c_index_replicates(time, event, matrix, replicates, seed, counts=counts)
    outcome = [np.asarray(values, dtype=float).tobytes() for values in (time, event)]
    columns = [_same_replicates(*outcome, column.tobytes(), replicates, seed) for column in matrix.T]
    return np.column_stack(columns)


@functools.lru_cache(maxsize=64)  # percentile interval, BCa and differences ask for the same, one after the other
def _same_replicates(time: bytes, event: bytes, risk: bytes, replicates: int, seed: int) -> NDArray[np.float64]:
    months, dead, score = (np.frombuffer(values) for values in (time, event, risk))
    return resampling.c_index_replicates(months, dead, score, replicates, seed)[:, 0]


def _known_method(method: str) -> None:
    if method not in ("percentile", "bca"):
        raise ValueError(f"method must be 'percentile' or 'bca', not '{method}'")


def _ends(
    values: NDArray[np.float64],
    estimate: NDArray[np.float64],
    left_out: NDArray[np.float64] | None,
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits of each column: percentiles of the replicates, or BCa's with the jackknife values ``left_out``."""
    if left_out is None:
        return resampling.percentile_interval(values, confidence)
    columns = zip(values.T, estimate, left_out.T, strict=True)
    low, high = np.array([resampling.bca_interval(v, e, jackknife, confidence) for v, e, jackknife in columns]).T
    return low, high


def auc_curve(
    time: ArrayLike,
    event: ArrayLike,
    risks: Risks,
    months: ArrayLike,
    replicates: int,
    confidence: float,
    seed: int,
    *,
    train: tuple[ArrayLike, ArrayLike] | None = None,
) -> pd.DataFrame:
    """Cumulative/dynamic AUC of each model at each month with pointwise bootstrap bands.

    The censoring distribution is that of the patients themselves, estimated anew in each replicate, because
    an external set has its own follow-up; ``train`` (time, event) gives another one, kept fixed.

    Returns model, month, auc, low, high (pointwise), low_simultaneous, high_simultaneous (for all months of the
    model together, ``resampling.simultaneous_band``, within 0 to 1). Months at which no patient has died yet or
    none is followed beyond are left out; ``attrs["note"]`` names them, or is empty. Estimates equal scikit-survival's
    ``cumulative_dynamic_auc`` month by month, tied risks counting one half.
    """
    names, matrix = resampling.risk_matrix(risks)
    months = np.unique(np.asarray(months, dtype=float))
    ones = np.ones((1, len(matrix)), dtype=np.uint16)
    estimate = resampling.auc_replicates(time, event, matrix, months, 1, seed, train=train, counts=ones)[0]
    known = np.isfinite(estimate).all(axis=0)
    kept = months[known]
    columns = ["model", "month", "auc", "low", "high", "low_simultaneous", "high_simultaneous"]
    if len(kept):
        values = resampling.auc_replicates(time, event, matrix, kept, replicates, seed, train=train)
        low, high = resampling.percentile_interval(values, confidence)
        bands = [resampling.simultaneous_band(values[:, k], estimate[k, known], confidence) for k in range(len(names))]
        table = pd.DataFrame(
            {
                "model": np.repeat(names, len(kept)),
                "month": np.tile(kept, len(names)),
                "auc": estimate[:, known].ravel(),
                "low": low.ravel(),
                "high": high.ravel(),
                "low_simultaneous": np.concatenate([band[0] for band in bands]).clip(0, 1),
                "high_simultaneous": np.concatenate([band[1] for band in bands]).clip(0, 1),
            }
        )
    else:
        table = pd.DataFrame(columns=columns, dtype=float).astype({"model": object})
    note = ""
    if not known.all():
        followed, dead = _followed(time, event)
        listed = ", ".join(f"{month:g}" for month in months[~known])
        first = f"first event at month {followed[dead].min():g}" if dead.any() else "no event"
        note = f"left out for want of cases or controls: month {listed} ({first}, "
        note += f"last follow-up at month {followed.max():g})"
    table.attrs["note"] = note
    return table
