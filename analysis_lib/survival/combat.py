"""ComBat: shift and spread that a scanner gives each feature, learnt of the training patients and taken from all.

Parametric empirical Bayes of Johnson, Li and Rabinovic 2007 (10.1093/biostatistics/kxj037) without covariates, as it is
used for radiomics (Orlhac 2019, 10.1148/radiol.2019182023; how many patients a batch takes: 2022,
10.2967/jnumed.121.262464). A fitted one is a table of numbers, so what happens to a patient depends on nobody else
but the training patients. A missing value stays missing, and counts in no sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis_lib.common.errors import StudyError

STEPS, TOLERANCE = 1000, 1e-8  # of the two estimates, each of which is the other's condition


class CombatError(StudyError, ValueError):
    """The training patients do not allow it; the message names the batches and the fix."""


@dataclass(frozen=True)
class Combat:
    """``center`` and ``spread`` (p,): mean and pooled SD of each feature; ``shift`` and ``scale`` (batches x p): what a
    batch adds to the mean, in pooled SDs, and by which factor its SD is the pooled one.
    """

    center: pd.Series
    spread: pd.Series
    shift: pd.DataFrame
    scale: pd.DataFrame

    @classmethod
    def fit(cls, features: pd.DataFrame, batch: pd.Series) -> Combat:
        """Learn from training patients (n x p) and their batch (n,), in one order; who has no batch does not count.

        A feature that is the same in all stays as it is. Raises CombatError where there are not two batches of two.
        """
        known = batch.notna().to_numpy()
        x, labels = features.to_numpy(np.float64)[known], _labels(batch)[known]
        names, sizes = np.unique(labels, return_counts=True)
        if len(names) < 2 or sizes.min() < 2:
            counts = ", ".join(map(str, sizes)) or "none"
            raise CombatError(f"ComBat needs two batches of two training patients or more, and there are {counts}")
        parts = [labels == name for name in names]
        center = _mean(x)
        spread = np.sqrt(_mean(np.concatenate([x[part] - _mean(x[part]) for part in parts]) ** 2))
        varies = spread > 1e-9 * np.abs(center)
        z = (x[:, varies] - center[varies]) / spread[varies]
        shift, scale = np.zeros((len(names), x.shape[1])), np.ones((len(names), x.shape[1]))
        for k, part in enumerate(parts):
            shift[k, varies], scale[k, varies] = _posterior(z[part])
        columns = features.columns
        center, spread = np.where(varies, center, 0.0), np.where(varies, spread, 1.0)
        tables = [pd.DataFrame(values, names, columns) for values in (shift, scale)]
        return cls(pd.Series(center, columns), pd.Series(spread, columns), *tables)

    def transform(self, features: pd.DataFrame, batch: pd.Series) -> pd.DataFrame:
        """The features of patients (rows) of these batches, in the same order; of a batch that was not learnt from, and
        of none, as they are.
        """
        x, labels, known = features.to_numpy(np.float64, copy=True), _labels(batch), batch.notna().to_numpy()
        center, spread = self.center.to_numpy(), self.spread.to_numpy()
        for name in self.shift.index:
            rows = (labels == name) & known
            z = ((x[rows] - center) / spread - self.shift.loc[name].to_numpy()) / self.scale.loc[name].to_numpy()
            x[rows] = z * spread + center
        return pd.DataFrame(x, features.index, features.columns)


def fit_where_possible(features: pd.DataFrame, batch: pd.Series) -> Combat | None:
    """As ``Combat.fit``, but batches of one patient do not count; None where less than two are left."""
    counts = batch.value_counts()
    batch = batch.where(batch.isin(counts.index[counts >= 2]))
    return Combat.fit(features, batch) if batch.nunique() >= 2 else None


def _labels(batch: pd.Series) -> np.ndarray:
    return batch.to_numpy(object).astype(str)


def _mean(x: np.ndarray) -> np.ndarray:
    """Of each column the mean of what is known; 0 where nothing is."""
    return np.nansum(x, axis=0) / np.maximum((~np.isnan(x)).sum(axis=0), 1)


def _posterior(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD of each feature (p,) in a batch's patients ``z`` (n, p), drawn towards those of all features."""
    n = (~np.isnan(z)).sum(axis=0)
    mean = _mean(z)
    squares = np.nansum((z - mean) ** 2, axis=0)
    told = n >= 2  # a feature that is missing in the batch tells nothing, and stays as it is
    variance = squares / np.maximum(n - 1, 1)
    if told.sum() < 2 or not (width := variance[told].var(ddof=1)) > 0:
        return np.where(told, mean, 0.0), np.where(told & (variance > 0), np.sqrt(variance), 1.0)
    prior, between, middle = mean[told].mean(), mean[told].var(ddof=1), variance[told].mean()
    a, b = 2 + middle**2 / width, middle + middle**3 / width
    g, d = mean, np.where(told, variance, 1.0)
    for _ in range(STEPS):
        new_g = (between * n * mean + d * prior) / (between * n + d)
        new_d = (b + 0.5 * np.nansum((z - new_g) ** 2, axis=0)) / (n / 2 + a - 1)
        moved = max(np.abs(new_g - g).max(), np.abs(new_d - d).max())
        g, d = new_g, new_d
        if moved < TOLERANCE:
            break
    return np.where(told, g, 0.0), np.where(told, np.sqrt(d), 1.0)
