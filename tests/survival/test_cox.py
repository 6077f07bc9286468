"""Cox regression against R's survival package and, for Firth's penalty, a direct maximisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from test_survival import R_SURVIVAL

from analysis_lib.survival.cox import (
    NoFiniteEstimate,
    _likelihood,
    _prepare,
    breslow_hazard,
    cox_fit,
    proportional_hazards_test,
)

REFERENCE = Path(__file__).parents[1] / "reference"
TABLES = dict(list(pd.read_csv(REFERENCE / "survival_tables.csv").groupby("table", sort=False)))
VALUES = pd.read_csv(REFERENCE / "survival_values.csv").set_index(["table", "quantity"])["value"]
ADJUSTED = ["group", "age", "risk"]

every_table = pytest.mark.parametrize("name", TABLES)


@every_table
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_one_covariate(name, ties, evidence):
    table = TABLES[name]
    fit = cox_fit(table["month"], table["event"], table["group"], ties=ties)
    # R: coxph(Surv(month, event) ~ group, ties = ties)
    high = np.exp(fit.coefficients[0] + 1.959963984540054 * np.sqrt(fit.covariance[0, 0]))
    ours = {"hr": np.exp(fit.coefficients[0]), "high": high}
    evidence(
        "r-coxph-ties", "survival", "hazard ratio of one covariate, Efron's and Breslow's ties", R_SURVIVAL,
        {f"{name}: {ties} {key}": VALUES[name, f"{ties}_{key}"] for key in ours},
        {f"{name}: {ties} {key}": value for key, value in ours.items()},
        rtol={f"{name}: {ties} hr": 1e-10, f"{name}: {ties} high": 1e-9},
    )  # fmt: skip


@every_table
def test_likelihoods_strata_and_proportional_hazards(name, evidence):
    table = TABLES[name]
    fit = cox_fit(table["month"], table["event"], table[ADJUSTED])
    # R: coxph(Surv(month, event) ~ group + age + risk)$loglik
    np.testing.assert_allclose(fit.loglik_zero, VALUES[name, "adjusted_loglik_0"], rtol=1e-12)
    np.testing.assert_allclose(fit.loglik, VALUES[name, "adjusted_loglik_1"], rtol=1e-12)
    assert 0 <= fit.likelihood_ratio[1] <= 1
    # R: coxph(Surv(month, event) ~ risk + strata(group))
    stratified = cox_fit(table["month"], table["event"], table["risk"], strata=table["group"])
    np.testing.assert_allclose(np.exp(stratified.coefficients[0]), VALUES[name, "strata_hr_risk"], rtol=1e-9)
    # R: cox.zph(coxph(Surv(month, event) ~ group + age + risk), transform = "km")
    test = proportional_hazards_test(table["month"], table["event"], table[ADJUSTED])
    evidence(
        "r-cox-zph", "survival", "chi-squared of proportional hazards, time as 1 - Kaplan-Meier", R_SURVIVAL,
        {f"{name}: {x}": VALUES[name, f"zph_chisq_{x}"] for x in test["covariate"]},
        dict(zip((f"{name}: {x}" for x in test["covariate"]), test["chisq"], strict=True)), rtol=1e-6,
    )  # fmt: skip


def test_baseline_hazard_is_that_of_basehaz():
    """R: basehaz(coxph(..., ties = "breslow"), centered = FALSE)."""
    table = pd.read_csv(REFERENCE / "coxph_data.csv")
    fit = pd.read_csv(REFERENCE / "coxph_fit.csv").query("ties == 'breslow' and not stratified").iloc[0]
    expected = pd.read_csv(REFERENCE / "coxph_basehaz.csv").set_index("time")["hazard"]
    names = ["x1", "x2", "x3"]
    log_risk = table[names].to_numpy() @ fit[names].to_numpy(float)
    for centre in (0.0, log_risk.max()):
        deaths, hazard = breslow_hazard(table["time"], table["event"], log_risk, centre)
        assert len(deaths) == table["event"].sum() > len(set(deaths))  # ties among them
        last = np.flatnonzero(np.r_[np.diff(deaths) > 0, True])
        np.testing.assert_allclose(hazard[last] * np.exp(-centre), expected.loc[deaths[last]], rtol=1e-6)


def test_firth_maximises_the_penalised_likelihood():
    table = TABLES["rare"]
    columns = table["month"], table["event"], table[["group", "risk"]]
    fit = cox_fit(*columns, firth=True)
    risk = _prepare(*columns, "efron", None)

    def lost(beta):
        value, _, information = _likelihood(risk, beta, False)
        return -value - np.linalg.slogdet(information)[1] / 2

    best = minimize(lost, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    np.testing.assert_allclose(fit.coefficients, best.x / risk.scale, atol=1e-6)
    np.testing.assert_allclose(fit.loglik, -best.fun, rtol=1e-10)


def test_firth_is_finite_where_a_group_has_no_event():
    time, event, group = np.arange(1.0, 21), np.tile([1, 0], 10), np.tile([0, 1], 10)
    with pytest.raises(NoFiniteEstimate):
        cox_fit(time, event, group)
    fit = cox_fit(time, event, group, firth=True)
    assert -6 < fit.coefficients[0] < -1 and np.isfinite(fit.covariance).all()


def test_what_cannot_be_fitted_is_said():
    with pytest.raises(NoFiniteEstimate, match="no event"):
        cox_fit([1, 2, 3], [0, 0, 0], [1, 2, 1])
    with pytest.raises(NoFiniteEstimate, match="one value"):
        cox_fit([1, 2, 3], [1, 0, 1], [1, 1, 1])
    x = np.array([1.0, 3, 2, 5])
    with pytest.raises(NoFiniteEstimate, match="collinear"):
        cox_fit([1, 2, 3, 4], [1, 1, 0, 1], np.column_stack([x, 2 * x]))
    with pytest.raises(ValueError, match="ties must be"):
        cox_fit([1, 2, 3], [1, 0, 1], [1, 2, 1], ties="exact")


def test_one_month_of_deaths_has_no_test_of_proportional_hazards():
    found = proportional_hazards_test([1, 1, 1, 2, 3, 4], [1, 1, 0, 0, 0, 0], pd.DataFrame({"x": [1.0, 5, 2, 4, 1, 3]}))
    assert found["covariate"].tolist() == ["x", "GLOBAL"] and found["p"].isna().all()


@pytest.mark.parametrize("firth", [False, True])
def test_an_absurd_value_ends_in_an_estimate_or_a_reason(firth):
    """One covariate value a million SDs away, as from a slip of the decimal point; no warning, no endless search."""
    rng = np.random.default_rng(0)
    for n in (8, 30, 120):
        x = rng.normal(size=n)
        x[0] = 1e6
        time, event = rng.exponential(10, n), rng.random(n) < 0.5
        try:
            assert np.isfinite(cox_fit(time, event, x, firth=firth).coefficients).all()
        except NoFiniteEstimate as error:
            assert str(error)


def test_nobody_or_no_covariate_has_no_estimate():
    with pytest.raises(NoFiniteEstimate, match="no patient"):
        cox_fit([], [], np.empty((0, 1)))
    with pytest.raises(NoFiniteEstimate, match="no covariate"):
        cox_fit([1.0, 2.0], [1, 0], np.empty((2, 0)))
