"""High and low risk: one rule for every table, figure and prediction, and whose group the ensemble is unsure of."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pandas as pd

Values = TypeVar("Values", np.ndarray, pd.Series)

# What two risks must differ by to count as different; risks of training patients have SD near 1. The same networks
# in other hardware's arithmetic (single precision) give risks that differ by up to 1e-6, a hundredth of this; what one
# network differs from the next by is thousands of times more. Among 345 training patients neighbours at the median lie
# about 7e-3 apart, so the grain itself decides on a patient hardly ever.
GRAIN = 1e-4


def median_cutoff(risk: np.ndarray) -> float:
    """The cut-off of a study: the median risk (n,) of its training patients.

    With an odd number it is a patient's own risk, and he is at low risk. With an even one it is half-way between the
    two in the middle, of whom the lower is at low and the higher at high risk, unless they differ by no more than
    ``GRAIN``: then both are on it, and at low risk.
    """
    return float(np.median(_known(risk)))


def high_risk(risk: Values, cutoff: float) -> Values:
    """Whether each risk (n,) lies above the cut-off, (n,) bool: above is high, on it or below is low.

    The difference is rounded to ``GRAIN``. So the marks of the rounding lie where the cut-off is one of them, and a
    patient whose risk *is* the cut-off stands half a grain from the next edge wherever that risk may be; rounded
    to marks at multiples of the grain, he could stand on an edge, and his last bit would decide again.
    ValueError for a risk or a cut-off that is missing: nobody is at low risk for want of a number.
    """
    if not np.isfinite(cutoff):
        raise ValueError(f"the cut-off between the risk groups is {cutoff}; the model was not fitted to the end")
    return np.round((_known(risk) - cutoff) / GRAIN) > 0


def ensemble_spread(by_network: pd.DataFrame) -> pd.Series:
    """SD (n,) over the networks of each patient's standardised risk (n, k); NaN where there is one network alone.

    What members of an ensemble disagree by is what the training patients leave undecided (Lakshminarayanan B et al.
    NIPS 2017, 10.48550/arXiv.1612.01474). It is not divided by the square root of k as the error of a mean is: the
    networks learn from the same patients, behind one AutoEncoder, and what they share of its error stays, whatever k.
    """
    return by_network.std(axis=1, ddof=1).rename("spread")


def near_cutoff(risk: Values, spread: Values, cutoff: float) -> Values:
    """Whether each patient's risk lies no further from the cut-off than its own ``spread``, (n,) bool.

    Many of those come to the other group when the model is fitted again from other seeds. False where the spread is
    missing.
    """
    return abs(_known(risk) - cutoff) <= spread


def _known(risk: Values) -> Values:
    if not np.isfinite(risk).all():
        missing = int((~np.isfinite(risk)).sum())
        raise ValueError(f"{missing} of {len(risk)} risks are missing; score these patients, or leave them out")
    return risk
