"""Estimators against R's survival package; tests/reference/make_survival_reference.R made the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sksurv.metrics import concordance_index_censored, cumulative_dynamic_auc
from sksurv.util import Surv

from analysis_lib.survival import survival

REFERENCE = Path(__file__).parents[1] / "reference"
TABLES = dict(list(pd.read_csv(REFERENCE / "survival_tables.csv").groupby("table", sort=False)))
CURVES = dict(list(pd.read_csv(REFERENCE / "survival_curves.csv").groupby("table", sort=False)))
VALUES = pd.read_csv(REFERENCE / "survival_values.csv").set_index(["table", "quantity"])["value"]

every_table = pytest.mark.parametrize("name", TABLES)
R_SURVIVAL = "R's survival, [code](https://github.com/therneau/survival)"


@every_table
def test_kaplan_meier(name, evidence):
    table = TABLES[name]
    ours = survival.kaplan_meier(table["month"], table["event"], 0.95)
    # R: survfit(Surv(month, event) ~ 1, conf.type = "log-log")
    theirs = CURVES[name].drop(columns="table").reset_index(drop=True)
    assert ours.iloc[0].tolist() == [0, 1, 1, 1, len(table), 0, 0]
    ours = ours.iloc[1:].reset_index(drop=True)
    assert list(ours) == list(theirs)
    evidence(
        "r-survfit", "survival", "Kaplan-Meier curves with log-log limits and numbers at risk", R_SURVIVAL,
        *({f"{name}: {column}": curve[column] for column in theirs} for curve in (theirs, ours)), rtol=1e-9,
    )  # fmt: skip
    # R: summary(survfit(Surv(month, event) ~ 1), times = month)$n.risk
    np.testing.assert_array_equal(survival.numbers_at_risk(table["month"], theirs["month"]), theirs["at_risk"])


@every_table
def test_medians(name, evidence):
    table = TABLES[name]
    # R: summary(survfit(Surv(month, event) ~ 1, conf.type = "log-log"))$table[c("median", "0.95LCL", "0.95UCL")],
    # and with 1 - event
    expected, found = {}, ()
    for quantity, function in [
        ("median_survival", survival.median_interval),
        ("median_follow_up", survival.median_follow_up),
    ]:
        expected |= {f"{name}: {quantity}{end}": VALUES[name, f"{quantity}{end}"] for end in ("", "_low", "_high")}
        found += function(table["month"], table["event"], 0.95)
    evidence(
        "r-survfit-median", "survival", "median survival and follow-up with their limits", R_SURVIVAL, expected,
        dict(zip(expected, found, strict=True)), rtol=1e-12,
    )  # fmt: skip
    assert VALUES[name, "median_survival"] == pytest.approx(
        survival.median_survival(table["month"], table["event"]), nan_ok=True
    )


def test_median_on_a_flat_stretch_is_its_middle():
    # R: summary(survfit(Surv(c(1,2,3,4), rep(1,4)) ~ 1))$table["median"] gives 2.5
    assert survival.median_survival([1, 2, 3, 4], [1, 1, 1, 1]) == 2.5
    assert survival.median_survival([1, 2, 3], [1, 1, 1]) == 2
    assert np.isnan(survival.median_survival([1, 2, 3], [1, 0, 0]))


@every_table
def test_cox_binary(name):
    table = TABLES[name]
    fit = survival.cox_binary(table["month"], table["event"], table["group"] == 1, 0.95)
    # R: summary(coxph(Surv(month, event) ~ group, ties = "efron"))
    for key in ("hr", "low", "high", "p"):
        np.testing.assert_allclose(fit[key], VALUES[name, f"efron_{key}"], rtol=1e-9)
    assert fit["n"] == len(table) and fit["n_events"] == table["event"].sum() and fit["note"] == ""
    assert fit["events_group"] == table.loc[table["group"] == 1, "event"].sum()


@every_table
def test_cox_continuous_and_adjusted(name, evidence):
    table = TABLES[name]
    fit = survival.cox_continuous(table["month"], table["event"], table["risk"], 0.95)
    # R: summary(coxph(Surv(month, event) ~ scale(risk)))
    ours = {"per_sd_hr": fit["hr"], "per_sd_p": fit["p"]}
    covariates = table[["group", "age", "risk"]]
    fits = survival.cox_adjusted(table["month"], table["event"], covariates.assign(same=1), 0.95)
    fits = fits.set_index("covariate")
    # R: summary(coxph(Surv(month, event) ~ group + age + risk))
    ours |= {f"adjusted_{key}_{x}": fits.loc[x, key] for x in covariates for key in ("hr", "low", "p")}
    evidence(
        "r-coxph", "survival", "hazard ratios, limits and P of Cox's regression, Efron's ties", R_SURVIVAL,
        {f"{name}: {key}": VALUES[name, key] for key in ours},
        {f"{name}: {key}": value for key, value in ours.items()}, rtol=1e-9,
    )  # fmt: skip
    assert np.isnan(fits.loc["same", "hr"]) and fits.loc["same", "note"] == "all values are equal"
    nobody = survival.cox_adjusted([], [], covariates.iloc[:0], 0.95)
    assert nobody["covariate"].tolist() == list(covariates) and (nobody["note"] == "no patient").all()
    assert nobody["hr"].isna().all() and (nobody["n"] == 0).all()


@every_table
def test_logrank(name, evidence):
    table = TABLES[name]
    # R: survdiff(Surv(month, event) ~ group)
    p = survival.logrank_p(table["month"], table["event"], table["group"])
    theirs = {name: VALUES[name, "logrank_p"]}
    evidence("r-survdiff", "survival", "P of the log-rank test", R_SURVIVAL, theirs, {name: p}, rtol=1e-9)


@every_table
def test_concordance(name, evidence):
    table = TABLES[name]
    columns = table["month"], table["event"], table["risk"]
    # R: concordance(Surv(month, event) ~ risk, reverse = TRUE)
    theirs, ours = {f"{name}: Harrell": VALUES[name, "harrell"]}, {f"{name}: Harrell": survival.c_index(*columns)}
    # R: concordance(..., timewt = "n/G2")
    theirs[f"{name}: Uno"], ours[f"{name}: Uno"] = VALUES[name, "uno"], survival.uno_c_index(*columns)
    rtol = {f"{name}: Harrell": 1e-12, f"{name}: Uno": 1e-10}
    evidence("r-concordance", "survival", "Harrell's and Uno's C", R_SURVIVAL, theirs, ours, rtol=rtol)


@pytest.mark.parametrize(
    ("time", "event", "group", "note"),
    [
        ([1, 2, 3], [1, 1, 0], [0, 0, 0], "one group is empty"),
        ([1, 2, 3], [1, 1, 0], [1, 1, 1], "one group is empty"),
        ([1, 2, 3, 4], [0, 0, 0, 0], [0, 1, 0, 1], "no event"),
        ([1, 2, 3, 4], [1, 0, 1, 0], [0, 1, 0, 1], "no event in the group"),
        ([1, 2, 3, 4], [0, 1, 0, 1], [0, 1, 0, 1], "no event in the others"),
        ([1, 2, 3, 4], [1, 1, 1, 1], [1, 1, 0, 0], "the groups never overlap at an event"),
        ([1, 2, 3, 4], [1, 1, 1, 1], [0, 0, 1, 1], "the groups never overlap at an event"),
    ],
)
def test_cox_without_a_finite_estimate_is_na(time, event, group, note):
    fit = survival.cox_binary(time, event, group, 0.95)
    assert np.isnan([fit["hr"], fit["low"], fit["high"], fit["p"]]).all() and fit["note"] == note


def test_continuous_covariate_that_separates_is_na():
    fit = survival.cox_continuous([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1], [9, 8, 7, 3, 2, 1], 0.95)
    assert np.isnan(fit["hr"]) and fit["note"]
    assert np.isnan(survival.cox_continuous([1, 2], [1, 1], [3, 3], 0.95)["hr"])
    assert np.isnan(survival.logrank_p([1, 2], [1, 0], [True, True]))


def test_nullable_columns_and_missing_values():
    group = pd.Series([True, False, True, False, True], dtype="boolean")
    event = pd.Series([1, 1, 0, 1, 1], dtype="Int64")
    assert np.isfinite(survival.cox_binary([3, 1, 4, 5, 2], event, group, 0.95)["p"])
    with pytest.raises(ValueError, match="group must be known"):
        survival.cox_binary([1, 2, 3, 4, 5], event, group.where(group, pd.NA), 0.95)
    with pytest.raises(ValueError, match="time must be finite"):
        survival.kaplan_meier([1, np.nan], [1, 0], 0.95)


def test_survival_at_months():
    curve = survival.kaplan_meier([2, 4, 6, 8], [1, 0, 1, 0], 0.95)
    found = survival.survival_at(curve, [0, 3, 8, 9])
    np.testing.assert_allclose(found["survival"], [1, 0.75, 0.375, np.nan])


def test_curve_that_starts_with_deaths_and_ends_at_zero():
    curve = survival.kaplan_meier([0, 1, 2], [1, 1, 1], 0.95)
    assert curve["month"].tolist() == [0, 1, 2] and curve["survival"].iloc[-1] == pytest.approx(0)
    assert np.isnan(curve["low"].iloc[-1])


def markers(table):
    return pd.DataFrame({"model": table["risk"] + 0.01 * table["age"], "binary": table["group"].astype(float)})


@every_table
def test_bootstrap_c_index(name):
    table = TABLES[name]
    args = table["month"], table["event"], markers(table), 300
    found = survival.bootstrap_c_index(*args, 0.95, 1).set_index("model")
    for model, risk in markers(table).items():
        expected = concordance_index_censored(table["event"] == 1, table["month"].astype(float), risk)[0]
        assert found.loc[model, "c_index"] == expected
    assert (found["low"] < found["c_index"]).all() and (found["c_index"] < found["high"]).all()
    pd.testing.assert_frame_equal(found, survival.bootstrap_c_index(*args, 0.95, 1).set_index("model"))
    assert not found.equals(survival.bootstrap_c_index(*args, 0.95, 2).set_index("model"))
    bca = survival.bootstrap_c_index(*args, 0.95, 1, method="bca").set_index("model")
    np.testing.assert_allclose(bca["low"], found["low"], atol=0.06)
    uno = survival.bootstrap_c_index(*args, 0.95, 1, uno_tau=15)
    expected = survival.uno_c_index(table["month"], table["event"], markers(table)["model"], tau=15)
    assert uno.loc[0, "c_index"] == expected


def test_paired_difference():
    table = TABLES["lung"]
    scores = markers(table).assign(same=lambda frame: frame["model"])
    found = survival.bootstrap_c_index_difference(table["month"], table["event"], scores, "model", 500, 0.95, 1)
    found = found.set_index("model")
    # a model against its copy: no difference in any replicate, where unpaired intervals would be wide
    assert found.loc["same", ["difference", "low", "high", "p"]].tolist() == [0, 0, 0, 1]
    single = survival.bootstrap_c_index(table["month"], table["event"], scores, 500, 0.95, 1).set_index("model")
    gap = single.loc["model", "c_index"] - single.loc["binary", "c_index"]
    assert found.loc["binary", "difference"] == gap and 0 < found.loc["binary", "p"] < 1
    bca = survival.bootstrap_c_index_difference(
        table["month"], table["event"], scores, "model", 500, 0.95, 1, method="bca"
    ).set_index("model")
    pd.testing.assert_frame_equal(bca[["difference", "p"]], found[["difference", "p"]])
    np.testing.assert_allclose(bca[["low", "high"]], found[["low", "high"]], atol=0.03)
    assert bca.loc["same", ["low", "high"]].tolist() == [0, 0]
    with pytest.raises(ValueError, match="no model 'nobody'"):
        survival.bootstrap_c_index_difference([1, 2], [1, 0], {"a": [1, 2]}, "nobody", 10, 0.95, 0)
    with pytest.raises(ValueError, match="method must be"):
        survival.bootstrap_c_index_difference([1, 2], [1, 0], {"a": [1, 2]}, "a", 10, 0.95, 0, method="basic")


@every_table
def test_auc_curve(name):
    table = TABLES[name]
    last = table["month"].max()
    months = [0.001, last / 4, last / 2, last, last + 1]
    found = survival.auc_curve(table["month"], table["event"], markers(table), months, 200, 0.95, 1)
    assert sorted(found["month"].unique()) == [last / 4, last / 2]
    assert f"month 0.001, {last:g}, {last + 1:g}" in found.attrs["note"]
    outcome = Surv.from_arrays(table["event"] == 1, table["month"])
    # scikit-survival weighs a death by G(t), R and this library by G(t-), which is G of censorings a moment later
    later = Surv.from_arrays(table["event"] == 1, table["month"] + 1e-7 * (table["event"] == 0))
    for model, risk in markers(table).items():
        part = found[found["model"] == model]
        expected = cumulative_dynamic_auc(later, outcome, risk, part["month"])[0]
        np.testing.assert_allclose(part["auc"], expected, rtol=1e-12)
        assert (part["low"] <= part["auc"]).all() and (part["auc"] <= part["high"]).all()


def test_auc_curve_of_one_replicate_has_no_band():
    table = TABLES["lung"]
    found = survival.auc_curve(table["month"], table["event"], table["risk"], [300], 1, 0.95, 1)
    assert np.isfinite(found["auc"]).all() and found[["low_simultaneous", "high_simultaneous"]].isna().all(axis=None)


def test_auc_curve_without_any_usable_month():
    found = survival.auc_curve([1, 2, 3], [1, 0, 1], {"a": [3, 2, 1]}, [5, 9], 100, 0.95, 1)
    assert found.empty and list(found)[:5] == ["model", "month", "auc", "low", "high"] and found.attrs["note"]
