"""Radiomics features on one scale, learnt from training patients only.

Radiomics features differ by ten orders of magnitude and many have one tail that is a hundred times longer
than the other (energies, zone emphases). A mean and SD would be set by three patients, and a squared
reconstruction error would be theirs too. So each feature goes through

1. a robust z-value, (x - median) / (IQR / 1.349), which outliers cannot move;
2. asinh, which is linear within a robust SD and logarithmic beyond it: the order of the patients is kept,
   and the sign, which a plain logarithm cannot take;
3. mean 0 and SD 1 over the training patients, so that every feature counts the same in the AutoEncoder;
4. a clip, so that a broken image in a test set cannot drive a network to where it never was.

A missing value takes the training median; a feature without variance becomes 0. Both are reported.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import write_text

IQR_PER_SD = 1.3489795003921634  # of a normal distribution


class FeatureError(StudyError, ValueError):
    """The features are not the ones the model was fitted on; the message says which differ."""


@dataclass(frozen=True)
class FeatureScaler:
    """Fitted scaling. ``table`` has a row a feature: median, scale, mean, sd, low, high (range of the training
    patients), constant, n_missing, n_clipped (the last two counted in the training patients). ``clip`` is in SDs.
    """

    table: pd.DataFrame
    clip: float

    @classmethod
    def fit(cls, features: pd.DataFrame, clip: float = 5.0) -> FeatureScaler:
        """Learn the scaling from training patients (rows) x features (columns).

        Raises FeatureError for no rows or a column that is not numeric or appears twice.
        """
        if len(features) == 0:
            raise FeatureError("no training patients to scale features by")
        if repeated := features.columns[features.columns.duplicated()].tolist():
            raise FeatureError(f"features named twice: {_some(repeated)}")
        # Each column sorted, so that no sum depends on the order in which the patients were listed.
        x = np.sort(_numbers(features), axis=0)
        missing = np.isnan(x)
        n_known = (~missing).sum(axis=0)
        x[:, n_known == 0] = 0.0
        low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
        percentile = np.nanpercentile if missing.any() else np.percentile  # the first goes by one column at a time
        q25, median, q75 = percentile(x, [25, 50, 75], axis=0)
        deviation = np.where(np.isnan(x), 0.0, x - median)
        spread = np.sqrt(np.mean(deviation**2, axis=0))
        # round-off of a constant is no variance: 1e-9 of its size is far above float64, far below a texture
        constant = ~(spread > 1e-9 * np.abs(median))
        scale = (q75 - q25) / IQR_PER_SD
        # a feature that is the same in most patients has no IQR; its SD is the next best
        scale = np.where(scale > 1e-9 * np.abs(median), scale, spread)
        scale = np.where(constant, 1.0, scale)
        y = np.arcsinh(deviation / scale)
        mean, sd = y.mean(axis=0), y.std(axis=0)
        y_inside = np.clip(y, mean - clip * sd, mean + clip * sd)  # else one patient still sets the SD
        mean, sd = y_inside.mean(axis=0), y_inside.std(axis=0)
        constant |= ~(sd > 1e-9)
        z = np.where(constant, 0.0, (y - mean) / np.where(constant, 1.0, sd))
        table = pd.DataFrame(
            {
                "median": median,
                "scale": scale,
                "mean": np.where(constant, 0.0, mean),
                "sd": np.where(constant, 1.0, sd),
                "low": low,
                "high": high,
                "constant": constant,
                "n_missing": missing.sum(axis=0),
                "n_clipped": (np.abs(z) > clip).sum(axis=0),
            },
            index=pd.Index(features.columns.astype(str), name="feature"),
        )
        return cls(table, float(clip))

    @property
    def names(self) -> list[str]:
        """Features in the order of the scaled columns."""
        return self.table.index.tolist()

    def transform(self, features: pd.DataFrame) -> np.ndarray:
        """Scaled features, float32, patients x features, finite and within +-clip.

        Columns may come in any order. Raises FeatureError for columns that are missing or unknown.
        """
        have, want = set(features.columns.astype(str)), set(self.names)
        if have != want or features.columns.has_duplicates:
            raise FeatureError(
                "the features are not those the model was fitted on: "
                f"missing {_some(sorted(want - have))}; unknown {_some(sorted(have - want))}"
            )
        t = self.table
        x = _numbers(features.set_axis(features.columns.astype(str), axis=1)[self.names])
        z = (x - t["median"].to_numpy()) / t["scale"].to_numpy()
        z = np.arcsinh(np.where(np.isnan(z), 0.0, z))  # missing: the training median
        z = (z - t["mean"].to_numpy()) / t["sd"].to_numpy()
        z[:, t["constant"].to_numpy()] = 0.0
        return np.clip(z, -self.clip, self.clip).astype(np.float32)

    def out_of_range(self, features: pd.DataFrame) -> pd.Series:
        """Share (0 to 1) of each patient's features that lie outside the range of the training patients."""
        x = _numbers(features.set_axis(features.columns.astype(str), axis=1)[self.names])
        outside = (x < self.table["low"].to_numpy()) | (x > self.table["high"].to_numpy())
        return pd.Series(outside.mean(axis=1), index=features.index, name="out_of_range")

    def report(self) -> pd.DataFrame:
        """Features that needed care: constant, missing or clipped in some training patient."""
        t = self.table
        care = t["constant"] | (t["n_missing"] > 0) | (t["n_clipped"] > 0)
        return t.loc[care, ["constant", "n_missing", "n_clipped"]]

    def save(self, path: Path) -> None:
        """Write as JSON; ``load`` gives the same bits back (float repr round-trips)."""
        columns = {name: column.tolist() for name, column in self.table.items()}
        write_text(path, json.dumps({"clip": self.clip, "feature": self.names, **columns}) + "\n")

    @classmethod
    def load(cls, path: Path) -> FeatureScaler:
        """Read what ``save`` wrote."""
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        clip, names = raw.pop("clip"), raw.pop("feature")
        return cls(pd.DataFrame(raw, index=pd.Index(names, name="feature")), clip)


def canonical_order(x: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Row numbers sorted by ``keys`` (first key first), then by the mean of the row, then by a digest of it.

    Sums of floats and random numbers depend on the order of rows; fitting in this order makes a model
    independent of the order in which the patients were listed. The mean, because a digest alone would deal the random
    numbers anew when the last digit of one feature is another.
    """
    x = np.ascontiguousarray(x)
    middle = x.mean(axis=1, dtype=np.float64) if x.size else np.zeros(len(x))
    digest = np.array([hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in x], dtype="S8")
    digest = digest.view(">u8") if len(digest) else np.empty(0, ">u8")
    return np.lexsort((digest, middle, *reversed([np.asarray(k) for k in keys])))


def _numbers(features: pd.DataFrame) -> np.ndarray:
    try:
        x = features.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    except (TypeError, ValueError):
        bad = [str(c) for c in features.columns if not pd.api.types.is_numeric_dtype(features[c])]
        raise FeatureError(f"features that are not numbers: {_some(bad)}") from None
    x[~np.isfinite(x)] = np.nan
    return x


def _some(names: list[str]) -> str:
    return ", ".join(map(str, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
