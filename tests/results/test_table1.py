"""Table 1 says what the table of patients holds, and how many lack it."""

import numpy as np
import pandas as pd

from analysis_lib.core.parameters import load_params
from analysis_lib.results.table1 import table_one

COHORT = load_params("defaults").cohort


def test_table_one_on_known_numbers():
    table = pd.DataFrame({"patient_id": list("abcd"), "set": ["discovery"] * 3 + ["lt"], "sex": ["M", "M", "F", "F"]})
    for name in (
        "os_event",
        "rfs_event",
        "tumour_single",
        "vascular_invasion",
        "os_months",
        "sm_area_cm2",
        "smi",
    ):
        table[name] = [1.0, 0.0, np.nan, np.nan]
    for name in ("sm_mean_hu", "pm_area_cm2", "pmi", "pm_mean_hu", "bmi", "tumour_diameter_over_5cm"):
        table[name] = 1.0
    table["age"] = [50.0, 60.0, 70.0, np.nan]
    result = table_one(table, COHORT).set_index("characteristic")
    assert result.at["Age, years, mean ± SD", "discovery"] == "60.0 ± 10.0"
    assert result.at["Age, years, mean ± SD", "lt"] == "NA"
    assert result.at["Male, n (%)", "discovery"] == "2 (66.7%)"
    assert result.at["Vascular invasion, n (%)", "discovery"] == "1 (50.0%)"
    assert result.at["Vascular invasion, n (%)", "discovery_missing"] == 1
    assert result.at["Vascular invasion, n (%)", "external"] == "NA"
    # of months 1 (dead) and 0 (alive) nobody's end of follow-up is seen but that at 0
    assert result.at["Follow-up (OS, reverse Kaplan-Meier), months, median", "discovery"] == "0.0"
    assert result.at["Follow-up (OS, reverse Kaplan-Meier), months, median", "lt"] == "NA"
    for threshold in (3.0, 4.5, 5.0):
        labels = table_one(table, COHORT, threshold)["characteristic"]
        assert f"Total tumour diameter > {threshold:g} cm, n (%)" in labels.tolist()
