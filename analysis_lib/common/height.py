"""Areas by height that no definition of the letter is of.

Apart from ``sarcopenia``, to whose code the synthetic patients are drawn: a new index draws none again.
"""

from __future__ import annotations

import pandas as pd

from analysis_lib.common import sarcopenia

# Area of each index by height.
BY_HEIGHT = {
    "smi": "sm_area_cm2",
    "pmi": "pm_area_cm2",
    "nama_index": "nama_area_cm2",
    "lama_index": "lama_area_cm2",
}


def add_indices(table: pd.DataFrame) -> pd.DataFrame:
    """Add SMI and PMI, and the indices of normal and low attenuation, in cm2/m2 from the areas and ``height_m``."""
    further = {index: table[area] / table["height_m"] ** 2 for index, area in [*BY_HEIGHT.items()][2:]}
    return sarcopenia.add_height_indices(table).assign(**further)
