"""Muscle indices by height, and the verdict of each definition of sarcopenia: the one rule of a cut-off.

Common to the study, which judges patients by it, and to the stand-in cohort, which is drawn to it. Apart from the
measuring of images: a new cut-off must not have to wait for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd


class CutOffs(Protocol):
    """Cut-offs of an index, in its unit."""

    @property
    def men(self) -> float:
        """Cut-off for men."""

    @property
    def women(self) -> float:
        """Cut-off for women."""


class BmiCutOffs(CutOffs, Protocol):
    """Cut-offs that replace the general ones from a BMI on."""

    @property
    def bmi_at_least(self) -> float:
        """Lowest BMI of the class, kg/m2."""


class Definition(CutOffs, Protocol):
    """A definition of sarcopenia: below the cut-off of an index is sarcopenic."""

    @property
    def column(self) -> str:
        """Index that is compared, a column of the patients' table."""

    @property
    def bmi_classes(self) -> Sequence[BmiCutOffs]:
        """Classes of BMI with cut-offs of their own."""


# The area of each index by height: of SM and PM, and of SM of normal and of low attenuation.
BY_HEIGHT = {
    "smi": "sm_area_cm2",
    "pmi": "pm_area_cm2",
    "nama_index": "nama_area_cm2",
    "lama_index": "lama_area_cm2",
}


def add_height_indices(table: pd.DataFrame) -> pd.DataFrame:
    """Add the indices BY_HEIGHT in cm2/m2 of the areas that the table has, from ``height_m``."""
    there = {index: area for index, area in BY_HEIGHT.items() if area in table}
    return table.assign(**{index: table[area] / table["height_m"] ** 2 for index, area in there.items()})


def cut_offs(table: pd.DataFrame, definition: Definition) -> pd.Series:
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


def sarcopenic(table: pd.DataFrame, definition: Definition) -> pd.Series:
    """Whether each patient lies below the definition's cut-off, see ``cut_offs``.

    Returns a nullable boolean Series, missing where index or cut-off is missing.
    """
    cut_off = cut_offs(table, definition)
    index = table[definition.column].astype(float)
    return (index < cut_off).astype("boolean").mask(index.isna() | cut_off.isna())
