"""Prediction accuracy, competing risks, imputation and few events against R.

tests/reference/make_prediction_reference.R made the values: riskRegression's Score, cmprsk, survival's
multi-state survfit, mice, rms, and coxph's likelihood for Firth's penalty.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import AalenJohansenFitter, CoxPHFitter
from scipy.stats import norm
from test_survival import R_SURVIVAL

from analysis_lib.survival import comparison, competing, evaluation, imputation, resampling, survival
from analysis_lib.survival.cox import cox_fit, firth_binary, proportional_hazards_test

REFERENCE = Path(__file__).parents[1] / "reference"
TABLES = dict(list(pd.read_csv(REFERENCE / "survival_tables.csv").groupby("table", sort=False)))
EXTRA = dict(list(pd.read_csv(REFERENCE / "prediction_tables.csv").groupby("table", sort=False)))
CURVES = dict(list(pd.read_csv(REFERENCE / "prediction_curves.csv").groupby("table", sort=False)))
VALUES = pd.read_csv(REFERENCE / "prediction_values.csv").set_index(["table", "quantity"])["value"]

BASE = ["group", "age"]

every_table = pytest.mark.parametrize("name", TABLES)


def outcome(name):
    return TABLES[name]["month"].to_numpy(float), TABLES[name]["event"].to_numpy(bool)


@every_table
@pytest.mark.parametrize("share", [4, 2])
def test_auc_and_brier_of_risk_regression(name, share, evidence):
    time, event = outcome(name)
    probability, month = EXTRA[name]["probability"].to_numpy(), time.max() / share
    ones = np.ones((1, len(time)), dtype=np.uint16)
    auc = resampling.auc_replicates(time, event, probability, [month], 1, 0, counts=ones)[0, 0, 0]
    score = evaluation.brier(time, event, 1 - probability[:, None], [month]).iloc[0]
    ours = {"auc": auc, "brier": score["brier"], "brier_null": score["null"]}
    # R: Score(list(m = probability), Surv(month, event) ~ 1, metrics = c("auc", "brier"), cens.model = "km")
    evidence(
        "r-riskregression", "survival", "AUC and Brier score at a half and a quarter of the follow-up",
        "R's riskRegression, [code](https://github.com/tagteam/riskRegression)",
        {f"{name}: {quantity}, 1/{share}": VALUES[name, f"{quantity}_{share}"] for quantity in ours},
        {f"{name}: {quantity}, 1/{share}": value for quantity, value in ours.items()}, rtol=1e-9,
    )  # fmt: skip


@every_table
def test_cumulative_incidence(name, evidence):
    time, _ = outcome(name)
    found = competing.cumulative_incidence(time, EXTRA[name]["cause"], 0.95)
    both: tuple[dict, dict] = ({}, {})
    for cause, theirs in CURVES[name].groupby("cause"):
        ours = found[(found["cause"] == cause) & (found["month"] > 0)]
        # R: survfit(Surv(month, factor(cause, 0:2)) ~ 1) and cmprsk::cuminc
        np.testing.assert_allclose(ours["month"], theirs["month"])
        for column, own in (("incidence", "incidence"), ("cuminc", "incidence"), ("se", "se")):
            both[0][f"{name}: cause {cause}, {column}"] = theirs[column]
            both[1][f"{name}: cause {cause}, {column}"] = ours[own]
        assert (ours["low"] <= ours["incidence"]).all() and (ours["incidence"] <= ours["high"]).all()
    evidence(
        "r-cumulative-incidence", "survival", "cumulative incidence and its standard error with a competing event",
        "R's survival and cmprsk, [code](https://github.com/therneau/survival), "
        "[doi](https://doi.org/10.1214/aos/1176350951)", *both, rtol=1e-9,
        atol={quantity: 1e-15 for quantity in both[0] if quantity.endswith("se")},
    )  # fmt: skip


def test_cumulative_incidence_without_ties_is_that_of_lifelines():
    time, _ = outcome("plain")
    cause = EXTRA["plain"]["cause"].to_numpy()
    theirs = AalenJohansenFitter(calculate_variance=False).fit(time, cause, event_of_interest=1)
    ours = competing.cumulative_incidence(time, cause, 0.95)
    np.testing.assert_allclose(ours.loc[ours["cause"] == 1, "incidence"], theirs.cumulative_density_.iloc[:, 0])


def test_causes_add_up_to_one_less_survival():
    time, event = outcome("ties")
    found = competing.cumulative_incidence(time, EXTRA["ties"]["cause"], 0.95)
    total = found.groupby("month")["incidence"].sum()
    np.testing.assert_allclose(1 - total.to_numpy(), survival.kaplan_meier(time, event, 0.95)["survival"])
    late = competing.incidence_at(found, time.max() + 1)
    assert late["incidence"].isna().all() and len(late) == 2
    assert competing.cumulative_incidence([1, 2], [0, 0], 0.95).empty


@every_table
def test_firth(name):
    time, event = outcome(name)
    found = firth_binary(time, event, TABLES[name]["group"] == 1, 0.95)
    # R: the penalised likelihood of coxph(init = b, iter.max = 0) by optimize and uniroot
    for ours, theirs in (("hr", "firth_log_hr"), ("low", "firth_low"), ("high", "firth_high")):
        np.testing.assert_allclose(found[ours], np.exp(VALUES[name, theirs]), rtol=1e-6)
    np.testing.assert_allclose(found["p"], VALUES[name, "firth_p"], rtol=1e-6)


def test_firth_where_nothing_can_be_estimated():
    assert np.isnan(firth_binary([1, 2, 3], [1, 0, 1], [1, 1, 1], 0.95)["hr"])
    alone = firth_binary(np.arange(1.0, 21), np.tile([1, 0], 10), np.tile([0, 1], 10), 0.95)
    assert alone["low"] < alone["hr"] < alone["high"] < 1 and alone["p"] < 0.05


@every_table
def test_added_value_and_spline(name):
    table = TABLES[name]
    found = comparison.added_value(table["month"], table["event"], table[BASE], table["risk"])
    # R: anova(coxph(~ group + age), coxph(~ group + age + risk))
    np.testing.assert_allclose(found["chisq"], VALUES[name, "added_chisq"], rtol=1e-8)
    fits = [CoxPHFitter().fit(table[[*x, "month", "event"]], "month", "event") for x in (BASE, [*BASE, "risk"])]
    base, whole = (fit.log_likelihood_ratio_test().test_statistic for fit in fits)
    assert [found["chisq_base"], found["share"]] == pytest.approx([base, base / whole], rel=1e-5)
    assert found["hr_per_sd"] == pytest.approx(np.exp(fits[1].params_["risk"] * table["risk"].std()), rel=1e-5)
    knots = np.quantile(table["age"], [0.05, 0.35, 0.65, 0.95])
    curve = cox_fit(table["month"], table["event"], evaluation.restricted_cubic_spline(table["age"], knots))
    line = cox_fit(table["month"], table["event"], table["age"])
    # R: anova(coxph(~ age), coxph(~ rcspline.eval(age, knots, inclx = TRUE)))
    np.testing.assert_allclose(2 * (curve.loglik - line.loglik), VALUES[name, "spline_chisq"], rtol=1e-6)


@every_table
def test_restricted_mean_difference_and_one_schoenfeld(name, evidence):
    table = TABLES[name]
    columns = table["month"], table["event"], table["group"] == 1
    found = evaluation.restricted_mean_difference(*columns, table["month"].max() / 2, 0.95)
    # R: summary(survfit(Surv(month, event) ~ group), rmean = max(month) / 2)$table
    error = (found["high"] - found["low"]) / 2 / norm.ppf(0.975)
    evidence(
        "r-rmst", "survival", "difference of restricted mean survival and its standard error", R_SURVIVAL,
        {f"{name}: {key}": VALUES[name, f"rmst_{key}"] for key in ("difference", "error")},
        {f"{name}: difference": found["difference"], f"{name}: error": error}, rtol=1e-9,
    )  # fmt: skip
    # R: cox.zph(coxph(Surv(month, event) ~ group), transform = "km")
    test = proportional_hazards_test(table["month"], table["event"], table[["group"]])
    np.testing.assert_allclose(test["p"].iloc[0], VALUES[name, "zph_one"], rtol=1e-6)


def test_rubins_rules(evidence):
    q, u = [0.41, 0.52, 0.38, 0.47, 0.44], [0.040, 0.043, 0.039, 0.041, 0.042]
    # R: mice::pool.scalar(q, u, n = 96, k = 6)
    found = imputation.pool(q, u, 90)
    evidence(
        "r-mice-pool", "survival", "Rubin's rules for a coefficient", "R's mice, [doi](https://doi.org/10.18637/jss.v045.i03)",
        {key: VALUES["pool", key] for key in ("qbar", "t", "df", "fmi")},
        {"qbar": found["estimate"], "t": found["se"] ** 2, "df": found["df"], "fmi": found["fmi"]},
        rtol={"qbar": 1e-9, "t": 1e-12, "df": 1e-9, "fmi": 1e-9},
    )  # fmt: skip
    same = imputation.pool([0.4, 0.4], [0.04, 0.04], 1e6)
    assert same["fmi"] == 0 and same["se"] == pytest.approx(0.2)


def test_nelson_aalen_is_that_of_the_life_table():
    np.testing.assert_allclose(
        imputation.nelson_aalen([3, 1, 2, 2], [1, 1, 1, 0]), [0.25 + 1 / 3 + 1, 0.25, 0.25 + 1 / 3, 0.25 + 1 / 3]
    )


def with_gaps(n=3000, seed=0):
    """A flag and a number that depend on each other, with gaps where the number (always known) is high."""
    rng = np.random.default_rng(seed)
    number = rng.normal(size=n)
    flag = (rng.random(n) < 1 / (1 + np.exp(-1 - 2 * number))).astype(float)
    other = 3 + 2 * number - flag + rng.normal(size=n)
    full = pd.DataFrame({"number": number, "flag": flag, "other": other})
    gaps = full.copy()
    gaps.loc[rng.random(n) < 1 / (1 + np.exp(1 - 2 * number)), "flag"] = np.nan
    gaps.loc[rng.random(n) < 0.2, "other"] = np.nan
    return full, gaps


@pytest.mark.parametrize("binary", [False, True])
def test_imputed_values_scatter_as_the_known_and_copies_as_their_mean(binary):
    """Of 60 known and 1500 unknown values: a copy's mean is known no better than the mean of 60, and says so."""
    rng = np.random.default_rng(8)
    known = rng.normal(3, 2, 60) if not binary else np.repeat([0.0, 1.0], 30)
    table = pd.DataFrame({"other": rng.normal(size=1560), "value": np.r_[known, np.full(1500, np.nan)]})
    filled = np.array([copy["value"].to_numpy()[60:] for copy in imputation.impute(table, 300, 1, 5)])
    assert filled.std(axis=1).mean() == pytest.approx(known.std(), rel=0.05)
    assert filled.mean() == pytest.approx(known.mean(), abs=0.1 * known.std())
    # the other column's coefficient is drawn too, but its values average out
    expected = np.hypot(known.std() / np.sqrt(60), known.std() / np.sqrt(1500))
    assert filled.mean(axis=1).std() == pytest.approx(expected, rel=0.2)


