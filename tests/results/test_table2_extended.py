"""The extended Table 2 repeats Table 2, counts what it adjusts for, and says what cannot be estimated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.common.sarcopenia import cut_offs, sarcopenic
from analysis_lib.results.table2 import table_two
from analysis_lib.results.table2_extended import covariate_table, extended_for_reading, extended_table
from analysis_lib.survival import evaluation
from analysis_lib.survival.cox import cox_fit


@pytest.fixture(scope="module")
def extended() -> pd.DataFrame:
    further = {k: PARAMS.further_definitions[k] for k in ("SMI Martin", "SMI JSH")}
    return extended_table(PATIENTS, PARAMS.definitions, further, PARAMS.cohort, STATISTICS, PARAMS.seed)


def test_extended_table_repeats_table_two(extended):
    table2 = table_two(PATIENTS, PARAMS.definitions, PARAMS.cohort, STATISTICS)
    keys = ["set", "definition", "outcome"]
    both = table2.merge(extended[extended["in_paper"]], on=keys, suffixes=("", "_extended"))
    assert len(both) == len(table2) == 25 and len(extended) == 35
    for column in ("n", "n_sarcopenic", "hr", "hr_low", "hr_high", "p"):
        np.testing.assert_array_equal(both[column], both[f"{column}_extended"])


def test_extended_table_counts_adjustment_and_families(extended):
    row = extended[(extended["set"] == "discovery") & (extended["definition"] == "SMI") & (extended["outcome"] == "OS")]
    row = row.iloc[0]
    assert row["mi_n"] == 240 and row["mi_imputed"] == 30 and row["cc_n"] == 210 and row["mi_m"] == 3
    assert row["covariates"] == "age male tumour_diameter_over_5cm tumour_single vascular_invasion"
    part = PATIENTS[(PATIENTS["set"] == "discovery") & PATIENTS["tumour_diameter_over_5cm"].notna()]
    x = covariate_table(part, STATISTICS.adjust_for)
    group = sarcopenic(part, PARAMS.definitions["SMI"]).astype(float)
    fit = cox_fit(part["os_months"], part["os_event"], x.assign(group=group).to_numpy())
    assert row["cc_hr"] == pytest.approx(np.exp(fit.coefficients[-1]), rel=1e-9)
    assert row["mi_low"] < row["mi_hr"] < row["mi_high"] and 0 < row["mi_fmi"] < 1
    external = extended[(extended["set"] == "external") & (extended["definition"] == "SMI")].iloc[0]
    assert "vascular_invasion" not in external["covariates"] and external["mi_imputed"] == 0
    assert external["mi_hr"] == external["cc_hr"]
    family = extended[(extended["set"] == "lt") & (extended["outcome"] == "OS")]
    paper = family[family["in_paper"]]
    np.testing.assert_allclose(paper["p_bh"], evaluation.benjamini_hochberg(paper["p"]))
    np.testing.assert_allclose(family["p_bh_all"], evaluation.benjamini_hochberg(family["p"]))
    assert family.loc[~family["in_paper"], "p_bh"].isna().all()


def test_few_events_and_empty_groups():
    rare = PATIENTS[PATIENTS["set"] == "lt"].copy()
    thin = [*rare.index[rare["os_event"] == 1][:2], *rare.index[rare["os_event"] == 0][:3]]
    rare["pm_mean_hu"] = 60.0
    rare.loc[thin, "pm_mean_hu"] = 30.0
    few = {"PD": PARAMS.definitions["PD"], "none": PARAMS.definitions["PD"].model_copy(update={"men": 0, "women": 0})}
    table = extended_table(rare, few, {}, PARAMS.cohort, STATISTICS, 1).set_index(["definition", "outcome"])
    row = table.loc[("PD", "OS")]
    assert row["events_sarcopenic"] < 5 and row["firth_low"] < row["firth_hr"] < row["firth_high"]
    nobody = table.loc[("none", "OS")]
    assert nobody[["hr", "firth_hr", "cc_hr", "mi_hr", "p_logrank", "rmst_difference"]].isna().all()
    assert nobody["note"] == "one group is empty"
    reading = extended_for_reading(table.reset_index(), {"lt": "LT"})
    assert (reading["HR (CI)"].to_numpy() == "NA").sum() >= 2


def test_bmi_classes():
    martin = PARAMS.further_definitions["SMI Martin"]
    table = pd.DataFrame({"sex": ["M", "M", "M", "F", "F", "M"], "bmi": [24.9, 25.0, np.nan, np.nan, 30, 40.0],
                          "smi": [44.0, 44, 44, 40, 42, 53]})  # fmt: skip
    np.testing.assert_array_equal(cut_offs(table, martin), [43, 53, np.nan, 41, 41, 53])
    assert sarcopenic(table, martin).tolist() == [False, True, pd.NA, True, False, False]
    # without the column no patient's class is known
    assert sarcopenic(table.drop(columns="bmi"), martin).isna().tolist() == [True, True, True, False, False, True]


def test_kept_imputations_are_those_that_would_be_drawn_again(tmp_path):
    arguments = (PATIENTS, PARAMS.definitions, {}, PARAMS.cohort, STATISTICS, 1)
    plain = extended_table(*arguments)
    for _ in range(2):
        pd.testing.assert_frame_equal(extended_table(*arguments, tmp_path), plain, check_exact=True)
    assert (plain["mi_m"] > 1).any() and list(tmp_path.rglob("*.pickle"))
