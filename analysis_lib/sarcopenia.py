"""Muscle indices by height, and the verdict of each definition of sarcopenia.

Apart from the measuring of images: a new cut-off must not have to wait for them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.params import DefinitionParams


def add_height_indices(table: pd.DataFrame) -> pd.DataFrame:
    """Add SMI and PMI in cm2/m2 from the areas and ``height_m``."""
    return table.assign(
        smi=table["sm_area_cm2"] / table["height_m"] ** 2,
        pmi=table["pm_area_cm2"] / table["height_m"] ** 2,
    )


def cut_offs(table: pd.DataFrame, definition: DefinitionParams) -> pd.Series:
    """The definition's cut-off for each patient's sex (``M`` or ``F``), and BMI where it has BMI classes.

    Missing where sex is, or where BMI is and the sex's cut-offs differ between classes.
    """
    cut_off = table["sex"].map({"M": definition.men, "F": definition.women}).astype(float)
    bmi = table["bmi"] if "bmi" in table else pd.Series(np.nan, table.index)
    unknown = pd.Series(False, table.index)
    for group in sorted(definition.bmi_classes, key=lambda c: c.bmi_at_least):
        in_class = table["sex"].map({"M": group.men, "F": group.women}).astype(float)
        unknown |= bmi.isna() & (in_class != cut_off)
        cut_off = cut_off.mask(bmi >= group.bmi_at_least, in_class)
    return cut_off.mask(unknown)


def sarcopenic(table: pd.DataFrame, definition: DefinitionParams) -> pd.Series:
    """Whether each patient lies below the definition's cut-off, see ``cut_offs``.

    Returns a nullable boolean Series, missing where index or cut-off is missing.
    """
    cut_off = cut_offs(table, definition)
    index = table[definition.column].astype(float)
    return (index < cut_off).astype("boolean").mask(index.isna() | cut_off.isna())
