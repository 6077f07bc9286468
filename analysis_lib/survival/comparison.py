"""Bootstrap intervals of calibration, Brier score and reclassification, and the test of added value.

All resample patients with their predictions as they stand: they tell how sure one may be of a fixed model in
patients like these, not how much a model would change if it were fitted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis_lib.common.distributions import chi2
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
from analysis_lib.survival.evaluation import (
    brier_terms,
    calibration_summary,
    mean_over_months,
    net_reclassification,
    survived,
)
from analysis_lib.survival.resampling import bootstrap_counts, percentile_interval

Vector = NDArray[np.float64]
NAN = float("nan")


def bootstrap(statistic: Callable[[NDArray[np.int64]], ArrayLike], n: int, replicates: int, seed: int) -> Vector:
    """``statistic`` of the rows drawn in each replicate, shape (replicates, values).

    The rows are those that every bootstrap of this library draws for the same n, replicates and seed.
    """
    patients = np.arange(n)
    return np.array([statistic(np.repeat(patients, c)) for c in bootstrap_counts(n, replicates, seed)], dtype=float)


def calibration_interval(
    time: ArrayLike,
    event: ArrayLike,
    probability: ArrayLike,
    month: float,
    replicates: int,
    confidence: float,
    seed: int,
    at: ArrayLike = (),
) -> tuple[dict[str, float | str], pd.DataFrame]:
    """Calibration at a month with intervals: predicted and observed risk, their ratio, slope and ICI; and the curve.

    Returns predicted (mean), observed (1 - Kaplan-Meier), ratio (observed / predicted), ratio_low, ratio_high,
    slope, slope_low, slope_high, ici, ici_low, ici_high, note; and the smooth curve behind the ICI at the predicted
    risks ``at`` (predicted, observed, low, high). Intervals are percentiles of the bootstrap, pointwise along the
    curve. The ratio is NaN where nobody is predicted any risk, as of a month before the first death in training.
    """
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=float).astype(bool)
    probability, at = np.asarray(probability, dtype=float), np.asarray(at, dtype=float)
    summary = calibration_summary(time, dead, probability, month, at)

    def measure(rows: NDArray[np.int64]) -> list[float]:
        t, e, p = time[rows], dead[rows], probability[rows]
        alive, found = survived(t, e, month), calibration_summary(t, e, p, month, at)
        # Nobody of the replicate may be followed to the month: what is observed then is not known.
        smooth = np.append(found["ici"], found["curve"]) + (NAN if np.isnan(alive) else 0.0)
        return [_ratio(1 - alive, float(p.mean())), found["slope"], *smooth]

    low, high = percentile_interval(bootstrap(measure, len(time), replicates, seed), confidence)
    observed = 1 - survived(time, dead, month)
    result: dict[str, float | str] = {"predicted": float(probability.mean()), "observed": observed}
    for k, (name, value) in enumerate(
        [("ratio", _ratio(observed, float(probability.mean()))), ("slope", summary["slope"]), ("ici", summary["ici"])]
    ):
        result |= {name: value, f"{name}_low": float(low[k]), f"{name}_high": float(high[k])}
    curve = {"predicted": at, "observed": summary["curve"], "low": low[3:], "high": high[3:]}
    return result | {"note": summary["note"]}, pd.DataFrame(curve)


def _ratio(observed: float, predicted: float) -> float:
    return observed / predicted if predicted > 0 else NAN


def brier_intervals(
    time: ArrayLike,
    event: ArrayLike,
    survival: Mapping[str, Vector],
    months: ArrayLike,
    replicates: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Brier score of each model at each month and its integral, with bootstrap intervals.

    ``survival`` maps model to probabilities of shape (n, months). Returns model, month (NaN for the integral
    over the months), brier, low, high, null (Kaplan-Meier for everybody), skill (1 - brier / null), skill_low,
    skill_high. Censoring is estimated anew in each replicate; models are compared on the same resamples.
    """
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=float).astype(bool)
    months = np.atleast_1d(np.asarray(months, dtype=float))
    curves = np.stack([np.asarray(s, dtype=float) for s in survival.values()])

    def measure(rows: NDArray[np.int64] | slice) -> Vector:
        """Score, null and skill of each model at each month and integrated, shape (models, 3, months [+ 1])."""
        weight, alive, everybody = brier_terms(time[rows], dead[rows], months)
        model = np.mean(weight * (alive - curves[:, rows]) ** 2, axis=1)
        null = np.mean(weight * (alive - everybody) ** 2, axis=0)
        null = np.broadcast_to(null, model.shape)
        if len(months) > 1:
            model, null = (np.column_stack([s, mean_over_months(s, months)]) for s in (model, null))
        skill = 1 - np.divide(model, null, out=np.full(model.shape, NAN), where=null > 0)
        return np.stack([model, null, skill], axis=1)

    estimate = measure(slice(None))
    values = bootstrap(measure, len(time), replicates, seed)
    low, high = percentile_interval(values, confidence)
    labels = [*months, NAN] if len(months) > 1 else list(months)
    rows = []
    for i, name in enumerate(survival):
        for k, month in enumerate(labels):
            score, skill = (estimate[i, 0, k], low[i, 0, k], high[i, 0, k]), (low[i, 2, k], high[i, 2, k])
            rows.append((name, month, *score, estimate[i, 1, k], estimate[i, 2, k], *skill))
    columns = ["model", "month", "brier", "low", "high", "null", "skill", "skill_low", "skill_high"]
    return pd.DataFrame(rows, columns=columns)


