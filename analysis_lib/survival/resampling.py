"""Bootstrap of discrimination measures, fast and exact.

A bootstrap sample of patients is a vector of counts: how often each patient was drawn. Time order and risk
order are therefore the same in every replicate and are sorted once. The C-index then needs, for each event,
the number of drawn patients who outlived it with a lower risk: a Fenwick tree over the ranks of the risk
answers that in O(log n) (doi:10.1002/spe.4380240306), and holds ``LANES`` replicates side by side so that one
walk through the tree serves them all. The results equal scikit-survival's on the same resamples, ties in time
and in risk included: Harrell's C-index to the last bit, the weighted measures to rounding (1e-12) where no death and
censoring share a month; there a death has the weight of R's packages.

Random numbers are SplitMix64 (doi:10.1145/2660193.2660195) with a stream for each replicate, so that
replicate b draws the same patients for every model and measure. That is what makes differences between
models paired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis_lib.common.distributions import norm
from analysis_lib.survival.resampling_kernels import TIED_TOLERANCE, auc_kernel, c_index_kernel, draw_table, tie_range

_NO_COUNTS = np.empty((0, 0), dtype=np.uint16)


@dataclass(frozen=True)
class Sorted:
    """Patients in descending time, the censored of one time before its dead; from ``sort_patients``."""

    time: NDArray[np.float64]  # (n,) descending
    event: NDArray[np.bool_]  # (n,)
    row_of_patient: NDArray[np.int64]  # (n,) place of each patient in this order
    patient_of_row: NDArray[np.int64]  # (n,)
    bounds: NDArray[np.int64]  # (times, 3): first row, first dead row and end of each distinct time


# ---- public functions ---------------------------------------------------------------------------------


def bootstrap_counts(n: int, replicates: int, seed: int) -> NDArray[np.uint16]:
    """How often each of ``n`` patients is drawn in each replicate, shape (replicates, n).

    These are the resamples that every function here uses for the same n, replicates and seed.
    """
    return draw_table(n, replicates, np.uint64(seed))


def c_index_replicates(
    time: ArrayLike,
    event: ArrayLike,
    risks: ArrayLike | Mapping[str, ArrayLike],
    replicates: int,
    seed: int,
    *,
    counts: NDArray[np.uint16] | None = None,
) -> NDArray[np.float64]:
    """Harrell's C-index of each model in each bootstrap replicate.

    Args:
        time: follow-up in months, shape (n,).
        event: 1 or True for an event, shape (n,).
        risks: risk scores, higher is worse, shape (n,) or (n, models), or models by name.
        replicates: number of bootstrap replicates (ignored where ``counts`` is given).
        seed: of the resampling.
        counts: use these resamples instead, shape (replicates, n).

    Returns:
        shape (replicates, models); NaN where a replicate has no comparable pair.

    Source: Harrell 1996, doi:10.1002/(SICI)1097-0258(19960229)15:4<361::AID-SIM168>3.0.CO;2-4.
    """
    patients, matrix = _checked(time, event, risks)
    ones = np.ones(len(patients.time))
    return _c_index(patients, matrix, replicates, seed, counts, weighting=0, fixed=ones)


def uno_c_index_replicates(
    time: ArrayLike,
    event: ArrayLike,
    risks: ArrayLike | Mapping[str, ArrayLike],
    replicates: int,
    seed: int,
    *,
    tau: float | None = None,
    train: tuple[ArrayLike, ArrayLike] | None = None,
    counts: NDArray[np.uint16] | None = None,
) -> NDArray[np.float64]:
    """Uno's C-index (inverse probability of censoring weights) of each model in each replicate.

    ``train`` is (time, event) of the patients whose censoring distribution is used in every replicate;
    without it the distribution is estimated anew in each replicate, from that replicate. Only events before
    ``tau`` count. An event where the probability of being uncensored is zero has no weight and is left out.
    Shapes as in ``c_index_replicates``. Source: Uno 2011, doi:10.1002/sim.4154.
    """
    patients, matrix = _checked(time, event, risks)
    use = np.ones(len(patients.time)) if tau is None else (patients.time < tau).astype(float)
    if train is None:
        return _c_index(patients, matrix, replicates, seed, counts, weighting=2, fixed=use)
    uncensored = uncensored_probability(*train, patients.time, just_before=True)
    weight = np.divide(use, uncensored**2, out=np.zeros_like(use), where=uncensored > 0)
    return _c_index(patients, matrix, replicates, seed, counts, weighting=1, fixed=weight)


def auc_replicates(
    time: ArrayLike,
    event: ArrayLike,
    risks: ArrayLike | Mapping[str, ArrayLike],
    months: ArrayLike,
    replicates: int,
    seed: int,
    *,
    train: tuple[ArrayLike, ArrayLike] | None = None,
    counts: NDArray[np.uint16] | None = None,
) -> NDArray[np.float64]:
    """Cumulative/dynamic AUC with inverse probability of censoring weights, in each replicate.

    Cases died by the month, controls were followed beyond it. ``train`` as in ``uno_c_index_replicates``.

    Returns:
        shape (replicates, models, months); NaN where a replicate has no case or no control.

    Source: Uno 2007, doi:10.1198/016214507000000149; Hung and Chiang 2010, doi:10.1002/cjs.10046.
    """
    patients, matrix = _checked(time, event, risks)
    n = len(patients.time)
    order = np.argsort(matrix, axis=0, kind="stable").T  # (models, n) ascending risk
    ordered = np.take_along_axis(matrix.T, order, axis=1)
    # A run of scores each within the tolerance of the next is one tie, as in scikit-survival. The runs are
    # those of all patients, so that a tie does not come and go with the patient who links it.
    last = np.ones(order.shape, dtype=np.bool_)
    last[:, :-1] = np.diff(ordered, axis=1) > TIED_TOLERANCE
    controls = np.searchsorted(-patients.time, -np.atleast_1d(np.asarray(months, dtype=float)), side="left")
    fixed = np.zeros(n)
    if train is not None:
        uncensored = uncensored_probability(*train, patients.time, just_before=True)
        fixed = np.divide(1.0, uncensored, out=np.zeros(n), where=uncensored > 0)
    table, replicates = _table(counts, replicates, n)
    out = np.empty((replicates, matrix.shape[1], len(controls)))
    auc_kernel(
        patients.bounds,
        patients.event,
        np.ascontiguousarray(order).astype(np.int32),
        last,
        controls.astype(np.int64),
        patients.row_of_patient,
        table,
        np.uint64(seed),
        train is None,
        fixed,
        out,
    )
    return out


def percentile_interval(
    values: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval over axis 0, replicates without a value left out.

    NaN where fewer than half of the replicates have a value. Source: Efron 1981, doi:10.2307/3314608.
    """
    values = np.asarray(values, dtype=float)
    flat = values.reshape(len(values), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    tail = (1 - confidence) / 2
    for column, sample in enumerate(flat.T):
        sample = sample[np.isfinite(sample)]
        if 2 * len(sample) >= len(flat):
            ends[:, column] = np.quantile(sample, [tail, 1 - tail])
    low, high = ends.reshape(2, *values.shape[1:])
    return low, high


def bootstrap_p(values: NDArray[np.float64]) -> float:
    """Two-sided P that a quantity is zero, of its replicates (replicates,); NaN where none has a value.

    Twice the smaller share on one side of zero; those at zero count half, and one is added to both counts so that it is
    never 0. Source: Davison and Hinkley 1997, doi:10.1017/CBO9780511802843.
    """
    known = values[np.isfinite(values)]
    side = min(np.sum(known > 0), np.sum(known < 0)) + np.sum(known == 0) / 2
    return min(1.0, 2 * (side + 1) / (len(known) + 1)) if len(known) else float("nan")


def monte_carlo_error(
    values: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard error of either end of ``percentile_interval`` for want of replicates; another seed moves it so much.

    A quantile of B replicates lies between their order statistics at B q +- sqrt(B q (1 - q)), half of whose
    distance is its error. NaN where there is no interval, and where those statistics lie beyond the replicates.
    Source: Woodruff 1952, doi:10.1080/01621459.1952.10483443.
    """
    values = np.asarray(values, dtype=float)
    flat = values.reshape(len(values), -1)
    errors = np.full((2, flat.shape[1]), np.nan)
    for column, sample in enumerate(flat.T):
        sample = np.sort(sample[np.isfinite(sample)])
        size = len(sample)
        if 2 * size < len(flat):
            continue
        for end, q in enumerate(((1 - confidence) / 2, (1 + confidence) / 2)):
            reach = np.sqrt(q * (1 - q) / size) if size else 1.0
            if reach <= min(q, 1 - q):
                low, high = np.quantile(sample, [q - reach, q + reach])
                errors[end, column] = (high - low) / 2
    low, high = errors.reshape(2, *values.shape[1:])
    return low, high


def simultaneous_band(
    values: NDArray[np.float64], estimate: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Band that holds a whole curve with the given confidence (sup-t): limits of the shape of ``estimate``.

    Args:
        values: bootstrap replicates of the curve, shape (replicates, times).
        estimate: the curve, shape (times,).
        confidence: of the curve as a whole.

    Each replicate's largest distance from the curve in standard errors has a quantile; the band lies that many
    standard errors away; NaN at a time that fewer than two, or than half, of the replicates know. It is never
    narrower than the pointwise interval of the same normal form.
    Source: Montiel Olea and Plagborg-Moller 2019, doi:10.1002/jae.2656.
    """
    finite = np.isfinite(values)
    usable = (finite.mean(axis=0) >= 0.5) & (finite.sum(axis=0) >= 2)  # one replicate has no spread
    low, high = np.full(estimate.shape, np.nan), np.full(estimate.shape, np.nan)
    sample = values[:, usable]
    error = np.nanstd(sample, axis=0, ddof=1) if usable.any() else np.empty(0)
    moving = np.flatnonzero(usable)[error > 0]
    low[usable], high[usable] = estimate[usable], estimate[usable]
    if len(moving):
        error = error[error > 0]
        distance = np.abs(values[:, moving] - estimate[moving]) / error
        furthest = np.nanmax(distance[np.isfinite(distance).any(axis=1)], axis=1)
        wide = np.quantile(furthest, confidence) * error
        low[moving], high[moving] = estimate[moving] - wide, estimate[moving] + wide
    return low, high


def bca_interval(
    values: NDArray[np.float64], estimate: float, jackknife: NDArray[np.float64], confidence: float
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval of one quantity.

    Args:
        values: bootstrap replicates, shape (replicates,).
        estimate: the quantity in the sample itself.
        jackknife: the quantity without each patient in turn, shape (n,).
        confidence: level of the interval.

    Source: Efron 1987, doi:10.1080/01621459.1987.10478410.
    """
    values, jackknife = values[np.isfinite(values)], jackknife[np.isfinite(jackknife)]
    if len(values) == 0 or len(jackknife) < 2 or not np.isfinite(estimate):
        return float("nan"), float("nan")
    below = np.mean(values < estimate) + np.mean(values == estimate) / 2
    if not 0 < below < 1:  # the estimate lies outside its replicates: no finite correction
        return float("nan"), float("nan")
    deviation = jackknife.mean() - jackknife
    spread = np.sum(deviation**2) ** 1.5
    acceleration = np.sum(deviation**3) / (6 * spread) if spread > 0 else 0.0
    shift = norm.ppf(below)
    z = shift + norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = np.quantile(values, norm.cdf(shift + z / (1 - acceleration * z)))
    return float(low), float(high)


def jackknife_counts(n: int) -> NDArray[np.uint16]:
    """Counts that leave out each patient in turn, shape (n, n)."""
    counts = np.ones((n, n), dtype=np.uint16)
    np.fill_diagonal(counts, 0)
    return counts


def risk_matrix(risks: ArrayLike | Mapping[str, ArrayLike]) -> tuple[list[str], NDArray[np.float64]]:
    """Model names and scores of shape (n, models), from a mapping, a frame or an array."""
    if isinstance(risks, pd.Series):
        return [str(risks.name or "risk")], risks.to_numpy(dtype=float)[:, None]
    if isinstance(risks, (Mapping, pd.DataFrame)):
        names = [str(name) for name in risks]
        return names, np.column_stack([np.asarray(risks[name], dtype=float) for name in risks])
    matrix = np.asarray(risks, dtype=float)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    return (["risk"] if matrix.shape[1] == 1 else [f"risk{i + 1}" for i in range(matrix.shape[1])]), matrix


# ---- preparation --------------------------------------------------------------------------------------


def sort_patients(time: ArrayLike, event: ArrayLike) -> Sorted:
    """Order patients for the kernels; raises ValueError on missing or non-matching values."""
    time = np.asarray(time, dtype=float)
    raw = np.asarray(event, dtype=float)
    if time.ndim != 1 or time.shape != raw.shape:
        raise ValueError(f"time {time.shape} and event {raw.shape} must be vectors of one length")
    if len(time) == 0:
        raise ValueError("no patients: time and event are empty")
    if not np.isfinite(time).all() or not np.isin(raw, (0, 1)).all():
        raise ValueError("time must be finite and event 0 or 1; drop patients without follow-up first")
    dead = raw.astype(bool)
    patient_of_row = np.lexsort((dead, -time))
    time, dead = time[patient_of_row], dead[patient_of_row]
    row_of_patient = np.empty(len(time), dtype=np.int64)
    row_of_patient[patient_of_row] = np.arange(len(time))
    first = np.flatnonzero(np.r_[True, time[1:] != time[:-1]])
    end = np.r_[first[1:], len(time)]
    first_dead = end - np.add.reduceat(dead.astype(np.int64), first)
    return Sorted(time, dead, row_of_patient, patient_of_row, np.column_stack([first, first_dead, end]))


def _checked(time: ArrayLike, event: ArrayLike, risks: object) -> tuple[Sorted, NDArray[np.float64]]:
    patients = sort_patients(time, event)
    _, matrix = risk_matrix(risks)  # type: ignore[arg-type]
    if len(matrix) != len(patients.time):
        raise ValueError(f"{len(matrix)} risk scores for {len(patients.time)} patients")
    if not np.isfinite(matrix).all():
        raise ValueError("risk scores must be finite; drop patients without a score first")
    return patients, matrix[patients.patient_of_row]


def _table(counts: NDArray | None, replicates: int, n: int) -> tuple[NDArray[np.uint16], int]:
    if counts is None:
        return _NO_COUNTS, replicates
    table = np.ascontiguousarray(counts, dtype=np.uint16)
    if table.ndim != 2 or table.shape[1] != n:
        raise ValueError(f"counts must have shape (replicates, {n}), not {table.shape}")
    return table, len(table)


def _c_index(
    patients: Sorted,
    matrix: NDArray[np.float64],
    replicates: int,
    seed: int,
    counts: NDArray | None,
    weighting: int,
    fixed: NDArray[np.float64],
) -> NDArray[np.float64]:
    n, models = matrix.shape
    rank = np.empty((models, n), dtype=np.int32)
    below = np.zeros((models, n + 1), dtype=np.int32)
    upto = np.zeros((models, n + 1), dtype=np.int32)
    distinct = np.empty(models, dtype=np.int64)
    for model in range(models):
        values, inverse = np.unique(matrix[:, model], return_inverse=True)
        rank[model] = inverse + 1  # Fenwick trees count from 1
        distinct[model] = len(values)
        tie_range(values, below[model], upto[model])
    table, replicates = _table(counts, replicates, n)
    out = np.empty((replicates, models))
    c_index_kernel(
        patients.bounds,
        rank,
        below,
        upto,
        distinct,
        patients.row_of_patient,
        table,
        np.uint64(seed),
        weighting,
        fixed,
        out,
    )
    return out


def uncensored_probability(
    time: ArrayLike, event: ArrayLike, at: NDArray[np.float64], *, just_before: bool = False
) -> NDArray[np.float64]:
    """Kaplan-Meier of the censoring at each time in ``at``, or just before it; deaths come before censoring.

    A death at t is seen if the censoring comes at t or later, so it weighs 1 / G(t-); who is followed beyond t weighs
    1 / G(t).
    """
    train = sort_patients(time, event)
    first, first_dead, end = train.bounds[::-1].T  # ascending time
    survivors = end - (end - first_dead)  # at risk, less the dead of that time
    censored = first_dead - first
    step = 1 - np.divide(censored, survivors, out=np.zeros(len(first)), where=censored > 0)
    curve = np.r_[1.0, np.cumprod(step)]
    return curve[np.searchsorted(train.time[first], at, side="left" if just_before else "right")]
