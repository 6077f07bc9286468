"""How well a model of given settings tells patients it did not learn from, by cross-validated partial likelihood.

Verweij PJM, van Houwelingen HC. Stat Med 1993;12:2305, doi 10.1002/sim.4780122407.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.partial_likelihood import negative_log_partial_likelihood
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams


def cross_validated_loss(
    features: pd.DataFrame,
    months: np.ndarray,
    died: np.ndarray,
    fold: np.ndarray,
    autoencoder: AutoEncoderParams,
    network: NetworkParams,
    seed: int,
    strata: ArrayLike | None = None,
) -> float:
    """Negative log partial likelihood per event of the held-out patients, by all patients less the fitted ones.

    fold : (n,) number of each patient's fold; the model, AutoEncoder included, is fitted to those of the others. Risks
    are scaled by the slope that fits them best, the same for all folds, because a standardised risk has no scale of
    its own.
    """
    strata = np.zeros(len(died), int) if strata is None else np.unique(strata, return_inverse=True)[1]
    risks = np.empty((fold.max() + 1, len(died)))
    for k in range(len(risks)):
        fit = fold != k
        part = (features[fit], months[fit], died[fit], autoencoder, network)
        fitted = RadiomicsSurvivalModel.fit(*part, derived_seed(seed, 16, k), strata[fit])
        risks[k] = fitted.risk(features)

    def loss(slope: float) -> float:
        total = 0.0
        for k, risk in enumerate(risks):
            fit = fold != k
            total += negative_log_partial_likelihood(slope * risk, months, died, strata=strata)[0]
            total -= negative_log_partial_likelihood(slope * risk[fit], months[fit], died[fit], strata=strata[fit])[0]
        return total / died.sum()

    return float(minimize_scalar(loss, bounds=(0.0, 3.0), method="bounded").fun)
