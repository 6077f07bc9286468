"""Names of features, taken apart in one place: ``<region>_<image>_<class>_<Feature>``, in a study of two regions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd


class FeatureName(NamedTuple):
    """The parts of a feature's name."""

    region: str  # sm or pm; empty in the names that PyRadiomics gives
    image: str  # original, wavelet-LLH, log-sigma-3-0-mm-3D, ...
    class_name: str  # shape, shape2D, firstorder, glcm, ...
    feature: str


def parse(name: str) -> FeatureName:
    """The parts of a name; ValueError for one that is no feature's. No image, class or feature has an underscore."""
    parts = name.rsplit("_", 3)
    if len(parts) < 3:
        raise ValueError(f"'{name}' is no feature's name; it must read <region>_<image>_<class>_<Feature>")
    return FeatureName(*(["", *parts] if len(parts) == 3 else parts))


def name_table(names: Iterable[str]) -> pd.DataFrame:
    """One row a name, in their order: columns region, image, class, feature."""
    return pd.DataFrame([parse(name) for name in names], columns=["region", "image", "class", "feature"])
