"""Clinical use of predicted risks: decision curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from analysis_lib.survival.resampling import bootstrap_counts, percentile_interval, sort_patients

ALL, NONE = "all", "none"  # everybody is treated, nobody is


def net_benefit(
    time: np.ndarray,
    event: np.ndarray,
    probability: np.ndarray,
    models: Sequence[str],
    thresholds: Sequence[float],
    month: float,
    replicates: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Net benefit of each model by threshold probability: model, threshold, net_benefit, net_benefit_low and _high.

    ``probability`` has shape (n, models): of the event by ``month``. Models 'all' and 'none' treat everybody and
    nobody. NaN where those above a threshold are not followed to ``month``. Intervals are percentiles of the bootstrap
    of patients with their predictions as they stand, the same resamples for every model.
    Source: Vickers 2008, doi:10.1186/1472-6947-8-53. Equal to the package dcurves to rounding (tested), which fits a
    Kaplan-Meier curve twice for each threshold, and so takes a second or more for each set and horizon.
    """
    groups: dict[bytes, int] = {}  # thresholds between which nobody lies share their patients and the curve
    members, group_of_row, rows = [], [], []
    for model, risk in zip([*models, ALL, NONE], [*probability.T, np.inf, -np.inf], strict=True):
        for threshold in thresholds:
            treated = np.broadcast_to(risk >= threshold, len(time))
            key = treated.tobytes()
            if key not in groups:
                groups[key] = len(groups)
                members.append(treated)
            rows.append((model, threshold))
            group_of_row.append(groups[key])
    table = pd.DataFrame(rows, columns=["model", "threshold"])
    everybody = np.ones((1, len(time)), dtype=np.uint16)
    benefits = []
    for counts in (everybody, bootstrap_counts(len(time), replicates, seed)):
        died, share = died_in(time, event, np.array(members), month, counts)
        benefits.append(_benefit(died[:, group_of_row], share[:, group_of_row], table["threshold"].to_numpy()))
    low, high = percentile_interval(benefits[1], confidence)
    return table.assign(net_benefit=benefits[0][0], net_benefit_low=low, net_benefit_high=high)


def _benefit(died, share, threshold):
    """Net benefit of treating a ``share`` of whom a share has ``died`` (or arrays of both)."""
    true, false = died * share, (1 - died) * share
    return true - threshold / (1 - threshold) * false


def died_in(
    time: np.ndarray, event: np.ndarray, treated: NDArray[np.bool_], month: float, counts: NDArray[np.uint16]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each group ``treated`` (groups, n) in each replicate, the share dead by ``month`` and that of all patients.

    ``counts`` (replicates, n): how often each patient is drawn. Both have shape (replicates, groups). The first is
    1 - Kaplan-Meier: NaN where nobody drawn is followed to the month, 0 where nobody is drawn.
    """
    order = sort_patients(time, event)
    drawn = np.ascontiguousarray(counts[:, order.patient_of_row])
    died = np.empty((len(counts), len(treated)))
    share = np.empty_like(died)
    members = np.ascontiguousarray(treated[:, order.patient_of_row])
    _died_kernel(drawn, members, order.time, order.event, float(month), died, share)
    return died, share


@njit(cache=True, nogil=True)
def _died_kernel(counts, treated, time, event, month, died, share):
    """Rows in descending time, the censored of one time before its dead; each dead one is a step of the curve."""
    for replicate in range(len(counts)):
        for group in range(len(treated)):
            at_risk, alive, followed = 0, 1.0, False
            for row in range(len(time)):
                drawn = counts[replicate, row]
                if drawn == 0 or not treated[group, row]:
                    continue
                at_risk += drawn
                followed = followed or time[row] >= month
                if event[row] and time[row] <= month:
                    alive *= (at_risk - drawn) / at_risk
            died[replicate, group] = 1 - alive if followed or at_risk == 0 else np.nan
            share[replicate, group] = at_risk / len(time)