def test_imputation_undoes_the_bias_of_complete_cases():
    full, gaps = with_gaps()
    copies = imputation.impute(gaps, 5, 5, 1)
    share = np.mean([copy["flag"].mean() for copy in copies])
    assert abs(gaps["flag"].mean() - full["flag"].mean()) > 0.08 > 0.03 > abs(share - full["flag"].mean())
    for copy in copies:
        known = gaps.notna()
        assert copy.notna().all(axis=None) and set(copy["flag"]) == {0, 1}
        pd.testing.assert_frame_equal(copy.where(known), gaps)
        slope = np.polyfit(copy["number"], copy["other"], 1)[0]
        assert abs(slope - np.polyfit(full["number"], full["other"], 1)[0]) < 0.1
    assert not copies[0].equals(copies[1])
    pd.testing.assert_frame_equal(imputation.impute(gaps, 2, 5, 1)[1], copies[1])


def test_imputation_at_its_edges():
    table = pd.DataFrame({"a": [1.0, 2, 3, 4, 5, 6], "b": [1.0, np.nan, 1, 1, np.nan, 1]})
    assert (imputation.impute(table, 1, 2, 0)[0]["b"] == 1).all()
    pd.testing.assert_frame_equal(imputation.impute(table[["a"]], 3, 2, 0)[2], table[["a"]])
    with pytest.raises(ValueError, match="nothing to impute c from"):
        imputation.impute(table.assign(c=np.nan), 1, 1, 0)
    # a flag that another column foretells perfectly still has finite coefficients
    told = pd.DataFrame({"x": np.arange(40.0), "flag": (np.arange(40) > 20).astype(float)})
    told.loc[::5, "flag"] = np.nan
    assert imputation.impute(told, 3, 3, 0)[0].notna().all(axis=None)


