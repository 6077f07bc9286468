"""Where the training patients lay, so that a patient unlike them is seen before the model's answer is believed.

Two questions are asked of a new patient. How many features lie outside the span (smallest to largest value) of the
training patients: that finds another scanner, kernel, contrast phase or number of slices, and each feature can be
named. And how badly the AutoEncoder rebuilds the scaled features: that finds combinations that no training patient
had although each value alone is common. Both limits are the 99th percentile over the training patients. For the
span each of them is compared with the others only, as a new patient is with all; the AutoEncoder has seen them, so
its limit is somewhat strict.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis_lib.common.files import write_text

QUANTILE = 0.99
TOLERANCE = 1e-6  # of a feature's size: the rounding of two builds of the same libraries, no difference in a patient


@dataclass(frozen=True)
class TrainingRange:
    """``span``: lower and upper value of each feature (index) in ``n_patients`` training patients.

    share_limit : 99th percentile of the share of features in which a training patient lies outside the others.
    error_limit : 99th percentile of their reconstruction error, in SDs squared; None without an AutoEncoder.
    last_month : longest observed time, beyond which the baseline hazard says nothing.
    """

    span: pd.DataFrame
    n_patients: int
    last_month: float
    share_limit: float
    error_limit: float | None

    @classmethod
    def fit(cls, features: pd.DataFrame, months: ArrayLike, error: np.ndarray | None = None) -> TrainingRange:
        """Of features (n patients, d), their observed months (n,) and reconstruction errors (n,)."""
        x = features.to_numpy(np.float64, na_value=np.nan, copy=True)
        x[~np.isfinite(x)] = np.nan
        ordered = np.sort(x, axis=0)
        alone = np.zeros(x.shape, bool)
        if len(x) > 1:
            alone = (x < ordered[1]) | (x > ordered[-2])  # outside the span of the others
        return cls(
            # fmin and fmax pass over missing values
            pd.DataFrame({"lower": np.fmin.reduce(x), "upper": np.fmax.reduce(x)}, features.columns.astype(str)),
            len(x),
            float(np.max(months)),
            float(np.quantile(alone.mean(axis=1), QUANTILE)),
            None if error is None else float(np.quantile(error, QUANTILE)),
        )

    def outside(self, features: pd.DataFrame) -> pd.DataFrame:
        """How far each feature lies outside the span, in widths of the span; 0 inside (patients x features)."""
        x = features[self.span.index].to_numpy(np.float64)
        lower, upper = self.span["lower"].to_numpy(), self.span["upper"].to_numpy()
        size = np.maximum(np.abs(lower), np.abs(upper))
        beyond = np.maximum(lower - x, x - upper)
        # a feature that no training patient varied in has no width; any other value is far outside
        widths = beyond / np.where(upper > lower, upper - lower, np.maximum(TOLERANCE * size, np.finfo(float).tiny))
        return pd.DataFrame(np.where(beyond > TOLERANCE * size, widths, 0.0), features.index, self.span.index)

    def save(self, path: Path) -> None:
        """Write as JSON; ``load`` gives the same bits back."""
        numbers = {name: getattr(self, name) for name in ("n_patients", "last_month", "share_limit", "error_limit")}
        columns = {name: column.tolist() for name, column in self.span.items()}
        write_text(path, json.dumps({**numbers, "feature": self.span.index.tolist(), **columns}) + "\n")

    @classmethod
    def load(cls, path: Path) -> TrainingRange:
        """Read what ``save`` wrote."""
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        span = pd.DataFrame({name: raw.pop(name) for name in ("lower", "upper")}, raw.pop("feature"))
        return cls(span, **raw)
