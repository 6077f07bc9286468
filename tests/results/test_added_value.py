"""Predicted deaths of the model and of others: calibrated, useful, new, and said where they cannot be had."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dcurves import dca
from lifelines import KaplanMeierFitter
from made_up import PARAMS, PATIENTS, STATISTICS

from analysis_lib.figures.curves import calibration_grid, decision_grid
from analysis_lib.figures.style import LOOKS
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
from analysis_lib.results.discrimination import discrimination, marker_table
from analysis_lib.survival import survival
from analysis_lib.survival.decision import net_benefit
from analysis_lib.survival.resampling import bootstrap_counts, percentile_interval

MONTHS = [6.0, 12.0, 24.0, 36.0, 60.0]


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
    fig = calibration_grid(**frames)
    assert len(fig.axes) == 9
    for k, ax in enumerate(fig.axes):  # square, with the same axes for a horizon, and nothing outside of them
        box = ax.get_window_extent()
        assert box.width == pytest.approx(box.height) and ax.get_xlim() == ax.get_ylim() == fig.axes[k % 3].get_xlim()
        assert ax.get_xticks().tolist() == ax.get_yticks().tolist()
    bars = frames["predictions"].groupby("panel", sort=False)["n_predicted"].sum()
    assert bars.tolist() == summary["n"].tolist()
    band = frames["curves"]
    assert ((band["low"] <= band["observed"]) & (band["observed"] <= band["high"])).mean() > 0.99
    assert all(text.startswith("O/E ") for text in frames["annotations"]["text"])
    # one-calibration has no P where a fifth of the patients has no event
    assert (summary["d_calibration_p"] > 0.01).all() and (summary["one_calibration_p"].dropna() > 0.01).all()
    assert summary["one_calibration_p"].notna().sum() >= 6
    worse = own.assign(probability=1 - (1 - own["probability"]) ** 5)  # five times the hazard
    wrong = calibrations(worse, STATISTICS, 1, labels)[1].set_index("month")
    late = wrong.loc[max(STATISTICS.horizons_months)]
    assert (late["d_calibration_p"] < 1e-4).all() and (late["one_calibration_p"].dropna() < 1e-4).all()
    scores = brier_scores(found, STATISTICS, 1).set_index(["set", "month", "model"])
    skill = scores.xs("integral", level="month")["skill"].groupby("model").mean()
    assert skill[MODEL] > 0.05 and skill[MODEL] > skill[CLINICAL]
    curves = decision_curves(found[found["month"] == 36], STATISTICS, 1)
    titles = {panel: panel for panel in curves["panel"].unique()}
    fig = decision_grid(curves, titles, MODELS, best="SMI")
    assert len(fig.axes) == len(titles) and not fig.legends
    for ax in fig.axes:
        ends = {text.get_text(): text.get_color() for text in ax.texts}
        assert {"TFDeepSurv", "SMI (the best)", "treat all", "treat none"} <= ends.keys()
        assert ends["SMI (the best)"] == LOOKS["SMI"].colour
        assert len(ax.collections) == 2  # a band of the model, and of the best definition
    risk = PATIENTS.set_index("patient_id")["risk"]
    added = added_values(PATIENTS, risk, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    assert (added["p"] < 0.01).all() and (added["hr_per_sd"] > 1.5).all() and added["share"].between(0, 1).all()
    noise = pd.Series(np.random.default_rng(0).normal(size=len(risk)), risk.index)
    useless = added_values(PATIENTS, noise, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    assert (useless["p"] > 0.01).all()
    nri = reclassification(found, STATISTICS, 1)
    assert (nri["nri_low"] <= nri["nri_high"]).all() and len(nri) == 18


def test_decision_curves_are_those_written_out_and_of_dcurves(tmp_path, evidence):
    """Net benefit: those treated who die by the month, less those who do not, by the odds of the threshold."""
    found, _, _ = probabilities()
    cell = found[(found["set"] == "lt") & (found["month"] == 36)]
    given = STATISTICS.model_copy(update={"decision_thresholds": [0.02, 0.6]})
    curves = decision_curves(cell, given, 1)
    some = curves.set_index(["model", "threshold"])["net_benefit"]
    own = cell[cell["model"] == MODEL]
    for treats, name in ((own["probability"], MODEL), (1 + 0 * own["probability"], "all")):
        for threshold in some[name].index[::7]:
            treated = own[treats >= threshold]
            curve = survival.kaplan_meier(treated["time_months"], treated["event"], 0.95)
            risk = 1 - survival.survival_at(curve, [36])["survival"].iloc[0]
            gain = len(treated) / len(own) * (risk - (1 - risk) * threshold / (1 - threshold))
            assert some[name, threshold] == pytest.approx(gain, rel=1e-9)
    assert (some["none"] == 0).all()
    wide = cell.pivot(index="patient_id", columns="model", values="probability")[[MODEL, CLINICAL]]
    truth = cell.drop_duplicates("patient_id").set_index("patient_id").loc[wide.index, ["time_months", "event"]]
    thresholds = np.linspace(0.05, 0.95, 7)
    theirs = dca(
        data=wide.join(truth.astype({"event": bool})), outcome="event", modelnames=[MODEL, CLINICAL],
        thresholds=thresholds, time=36, time_to_outcome_col="time_months",
    )  # fmt: skip
    columns = truth["time_months"].to_numpy(), truth["event"].to_numpy(), wide.to_numpy(), list(wide), thresholds, 36
    theirs = theirs[["model", "threshold", "net_benefit"]].reset_index(drop=True)
    ours = net_benefit(*columns, 20, 0.9, 1)
    pd.testing.assert_frame_equal(ours[["model", "threshold"]], theirs[["model", "threshold"]], check_exact=True)
    curves_of = [{str(name): part["net_benefit"] for name, part in table.groupby("model")} for table in (theirs, ours)]
    evidence(
        "dcurves", "survival", "net benefit at seven thresholds, of made-up patients",
        "dcurves 1.1, [code](https://github.com/MSKCC-Epi-Bio/dcurves)", *curves_of, atol=1e-15,
    )  # fmt: skip
    for _ in range(2):  # the second time from what was kept
        pd.testing.assert_frame_equal(decision_curves(cell, given, 1, tmp_path), curves)
    assert len(list(tmp_path.rglob("*.pickle"))) == 1


@pytest.mark.parametrize(
    "month", [pytest.param(12.0, marks=pytest.mark.slow), 36.0, pytest.param(80.0, marks=pytest.mark.slow)]
)
def test_intervals_of_net_benefit_are_those_of_resampled_rows(month):
    """Each resample by lifelines and by hand; times are tied, and few are followed to the last month."""
    rng, n, replicates = np.random.default_rng(int(month)), 40, 60
    time, dead = np.ceil(rng.exponential(30, n)), rng.random(n) < 0.6
    risk = np.column_stack([rng.random(n), (rng.random(n) < 0.5).astype(float)])
    thresholds = [0.05, 0.3, 0.55, 0.97]
    table = net_benefit(time, dead, risk, ["a", "b"], thresholds, month, replicates, 0.9, 3)
    values = np.full((replicates, len(table)), np.nan)
    for r, counts in enumerate(bootstrap_counts(n, replicates, 3)):
        rows = np.repeat(np.arange(n), counts)
        t, e, p = time[rows], dead[rows], np.column_stack([risk[rows], np.full(n, np.inf), np.full(n, -np.inf)])
        for k, (model, threshold) in enumerate(table[["model", "threshold"]].itertuples(index=False)):
            treated = p[:, ["a", "b", "all", "none"].index(model)] >= threshold
            if not treated.any():
                values[r, k] = 0
            elif t[treated].max() >= month:
                curve = KaplanMeierFitter().fit(t[treated], e[treated])
                died = 1 - curve.survival_function_at_times(month).iloc[0]
                values[r, k] = treated.mean() * (died - (1 - died) * threshold / (1 - threshold))
    low, high = percentile_interval(values, 0.9)
    np.testing.assert_allclose(table["net_benefit_low"], low, rtol=0, atol=1e-12)
    np.testing.assert_allclose(table["net_benefit_high"], high, rtol=0, atol=1e-12)
    assert np.isnan(low).any() == (month > 12) and (table.query("model == 'none'").iloc[:, 2:] == 0).all(axis=None)


def test_thresholds_go_by_the_share_that_has_died_in_each_set_by_each_horizon():
    found, _, _ = probabilities()
    curves = decision_curves(found, STATISTICS, 1)
    assert set(curves["month"]) == set(STATISTICS.horizons_months)
    for (name, month), part in curves.groupby(["set", "month"]):
        own = found[(found["set"] == name) & (found["month"] == month) & (found["model"] == MODEL)]
        died = 1 - KaplanMeierFitter().fit(own["time_months"], own["event"]).predict(month)
        ends = part["threshold"].min(), part["threshold"].max()
        assert ends == pytest.approx((died / 10, min(2 * died, 0.95)), abs=1e-4)
    inside = curves.dropna()
    assert len(inside) and (inside["net_benefit_low"] <= inside["net_benefit_high"]).all()


def test_a_horizon_past_the_follow_up_is_said_and_left_out():
    short = PATIENTS.copy()
    late = (short["split"] == "lt") & (short["time_months"] > 30)
    short.loc[late, "event"] = 0.0
    short.loc[late, "time_months"] = 30.0
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
    assert list(found["auc"]) == ["set", "model", "month", "cases", "auc", "low", "high"]


def test_past_the_follow_up_of_the_training_patients_nothing_is_judged():
    """Test patients are followed for longer: the baseline is flat there, and the risk one of an earlier month."""
    train = PATIENTS["split"] == "train"
    early = PATIENTS.assign(event=PATIENTS["event"].mask(train & (PATIENTS["time_months"] > 30), 0.0))
    early["time_months"] = early["time_months"].mask(train, early["time_months"].clip(upper=30))
    indexed = early.set_index("patient_id")
    model = pd.DataFrame({month: 0.5 if month < 30 else np.nan for month in MONTHS}, indexed.index)
    risk, training = indexed["risk"], indexed["risk"][indexed["split"] == "train"]
    found, _ = predicted_deaths(early, model, risk, training, PARAMS.definitions["SMI"], PARAMS.cohort, STATISTICS)
    assert found.groupby("month")["probability"].count().gt(0).to_dict() == {m: m < 30 for m in MONTHS}
    labels = {name: name for name in PARAMS.cohort.test_sets}
    _, summary = calibrations(model_deaths(early, model, PARAMS.cohort), STATISTICS, 1, labels)
    late = summary[summary["month"] > 30]
    assert late["note"].str.startswith("NA: past the follow-up of the training").all() and late["slope"].isna().all()
    assert summary.loc[summary["month"] < 30, "ratio"].notna().any()
    assert brier_scores(found, STATISTICS, 1)["to"].max() == 24
    assert decision_curves(found, STATISTICS, 1)["month"].max() < 30
    gain = reclassification(found, STATISTICS, 1)
    assert set(gain["month"]) == set(STATISTICS.horizons_months) and gain.loc[gain["month"] > 30, "nri"].isna().all()