@every_table
def test_survived_is_kaplan_meier(name):
    time, event = outcome(name)
    months = np.r_[0, np.quantile(time, [0.1, 0.5, 0.9]), time.max(), time.max() + 1]
    table = survival.survival_at(survival.kaplan_meier(time, event, 0.95), months)
    np.testing.assert_allclose([evaluation.survived(time, event, m) for m in months], table["survival"], rtol=1e-12)


def test_intervals_hold_their_estimates_and_repeat():
    time, event = outcome("ties")
    probability = EXTRA["ties"]["probability"].to_numpy()
    month = np.median(time)
    settings = (200, 0.95, 3)
    calibration, _ = comparison.calibration_interval(time, event, probability, month, *settings)
    for key in ("ratio", "slope"):
        assert calibration[f"{key}_low"] < calibration[key] < calibration[f"{key}_high"]
    assert calibration["ici"] == evaluation.calibration_summary(time, event, probability, month)["ici"]
    other = np.random.default_rng(0).permutation(probability)
    moved = comparison.reclassification_intervals(time, event, other, probability, month, *settings)
    assert moved["nri"] == pytest.approx(moved["nri_event"] + moved["nri_nonevent"])
    assert moved["nri_low"] < moved["nri"] < moved["nri_high"]
    assert moved == comparison.reclassification_intervals(time, event, other, probability, month, *settings)
    curves = 1 - probability[:, None] * [0.5, 1]
    scores = comparison.brier_intervals(time, event, {"m": curves}, [month / 2, month], *settings)
    expected = evaluation.brier(time, event, curves, [month / 2, month])
    whole = evaluation.mean_over_months(expected["brier"], expected["month"])
    np.testing.assert_allclose(scores["brier"], [*expected["brier"], whole])
    assert ((scores["low"] < scores["brier"]) & (scores["brier"] < scores["high"])).all()
    assert scores["month"].isna().tolist() == [False, False, True]


def test_where_no_risk_is_predicted_there_is_no_ratio():
    """As of a month before the first death in training; a test set may have deaths by then."""
    time, event = np.arange(1.0, 21), np.arange(20) % 2 == 0
    found, _ = comparison.calibration_interval(time, event, np.zeros(20), 8, 50, 0.95, 1)
    assert found["predicted"] == 0 and found["observed"] > 0
    assert np.isnan([found["ratio"], found["ratio_low"], found["ratio_high"]]).all()


def test_simultaneous_band_covers_whole_curves():
    rng = np.random.default_rng(4)
    truth, covered = np.zeros(12), []
    for _ in range(400):
        estimate = np.cumsum(rng.normal(size=12)) / np.sqrt(np.arange(1, 13))  # neighbours are correlated
        values = estimate + np.cumsum(rng.normal(size=(400, 12)), axis=1) / np.sqrt(np.arange(1, 13))
        low, high = resampling.simultaneous_band(values, estimate, 0.95)
        covered.append(((low <= truth) & (truth <= high)).all())
    assert 0.92 <= np.mean(covered) <= 0.98
    values[:, 3] = np.nan
    low, high = resampling.simultaneous_band(values, estimate, 0.95)
    assert np.isnan(low[3]) and np.isfinite(low[4])
