"""What the stability analysis leaves: features that repeat themselves, and what the negative controls keep."""

from __future__ import annotations

import pandas as pd

THRESHOLDS = (0.5, 0.75, 0.9)  # moderate, good, excellent: Koo and Li 2016, doi 10.1016/j.jcm.2016.02.012
GOOD = 0.75
TEXTURE = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")


def passing(lowest: pd.Series) -> pd.DataFrame:
    """Features (of all) whose lowest ICC reaches each threshold; ``lowest`` as of ``agreement.lowest_icc``."""
    counts = [int((lowest >= threshold).sum()) for threshold in THRESHOLDS]
    return pd.DataFrame({"lowest ICC at least": THRESHOLDS, "features": counts, "of": len(lowest)})


def kept_in_controls(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of the texture features with a good ICC in each negative control; ``frame`` as of ``stability_frame``."""
    part = frame[frame["family"].isin(["shuffled", "moved"]) & frame["class"].isin(TEXTURE)]
    good = part["icc"].ge(GOOD).groupby(part["family"], sort=False)
    return pd.DataFrame({"texture features": good.size(), f"share with ICC >= {GOOD:g}": good.mean()})
