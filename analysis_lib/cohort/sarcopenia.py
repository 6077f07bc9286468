"""Muscle indices by height, and the verdict of each definition of sarcopenia.

Apart from the measuring of images: a new cut-off must not have to wait for them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import DefinitionParams


def add_height_indices(table: pd.DataFrame) -> pd.DataFrame:
    """Add SMI and PMI in cm2/m2 from the areas and ``height_m``."""
    return table.assign(
        smi=table["sm_area_cm2"] / table["height_m"] ** 2,
        pmi=table["pm_area_cm2"] / table["height_m"] ** 2,
    )


def cut_offs(table: pd.DataFrame, definition: DefinitionParams) -> pd.Series:
    """The definition's cut-off for each patient's sex (``M`` or ``F``), and BMI where it has BMI classes.

    Missing where sex is and the cut-offs of men and women differ, or where BMI is and those of the classes do.
    """
    cut_off = _by_sex(table["sex"], definition.men, definition.women)
    bmi = table["bmi"] if "bmi" in table else pd.Series(np.nan, table.index)
    unknown = pd.Series(False, table.index)
    for group in sorted(definition.bmi_classes, key=lambda c: c.bmi_at_least):
        in_class = _by_sex(table["sex"], group.men, group.women)
        unknown |= bmi.isna() & (in_class != cut_off)
        cut_off = cut_off.mask(bmi >= group.bmi_at_least, in_class)
    return cut_off.mask(unknown)


def _by_sex(sex: pd.Series, men: float, women: float) -> pd.Series:
    of_sex = sex.map({"M": men, "F": women}).astype(float)
    return of_sex.fillna(men) if men == women else of_sex


def sarcopenic(table: pd.DataFrame, definition: DefinitionParams) -> pd.Series:
    """Whether each patient lies below the definition's cut-off, see ``cut_offs``.

    Returns a nullable boolean Series, missing where index or cut-off is missing.
    """
    cut_off = cut_offs(table, definition)
    index = table[definition.column].astype(float)
    return (index < cut_off).astype("boolean").mask(index.isna() | cut_off.isna())
