"""Intraclass correlation: how far a measurement repeats itself when it is disturbed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import fdtri


def icc_agreement(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """ICC(A,1) of a table (subjects, measurements) and its interval (icc, low, high).

    Two-way random effects, absolute agreement, single measurement: a shift by which one measurement differs from
    the others in every subject counts as disagreement. McGraw and Wong 1996, doi 10.1037/1082-989X.1.1.30 (the
    same as ICC(2,1) of Shrout and Fleiss 1979). NaN where the subjects do not differ at all.
    """
    values = np.asarray(values, dtype=float)
    n, k = values.shape
    if n < 2 or k < 2:
        return np.nan, np.nan, np.nan
    mean = values.mean()
    subjects, measurements = values.mean(axis=1), values.mean(axis=0)
    between = k * ((subjects - mean) ** 2).sum() / (n - 1)
    across = n * ((measurements - mean) ** 2).sum() / (k - 1)
    rest = values - subjects[:, None] - measurements[None, :] + mean
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    negligible = 1e-24 * max(mean * mean, (values**2).max())  # rounding of equal numbers
    if between <= negligible:
        return np.nan, np.nan, np.nan
    if error <= negligible and across <= negligible:
        return 1.0, 1.0, 1.0
    icc = (between - error) / (between + (k - 1) * error + k / n * (across - error))
    if icc >= 1:  # to the last digit
        return 1.0, 1.0, 1.0
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    freedom = (a * across + b * error) ** 2 / ((a * across) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
    tail = 1 - (1 - confidence) / 2
    f_low, f_high = fdtri(n - 1, freedom, tail), fdtri(freedom, n - 1, tail)
    remainder = k * across + (k * n - k - n) * error
    low = n * (between - f_low * error) / (f_low * remainder + n * between)
    high = n * (f_high * between - error) / (remainder + n * f_high * between)
    return float(icc), float(low), float(high)


def icc_table(values: pd.DataFrame, families: dict[str, list[str]], confidence: float = 0.95) -> pd.DataFrame:
    """ICC(A,1) of every column of ``values`` within every family of repetitions.

    values: index (patient_id, variant); families: name -> variants that are compared, the undisturbed one first.
    Patients without one of a family's variants do not count in it. Returns columns feature, family, icc, low,
    high, patients, repetitions.
    """
    rows = []
    for family, variants in families.items():
        wide = [values.xs(variant, level="variant") for variant in variants]
        complete = wide[0].index
        for part in wide[1:]:
            complete = complete.intersection(part.index)
        stack = np.stack([part.loc[complete].to_numpy() for part in wide], axis=1)  # patients, variants, features
        for number, feature in enumerate(values.columns):
            icc, low, high = icc_agreement(stack[:, :, number], confidence)
            rows.append((feature, family, icc, low, high, len(complete), len(variants)))
    return pd.DataFrame(rows, columns=["feature", "family", "icc", "low", "high", "patients", "repetitions"])


def lowest_icc(table: pd.DataFrame) -> pd.Series:
    """Each feature's lowest ICC over mask, bins and noise, in the order of ``icc_table``; NaN where one has none."""
    wide = table[table["family"].isin(["mask", "bins", "noise"])].pivot(index="feature", columns="family", values="icc")
    return wide.min(axis=1, skipna=False).reindex(table["feature"].unique())


def stable_features(table: pd.DataFrame, min_icc: float) -> list[str]:
    """Features whose lowest ICC is at least ``min_icc``; one that is the same in all patients has none and goes.

    Raises ValueError if none is left.
    """
    lowest = lowest_icc(table)
    kept = lowest.index[lowest >= min_icc].tolist()
    if not kept:
        raise ValueError(f"no feature has an ICC of {min_icc:g} or more; lower features.min_icc")
    return kept
