"""Clinical use of predicted risks: decision curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

ALL, NONE = "all", "none"  # everybody is treated, nobody is


def net_benefit(
    time: np.ndarray,
    event: np.ndarray,
    probability: np.ndarray,
    models: Sequence[str],
    thresholds: Sequence[float],
    month: float,
) -> pd.DataFrame:
    """Net benefit of each model by threshold probability: model, threshold, net_benefit.

    ``probability`` has shape (n, models): of the event by ``month``. Models 'all' and 'none' treat everybody and
    nobody. NaN where those above a threshold are not followed to ``month``.
    Source: Vickers 2008, doi:10.1186/1472-6947-8-53. Equal to the package dcurves (tested), which fits a Kaplan-Meier
    curve twice for each threshold, and so takes a second or more for each set and horizon.
    """
    from lifelines import KaplanMeierFitter  # here, because it takes a second to load

    died: dict[bytes, float] = {}  # thresholds between which nobody lies share their patients and the curve

    def share_that_dies(treated: np.ndarray) -> float:
        if not treated.any():
            return 0.0
        if time[treated].max() < month:
            return np.nan
        curve = KaplanMeierFitter().fit(time[treated], event[treated])
        return 1 - float(curve.survival_function_at_times(month).iloc[0])

    rows = []
    for model, risk in zip([*models, ALL, NONE], [*probability.T, np.inf, -np.inf], strict=True):
        for threshold in thresholds:
            treated = np.broadcast_to(risk >= threshold, len(time))
            key = treated.tobytes()
            if key not in died:
                died[key] = share_that_dies(treated)
            true, false = died[key] * treated.mean(), (1 - died[key]) * treated.mean()
            rows.append((model, threshold, true - threshold / (1 - threshold) * false))
    return pd.DataFrame(rows, columns=["model", "threshold", "net_benefit"])
