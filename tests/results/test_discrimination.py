"""C-index with its intervals, and horizons past the follow-up."""

from __future__ import annotations

import pytest
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.results import MODEL
from analysis_lib.results.discrimination import c_index_intervals, marker_table
from analysis_lib.results.published import published_intervals
from analysis_lib.survival import survival


def test_intervals_of_the_c_index():
    markers = marker_table(PATIENTS, PATIENTS.set_index("patient_id")["risk"], PARAMS.definitions)
    found = c_index_intervals(PATIENTS, markers, PARAMS.cohort, STATISTICS, 1)
    row = found[(found["set"] == "lt") & (found["model"] == MODEL)].iloc[0]
    part = PATIENTS[PATIENTS["split"] == "lt"]
    assert row["harrell"] == survival.c_index(part["os_months"], part["os_event"], part["risk"])
    assert row["uno"] == survival.uno_c_index(part["os_months"], part["os_event"], part["risk"], tau=60)
    for kind in ("percentile", "bca", "analytic"):
        assert row[f"{kind}_low"] < row["harrell"] < row[f"{kind}_high"]
    printed = published_intervals(found, {"lt": [0.653, 0.633, 0.677], "elsewhere": [0.6, 0.5, 0.7]})
    assert printed["set"].tolist() == ["lt"] and printed["width_published"].iloc[0] == pytest.approx(0.044)
