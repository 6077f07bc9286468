"""C-index with its intervals, and horizons past the follow-up."""

from __future__ import annotations

import pytest
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.results import MODEL
from analysis_lib.results.discrimination import c_index_intervals, discrimination, marker_table
from analysis_lib.results.published import published_intervals
from analysis_lib.survival import survival


def test_intervals_of_the_c_index():
    markers = marker_table(PATIENTS, PATIENTS.set_index("patient_id")["risk"], PARAMS.definitions)
    found = c_index_intervals(PATIENTS, markers, PARAMS.cohort, STATISTICS, 1)
    row = found[(found["set"] == "lt") & (found["model"] == MODEL)].iloc[0]
    part = PATIENTS[PATIENTS["split"] == "lt"]
    assert row["harrell"] == survival.c_index(part["time_months"], part["event"], part["risk"])
    assert row["uno"] == survival.uno_c_index(part["time_months"], part["event"], part["risk"], tau=60)
    for kind in ("percentile", "bca", "analytic"):
        assert row[f"{kind}_low"] < row["harrell"] < row[f"{kind}_high"]
    printed = published_intervals(found, {"lt": [0.653, 0.633, 0.677], "elsewhere": [0.6, 0.5, 0.7]})
    assert printed["set"].tolist() == ["lt"] and printed["width_published"].iloc[0] == pytest.approx(0.044)


def test_a_definition_by_which_nobody_or_everybody_is_sarcopenic_has_no_c_index():
    markers = marker_table(PATIENTS, PATIENTS.set_index("patient_id")["risk"], PARAMS.definitions)
    nobody, everybody, *others = list(PARAMS.definitions)
    inside = PATIENTS.set_index("patient_id")["split"] == "lt"
    markers.loc[inside, [nobody, everybody]] = [0.0, 1.0]
    found = discrimination(PATIENTS, markers, PARAMS.cohort, STATISTICS, 1)
    intervals = c_index_intervals(PATIENTS, markers, PARAMS.cohort, STATISTICS, 1)
    for table, value in ((found["c_index"], "c_index"), (intervals, "harrell")):
        here = table[table["set"] == "lt"].set_index("model")[value]
        assert here[[nobody, everybody]].isna().all() and here[[MODEL, *others]].notna().all()
        assert table[table["set"] != "lt"][value].notna().all()
    assert {nobody, everybody}.isdisjoint(found["auc"][found["auc"]["set"] == "lt"]["model"])


def test_the_auc_begins_where_enough_have_died():
    markers = marker_table(PATIENTS, PATIENTS.set_index("patient_id")["risk"], PARAMS.definitions)
    statistics = STATISTICS.model_copy(update={"auc_min_deaths": 9, "bootstrap_replicates": 100})
    found = discrimination(PATIENTS, markers, PARAMS.cohort, statistics, 1)
    for name in PARAMS.cohort.test_sets:
        part = PATIENTS[PATIENTS["split"] == name]
        died = {m: ((part["time_months"] <= m) & (part["event"] == 1)).sum() for m in statistics.curve_months()}
        curve = found["auc"][(found["auc"]["set"] == name) & (found["auc"]["model"] == MODEL)]
        assert curve["month"].tolist() == [m for m in died if died[m] >= 9 and (part["time_months"] > m).any()]
        assert curve["cases"].tolist() == [died[m] for m in curve["month"]]
        early = [f"{m:g}" for m in died if died[m] < 9]
        note = found["notes"].set_index("set")["note"][name]
        assert (f"fewer than 9 deaths by month {', '.join(early)}" in note) == bool(early)
