"""Cox's negative log partial likelihood and its gradient, Efron or Breslow, exact with ties.

The gradient is written out instead of left to automatic differentiation: it is short, and differentiating a
gather costs more than the loss itself. Patients are sorted by falling time, so that a risk set is everything
above a row and its sum is a cumulative sum of positive numbers, which loses no digits. Everything is float64
after one shift by the largest log-risk: exact while log-risks span less than 690, and finite beyond.

Efron B. JASA 1977;72:557-565, doi 10.1080/01621459.1977.10480613. Breslow N. Biometrics 1974;30:89-99,
doi 10.2307/2529620.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis_lib.common.errors import StudyError
from analysis_lib.coxnet.tf_setup import tf

SMALLEST_LOG = -690.0  # exp of it is 1e-300, and a sum of 1e5 reciprocals still fits float64


class NoEventsError(StudyError, ValueError):
    """There is no event to learn from or to compare with; the message says how many patients there were."""


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk when, for n patients sorted by stratum, then falling time.

    rows : (n,) row of the input that stands at each place.
    event : (n,) 1.0 for an event.
    group : (n,) number of the tied time, counted over all strata; first, last : (n,) places where that group
    begins and ends. frac : (n,) Efron's l / d for the l-th of d tied events, 0 for Breslow and the censored.
    sizes : patients in each stratum. tied : whether any time occurs twice in a stratum.
    """

    rows: np.ndarray
    event: np.ndarray
    group: np.ndarray
    first: np.ndarray
    last: np.ndarray
    frac: np.ndarray
    sizes: tuple[int, ...]
    tied: bool
    ties: str


def check_outcome(time: ArrayLike, event: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Times as float64 and events as bool, both (n,).

    ValueError for a negative or missing time or an event that is not 0 or 1; NoEventsError without events.
    A time of zero is a time like any other.
    """
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event)
    if time.ndim != 1 or time.shape != event.shape:
        raise ValueError(f"times {time.shape} and events {event.shape} must be two lists of one length")
    if not np.all(np.isfinite(time)) or np.any(time < 0):
        raise ValueError(f"{int(np.sum(~(time >= 0) | ~np.isfinite(time)))} times are missing or negative")
    if not np.isin(event, (0, 1)).all():
        raise ValueError("events must be 0 (censored) or 1")
    event = event.astype(bool)
    if not event.any():
        raise NoEventsError(
            f"none of {len(event)} patients has an event, so there is no partial likelihood; "
            "check that the event column is 1 for a death and 0 for a censored patient"
        )
    return time, event


def risk_sets(time: ArrayLike, event: ArrayLike, strata: ArrayLike | None = None, ties: str = "efron") -> RiskSets:
    """Sort patients into risk sets. ``strata`` (n,): patients are only compared within a stratum."""
    if ties not in ("efron", "breslow"):
        raise ValueError(f"ties must be 'efron' or 'breslow', not {ties!r}")
    time, event = check_outcome(time, event)
    n = len(time)
    strata = np.zeros(n, int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    rows = np.lexsort((~event, -time, strata))  # stable: within a tie events first, then as given
    time, event, strata = time[rows], event[rows], strata[rows]
    new = np.ones(n, bool)
    new[1:] = (time[1:] != time[:-1]) | (strata[1:] != strata[:-1])
    group = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], n) - 1
    return RiskSets(
        rows=rows.astype(np.int32),
        event=event.astype(np.float64),
        group=group.astype(np.int32),
        first=starts[group].astype(np.int32),
        last=ends[group].astype(np.int32),
        frac=efron_fractions(event, group) if ties == "efron" else np.zeros(n),
        sizes=tuple(int(s) for s in np.bincount(strata)),
        tied=bool(len(starts) < n),
        ties=ties,
    )


def efron_fractions(event: np.ndarray, group: np.ndarray) -> np.ndarray:
    """l / d for the l-th (from 0) of d events in its group, 0 where there is no event; all (n,)."""
    event = event.astype(bool)
    before = np.cumsum(event) - event
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    count = np.bincount(group, weights=event)
    rank = before - before[starts][group]
    return np.where(event, rank / np.maximum(count[group], 1), 0.0)


def loss_and_gradient(h, event, member, frac, group, first, last, sizes: tuple[int, ...], tied: bool):
    """Negative log partial likelihood (v,) of each view, and the gradient by log-risk (n, 1) of the first.

    Each of v columns is a view of the same n sorted patients: ``h`` log-risk, or one column for all views, ``member``
    1.0 for the patients that belong to the view, ``event`` 1.0 for its members' events, ``frac`` as in RiskSets, or
    None for Breslow's ties; float64 (n, v).
    """
    z = tf.maximum(h - tf.reduce_max(h, axis=0), tf.constant(SMALLEST_LOG, tf.float64))
    e = tf.exp(z) * member
    at_risk = _cumsum(e, sizes, reverse=False)
    if tied:
        at_risk = tf.gather(at_risk, last)
    if tied and frac is not None:
        n_groups = h.shape[0] if h.shape[0] is not None else tf.shape(h)[0]
        tied_events = tf.gather(tf.math.unsorted_segment_sum(e * event, group, n_groups), group)
        at_risk -= frac * tied_events
    at_risk += 1 - event  # not zero where nobody is left, which counts for nothing
    loss = tf.reduce_sum(event * (tf.math.log(at_risk) - z), axis=0)
    event, at_risk, e = event[:, :1], at_risk[:, :1], e[:, :1]
    weight = event / at_risk
    hazard = _cumsum(weight, sizes, reverse=True)
    if tied:
        hazard = tf.gather(hazard, first)
    if tied and frac is not None:
        counted = tf.math.unsorted_segment_sum(frac[:, :1] * weight, group, n_groups)
        hazard -= event * tf.gather(counted, group)
    return loss, e * hazard - event


def _cumsum(x, sizes: tuple[int, ...], reverse: bool):
    """Cumulative sum of the rows, beginning anew in each stratum."""
    if len(sizes) == 1:
        return tf.cumsum(x, axis=0, reverse=reverse)
    return tf.concat([tf.cumsum(part, axis=0, reverse=reverse) for part in tf.split(x, sizes)], axis=0)


def negative_log_partial_likelihood(
    log_risk: ArrayLike,
    time: ArrayLike,
    event: ArrayLike,
    ties: str = "efron",
    strata: ArrayLike | None = None,
) -> tuple[float, np.ndarray]:
    """Loss (sum over events, R's -loglik) and its gradient by log-risk (n,), for n patients in any order.

    Raises ValueError for impossible times or log-risks, NoEventsError without events.
    """
    sets = risk_sets(time, event, strata, ties)
    h = np.asarray(log_risk, dtype=np.float64)
    if h.shape != sets.event.shape or not np.all(np.isfinite(h)):
        raise ValueError(f"log-risks must be {sets.event.shape[0]} finite numbers")
    ev = sets.event[:, None]
    loss, gradient = loss_and_gradient(
        tf.constant(h[sets.rows][:, None]),
        tf.constant(ev),
        tf.ones_like(ev),
        tf.constant(sets.frac[:, None]),
        sets.group,
        sets.first,
        sets.last,
        sets.sizes,
        sets.tied,
    )
    out = np.empty_like(h)
    out[sets.rows] = gradient.numpy()[:, 0]
    return float(loss.numpy()[0]), out
