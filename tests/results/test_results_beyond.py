"""The extended table and what goes beyond the letter, on a small made-up cohort whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis_lib.cohort.sarcopenia import cut_offs, sarcopenic
from analysis_lib.core.parameters import load_params
from analysis_lib.figures.curves import calibration_grid, decision_grid, incidence_grid, spline_grid
from analysis_lib.results import MODEL
from analysis_lib.results.added_value import (
    ADDED,
    CLINICAL,
    MODELS,
    WITH,
    added_values,
    best_definition,
    brier_scores,
    decision_curves,
    predicted_deaths,
    reclassification,
)
from analysis_lib.results.calibration import COLUMNS, calibrations, model_deaths
from analysis_lib.results.discrimination import c_index_intervals, discrimination, marker_table
from analysis_lib.results.incidence import CAUSES, first_events, incidences
from analysis_lib.results.published import published_intervals
from analysis_lib.results.splines import spline_curves
from analysis_lib.results.table2 import table_two
from analysis_lib.results.table2_extended import covariate_table, extended_for_reading, extended_table
from analysis_lib.survival import evaluation, survival
from analysis_lib.survival.cox import cox_fit

PARAMS = load_params("smoke")
STATISTICS = PARAMS.statistics.model_copy(update={"bootstrap_replicates": 100, "imputations": 3})


def cohort(seed=1) -> pd.DataFrame:
    """Three sets; a score drives death; tumour size has gaps in the discovery set, invasion is unknown outside."""
    rng = np.random.default_rng(seed)
    sizes = {"discovery": 240, "external": 90, "lt": 80}
    n = sum(sizes.values())
    frame = pd.DataFrame(
        {"patient_id": [f"P{k:03d}" for k in range(n)], "set": np.repeat(list(sizes), list(sizes.values()))}
    )
    frame["split"] = frame["set"].mask(frame["set"] == "discovery", np.where(rng.random(n) < 0.7, "train", "internal"))
    frame["sex"] = rng.choice(["M", "F"], n)
    frame["age"], frame["bmi"] = rng.normal(56, 10, n).round(1), rng.normal(24, 3, n).round(1)
    for flag, share in (("tumour_diameter_over_5cm", 0.4), ("tumour_single", 0.8), ("vascular_invasion", 0.2)):
        frame[flag] = (rng.random(n) < share).astype(float)
    muscle = rng.normal(size=n)
    frame["smi"] = np.where(frame["sex"] == "M", 50, 40) + 6 * muscle
    frame["pmi"] = np.where(frame["sex"] == "M", 6.4, 4.2) + muscle
    frame["pm_area_cm2"], frame["pm_mean_hu"], frame["sm_mean_hu"] = 15 + 3 * muscle, 45 + 6 * muscle, 42 + 5 * muscle
    frame["risk"] = rng.normal(size=n)
    frame["spread"] = np.linspace(0.1, 0.5, n)
    log_hazard = 0.9 * frame["risk"] - 0.4 * muscle + 0.5 * frame["vascular_invasion"]
    death, end = rng.exponential(60 * np.exp(-log_hazard)), rng.uniform(20, 90, n)
    frame["os_months"], frame["os_event"] = np.minimum(death, end).round(2), (death <= end).astype(float)
    relapse = rng.exponential(40, n)
    frame["rfs_months"] = np.minimum(frame["os_months"], relapse).round(2)
    frame["rfs_event"] = np.where(relapse < frame["os_months"], 1.0, frame["os_event"])
    frame.loc[frame["set"] == "external", ["rfs_months", "rfs_event", "vascular_invasion"]] = np.nan
    frame.loc[rng.choice(240, 30, replace=False), "tumour_diameter_over_5cm"] = np.nan
    return frame


PATIENTS = cohort()
MONTHS = [6.0, 12.0, 24.0, 36.0, 60.0]


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


def test_spline_passes_one_at_the_cut_off():
    part = PATIENTS[PATIENTS["set"] == "discovery"]
    frames = spline_curves(part, PARAMS.definitions, "OS", STATISTICS)
    at = frames["curves"][frames["curves"]["value"] == 0]
    assert at["panel"].tolist() == list(PARAMS.definitions)
    np.testing.assert_allclose(at[["hr", "low", "high"]], 1)
    assert len(spline_grid(**frames).axes) == 5
    inside = frames["counts"].groupby("panel")["n"].sum() / len(part)
    assert (inside > 0.95).all() and (inside <= 1).all()


def probabilities() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    indexed = PATIENTS.set_index("patient_id")
    hazard = np.exp(0.9 * indexed["risk"]).to_numpy()[:, None] * np.array(MONTHS) / 60
    model = pd.DataFrame(np.exp(-hazard), indexed.index, columns=MONTHS)
    risk = indexed["risk"]
    train = risk[indexed["split"] == "train"]
    found, counts = predicted_deaths(PATIENTS, model, risk, train, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    return found, counts, model


def test_predictions_are_of_the_same_patients_and_known():
    found, counts, model = probabilities()
    assert found["probability"].between(0, 1).all() and set(found["model"]) == set(MODELS)
    assert (found.groupby(["set", "model", "month"]).size().groupby("set").nunique() == 1).all()
    counts = counts.set_index("set")
    internal = PATIENTS[PATIENTS["split"] == "internal"]
    assert counts.loc["internal", "left_out"] == internal["tumour_diameter_over_5cm"].isna().sum() > 0
    assert "vascular_invasion" not in counts.loc["external", "covariates"]
    own = found[found["model"] == MODEL].set_index(["patient_id", "month"])["probability"]
    assert all(own[key] == 1 - model.loc[key] for key in own.index[:20])
    every = model_deaths(PATIENTS, model, PARAMS.cohort)
    assert every["patient_id"].nunique() == (PATIENTS["split"] != "train").sum()
    assert best_definition(PATIENTS, PARAMS.definitions) in PARAMS.definitions


def test_a_definition_that_nobody_in_training_has_is_never_the_best():
    patients = PATIENTS.copy()
    patients.loc[patients["split"] == "train", ["smi", "pmi"]] = np.nan
    assert best_definition(patients, PARAMS.definitions) in ("PMA", "PD", "MA")
    only = {key: PARAMS.definitions[key] for key in ("SMI", "PMI")}
    assert best_definition(patients, only) == "SMI"
    few = patients["patient_id"] == patients.loc[patients["split"] == "train", "patient_id"].iloc[0]
    patients.loc[few, "smi"] = 40.0  # one patient makes no pair
    assert best_definition(patients, PARAMS.definitions) in ("PMA", "PD", "MA")


def predicted(patients: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    risk = patients.set_index("patient_id")["risk"]
    model = pd.DataFrame(0.5, risk.index, MONTHS)
    train = risk[patients.set_index("patient_id")["split"] == "train"]
    found, counts = predicted_deaths(patients, model, risk, train, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    return found, counts.set_index("set")


def test_what_a_set_lacks_altogether_is_left_out_of_its_models():
    patients = PATIENTS.copy()
    patients.loc[patients["split"] == "lt", "smi"] = np.nan
    patients.loc[patients["split"] == "train", "vascular_invasion"] = np.nan
    found, counts = predicted(patients)
    models = found.groupby("set")["model"].unique().map(set)
    clinical = {MODEL, CLINICAL, WITH[CLINICAL]}
    assert models["lt"] == clinical and models["external"] == set(MODELS)
    assert counts.loc["lt", "n"] == (patients["split"] == "lt").sum()
    assert "age" in counts.loc["lt", "covariates"] and "vascular_invasion" not in counts.loc["lt", "covariates"]
    assert counts["n_train"].gt(0).all()


def test_sets_without_patients_have_no_predictions():
    train = PATIENTS[PATIENTS["split"] == "train"]
    found, counts = predicted(train)
    assert found.empty and list(found) == COLUMNS and counts.empty
    model = pd.DataFrame(0.5, train["patient_id"], MONTHS)
    own = model_deaths(train, model, PARAMS.cohort)
    assert own.empty and list(own) == COLUMNS
    frames, summary = calibrations(own, STATISTICS, 1, {"lt": "LT"})
    assert summary["n"].tolist() == [0] * len(STATISTICS.horizons_months) and summary["ici"].isna().all()
    assert (frames["annotations"]["text"] == "NA: no patient").all()
    added = added_values(
        train, train.set_index("patient_id")["risk"], PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS
    )
    assert added.empty and list(added) == ADDED


def test_the_true_model_is_calibrated_useful_and_new():
    found, _, model = probabilities()
    labels = {name: name for name in PARAMS.cohort.test_sets}
    own = model_deaths(PATIENTS, model, PARAMS.cohort)
    frames, summary = calibrations(own, STATISTICS, 1, labels)
    # muscle and invasion act too and are not in the model, which flattens the slope a little
    assert len(summary) == 9 and ((summary["slope_low"] < 0.9) & (summary["slope_high"] > 0.9)).all()
    assert len(calibration_grid(**frames).axes) == 9
    scores = brier_scores(found, STATISTICS, 1).set_index(["set", "month", "model"])
    skill = scores.xs("integral", level="month")["skill"].groupby("model").mean()
    assert skill[MODEL] > 0.05 and skill[MODEL] > skill[CLINICAL]
    curves = decision_curves(found[found["month"] == 36], STATISTICS)
    titles = {panel: panel for panel in curves["panel"].unique()}
    assert len(decision_grid(curves, titles, MODELS).axes) == len(titles)
    risk = PATIENTS.set_index("patient_id")["risk"]
    added = added_values(PATIENTS, risk, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    assert (added["p"] < 0.01).all() and (added["hr_per_sd"] > 1.5).all() and added["share"].between(0, 1).all()
    noise = pd.Series(np.random.default_rng(0).normal(size=len(risk)), risk.index)
    useless = added_values(PATIENTS, noise, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    assert (useless["p"] > 0.01).all()
    nri = reclassification(found, STATISTICS, 1)
    assert (nri["nri_low"] <= nri["nri_high"]).all() and len(nri) == 18


def test_decision_curves_are_those_written_out(tmp_path):
    """Net benefit: those treated who die by the month, less those who do not, by the odds of the threshold."""
    found, _, _ = probabilities()
    cell = found[(found["set"] == "lt") & (found["month"] == 36)]
    curves = decision_curves(cell, STATISTICS)
    some = curves.set_index(["model", "threshold"])["net_benefit"]
    own = cell[cell["model"] == MODEL]
    for treats, name in ((own["probability"], MODEL), (1 + 0 * own["probability"], "all")):
        for threshold in some[name].index[::7]:
            treated = own[treats >= threshold]
            curve = survival.kaplan_meier(treated["os_months"], treated["os_event"], 0.95)
            risk = 1 - survival.survival_at(curve, [36])["survival"].iloc[0]
            gain = len(treated) / len(own) * (risk - (1 - risk) * threshold / (1 - threshold))
            assert some[name, threshold] == pytest.approx(gain, rel=1e-9)
    assert (some["none"] == 0).all()
    for _ in range(2):  # the second time from what was kept
        pd.testing.assert_frame_equal(decision_curves(cell, STATISTICS, tmp_path), curves)
    assert len(list(tmp_path.rglob("output.pkl"))) == 1


def test_a_horizon_past_the_follow_up_is_said_and_left_out():
    short = PATIENTS.copy()
    late = (short["split"] == "lt") & (short["os_months"] > 30)
    short.loc[late, "os_event"] = 0.0
    short.loc[late, "os_months"] = 30.0
    _, _, model = probabilities()
    own = model_deaths(short, model, PARAMS.cohort)
    _, summary = calibrations(own, STATISTICS, 1, {n: n for n in PARAMS.cohort.test_sets})
    gone = summary[(summary["set"] == "lt") & (summary["month"] > 30)]
    assert gone["ici"].isna().all() and gone["note"].str.contains("last follow-up 30").all() and len(gone) == 2
    markers = marker_table(short, short.set_index("patient_id")["risk"], PARAMS.definitions)
    found = discrimination(short, markers, PARAMS.cohort, STATISTICS, 1)
    at = found["horizons"][(found["horizons"]["set"] == "lt") & (found["horizons"]["month"] == 36)]
    assert at["auc"].isna().all() and at["note"].str.contains("last follow-up at month 30").all() and len(at) == 6
    assert "30" in found["notes"].set_index("set").loc["lt", "note"]
    assert list(found["auc"]) == ["set", "model", "month", "auc", "low", "high"]


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


def test_cause_of_the_first_event():
    frame = pd.DataFrame(
        {
            "set": "a",
            "os_months": [10.0, 10, 10, 10, 10, 10],
            "os_event": [1.0, 1, 0, 0, 1, 1],
            "rfs_months": [5.0, 10, 5, 10, 10, 10],
            "rfs_event": [1.0, 1, 1, 0, 1, np.nan],
            "rfs_cause": [None, None, None, None, "recurrence", None],
        }
    )
    found = first_events(frame)
    assert found["cause"].tolist() == [1, 2, 1, 0, 1]
    assert found["known_by"].tolist() == ["rule", "rule", "rule", "", "column"]
    assert first_events(frame.drop(columns="rfs_cause"))["cause"].tolist() == [1, 2, 1, 0, 2]


def test_incidence_of_recurrence_is_below_the_naive_one():
    curves, table = incidences(PATIENTS, PARAMS.cohort, STATISTICS)
    assert set(table["set"]) == {"discovery", "lt"}
    assert (table["incidence"] <= table["naive"]).all() and (table["low"] <= table["incidence"]).all()
    fig = incidence_grid(curves, {n: n for n in PARAMS.cohort.sets}, CAUSES, 60)
    assert any("not known" in t.get_text() for t in fig.axes[1].texts)


def test_kept_imputations_are_those_that_would_be_drawn_again(tmp_path):
    arguments = (PATIENTS, PARAMS.definitions, {}, PARAMS.cohort, STATISTICS, 1)
    plain = extended_table(*arguments)
    for _ in range(2):
        pd.testing.assert_frame_equal(extended_table(*arguments, tmp_path), plain, check_exact=True)
    assert (plain["mi_m"] > 1).any() and list(tmp_path.rglob("output.pkl"))
