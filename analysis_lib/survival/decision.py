"""Clinical use of predicted risks: decision curves, by the package dcurves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


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
    nobody.
    Source: Vickers 2006, doi:10.1177/0272989X06295361.
    """
    from dcurves import dca  # here, because it loads statsmodels, which takes seconds

    data = pd.DataFrame(probability, columns=list(models)).assign(os_months=time, os_event=event.astype(bool))
    found = dca(
        data=data,
        outcome="os_event",
        modelnames=list(models),
        thresholds=np.array(thresholds),
        time=month,
        time_to_outcome_col="os_months",
    )
    return found[["model", "threshold", "net_benefit"]].reset_index(drop=True)