def reclassification_intervals(
    time: ArrayLike,
    event: ArrayLike,
    old: ArrayLike,
    new: ArrayLike,
    month: float,
    replicates: int,
    confidence: float,
    seed: int,
) -> dict[str, float]:
    """``net_reclassification`` with bootstrap intervals: each part with _low and _high."""
    time, dead = np.asarray(time, dtype=float), np.asarray(event, dtype=float).astype(bool)
    old, new = np.asarray(old, dtype=float), np.asarray(new, dtype=float)

    def measure(rows: NDArray[np.int64]) -> list[float]:
        return list(net_reclassification(time[rows], dead[rows], old[rows], new[rows], month).values())

    found = net_reclassification(time, dead, old, new, month)
    low, high = percentile_interval(bootstrap(measure, len(time), replicates, seed), confidence)
    result: dict[str, float] = {}
    low, high = low.round(12), high.round(12)  # sums that are zero but for the last bit
    for k, (name, value) in enumerate(found.items()):
        result |= {name: value, f"{name}_low": float(low[k]), f"{name}_high": float(high[k])}
    return result


def added_value(time: ArrayLike, event: ArrayLike, base: pd.DataFrame, marker: ArrayLike) -> dict[str, float | str]:
    """Likelihood-ratio test of ``marker`` beside the covariates ``base``, in the patients given.

    Returns chisq, df, p, hr_per_sd (of the marker, adjusted), chisq_base (base against nothing), share (of the
    full model's chi-squared that the base reaches, the adequacy index), note. Covariates with one value are
    left out; a marker with one value, or nobody, gives NaN.

    Source: Harrell 2015, doi:10.1007/978-3-319-19425-7, section 4.10 (R: ``anova(small, large)``).
    """
    used = base.loc[:, base.nunique() > 1].to_numpy(dtype=float)
    marker = np.asarray(marker, dtype=float)
    nothing = dict.fromkeys(("chisq", "df", "p", "hr_per_sd", "chisq_base", "share"), NAN)
    if len(np.unique(marker)) < 2:
        return nothing | {"note": "fewer than two patients whose risks differ"}
    marker = (marker - marker.mean()) / marker.std(ddof=1)
    try:
        large = cox_fit(time, event, np.column_stack([used, marker]))
        small = cox_fit(time, event, used) if used.shape[1] else None
    except NoFiniteEstimate as error:
        return nothing | {"note": str(error)}
    base_loglik = small.loglik if small else large.loglik_zero
    statistic = 2 * (large.loglik - base_loglik)
    whole, own = 2 * (large.loglik - large.loglik_zero), 2 * (base_loglik - large.loglik_zero)
    return {
        "chisq": statistic,
        "df": 1,
        "p": float(chi2.sf(statistic, 1)),
        "hr_per_sd": float(np.exp(large.coefficients[-1])),
        "chisq_base": own,
        "share": own / whole if whole > 0 else NAN,
        "note": "",
    }
