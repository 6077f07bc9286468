"""Accuracy and calibration against R, scikit-survival and cases whose answer is known."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import brier_score, integrated_brier_score
from sksurv.util import Surv

from analysis_lib.survival import comparison, evaluation

REFERENCE = Path(__file__).parents[1] / "reference"
TABLES = dict(list(pd.read_csv(REFERENCE / "survival_tables.csv").groupby("table", sort=False)))
VALUES = pd.read_csv(REFERENCE / "survival_values.csv").set_index(["table", "quantity"])["value"]

every_table = pytest.mark.parametrize("name", TABLES)


def uncensored(n=4000, seed=0):
    """Exponential survival with known hazards and administrative censoring at month 100."""
    rng = np.random.default_rng(seed)
    log_risk = rng.normal(size=n)
    time = rng.exponential(40 / np.exp(log_risk))
    return np.minimum(time, 100), time <= 100, log_risk


@every_table
def test_restricted_mean(name):
    table = TABLES[name]
    # R: summary(survfit(Surv(month, event) ~ 1), rmean = max(month) / 2)$table[c("rmean", "se(rmean)")]
    mean, error = evaluation.restricted_mean(table["month"], table["event"], table["month"].max() / 2)
    np.testing.assert_allclose(mean, VALUES[name, "rmean"], rtol=1e-12)
    np.testing.assert_allclose(error, VALUES[name, "rmean_error"], rtol=1e-9)
    found = evaluation.restricted_mean_difference(
        table["month"], table["event"], table["group"] == 1, table["month"].max() / 2, 0.95
    )
    assert found["low"] < found["difference"] < found["high"] and 0 < found["p"] < 1


def test_restricted_mean_without_an_estimate():
    assert np.isnan(evaluation.restricted_mean([1, 2], [1, 0], 3)).all()
    assert np.isnan(evaluation.restricted_mean_difference([1, 2], [1, 0], [True, True], 1, 0.95)["p"])


@every_table
def test_predicted_survival_and_brier(name):
    table = TABLES[name]
    last = table["month"].max()
    months = np.array([last / 8, last / 4, last / 2]) + 1e-3  # in no patient's month, see below
    outcome = Surv.from_arrays(table["event"] == 1, table["month"])
    columns = table[["group", "risk"]].to_numpy(float)
    model = CoxPHSurvivalAnalysis().fit(columns, outcome)
    log_risk = columns @ model.coef_
    pair = (table["month"], table["event"])
    predicted = evaluation.predicted_survival(pair, log_risk, log_risk, months)
    expected = np.array([[f(month) for month in months] for f in model.predict_survival_function(columns)])
    np.testing.assert_allclose(predicted, expected, rtol=1e-10)
    scores = evaluation.brier(*pair, predicted, months)
    # scikit-survival weighs a death by G(t), R and this library by G(t-), which is G of censorings a moment later
    later = Surv.from_arrays(table["event"] == 1, table["month"] + 1e-7 * (table["event"] == 0))
    expected = brier_score(later, outcome, predicted, months)[1]
    np.testing.assert_allclose(scores["brier"], expected, rtol=1e-12)
    expected = integrated_brier_score(later, outcome, predicted, months)
    np.testing.assert_allclose(evaluation.mean_over_months(scores["brier"], months), expected, rtol=1e-12)


def test_calibration_of_the_true_model():
    time, event, log_risk = uncensored()
    probability = 1 - np.exp(-np.exp(log_risk) * 36 / 40)
    found = evaluation.calibration_summary(time, event, probability, 36)
    assert abs(found["slope"] - 1) < 0.06 and found["ici"] < 0.02
    table = evaluation.calibration(time, event, probability, 36, 5, 0.95)
    assert table["n"].tolist() == [800] * 5
    assert ((table["low"] - 0.02 < table["predicted"]) & (table["predicted"] < table["high"] + 0.02)).all()
    extreme = 1 - np.exp(-np.exp(2 * log_risk) * 36 / 40)
    found = evaluation.calibration_summary(time, event, extreme, 36)
    assert abs(found["slope"] - 0.5) < 0.03 and found["ici"] > 0.05


def test_calibration_group_without_event_has_an_upper_limit():
    time, event = np.r_[np.full(10, 50.0), 5.0, 5.0, 60.0, 60.0], np.r_[np.zeros(10), 1, 1, 0, 0]
    probability = np.r_[np.full(10, 0.1), np.full(4, 0.5)]
    table = evaluation.calibration(time, event, probability, 36, 2, 0.95)
    # R: binom.test(0, 7)$conf.int[2]
    assert table.loc[0, ["n", "observed", "low"]].tolist() == [7, 0, 0]
    assert table.loc[0, "high"] == pytest.approx(0.4096164, abs=1e-7)
    assert (table["low"] <= table["observed"]).all() and (table["observed"] < table["high"]).all()


def test_net_reclassification_without_censoring_is_a_count():
    time, event, log_risk = uncensored(400, 2)
    rng = np.random.default_rng(0)
    old, new = rng.uniform(size=400), 1 - np.exp(-np.exp(log_risk))
    case = (time <= 36) & event
    found = evaluation.net_reclassification(time, event, old, new, 36)
    up = new > old
    assert found["nri_event"] == pytest.approx(np.mean(up[case]) - np.mean(~up[case]))
    assert found["nri_nonevent"] == pytest.approx(np.mean(~up[~case]) - np.mean(up[~case]))
    assert evaluation.net_reclassification(time, event, old, old, 36)["nri"] == 0


def test_spline_is_linear_outside_the_knots_and_smooth_inside():
    knots = [-1.0, 0.0, 0.5, 2.0]
    x = np.array([-3.0, -2, -1.5, 3, 4, 5])
    basis = evaluation.restricted_cubic_spline(x, knots)
    assert basis.shape == (6, 3) and (basis[:, 0] == x).all() and (basis[:3, 1:] == 0).all()
    np.testing.assert_allclose(basis[5] - basis[4], basis[4] - basis[3], rtol=1e-9)
    # by the formula of Hmisc::rcspline.eval(1, knots = c(-1, 0, 0.5, 2), inclx = TRUE)
    found = evaluation.restricted_cubic_spline([1.0], knots)[0]
    np.testing.assert_allclose(found, [1, (8 - 0.125 * 2) / 9, (1 - 0.125 * 2 / 1.5) / 9])
    with pytest.raises(ValueError, match="three increasing knots"):
        evaluation.restricted_cubic_spline(x, [1, 1, 2])


def test_benjamini_hochberg():
    # R: p.adjust(c(0.01, 0.04, NA, 0.03, 0.5), "BH")
    found = evaluation.benjamini_hochberg([0.01, 0.04, np.nan, 0.03, 0.5])
    np.testing.assert_allclose(found, [0.04, 0.16 / 3, np.nan, 0.16 / 3, 0.5])


def test_every_function_and_test_of_the_page_exists():
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("|") and line.count("|") == 6][2:]
    assert len(rows) > 30
    for _, quantity, estimator, source, functions, tests, _ in rows:
        assert quantity.strip() and estimator.strip() and "10." in source
        for module, name in re.findall(r"`(\w+)\.(\w+)", functions):
            packages = [
                f"analysis_lib{part}" for part in (".survival", ".coxnet", ".stages", ".results", ".figures", ".cohort")
            ]
            places = [f"{p}.{module}" for p in packages if importlib.util.find_spec(f"{p}.{module}")]
            found = {place: getattr(importlib.import_module(place), name, None) for place in places}
            offering = [place for place, own in found.items() if getattr(own, "__module__", None) == place]
            assert len(offering) == 1, f"{module}.{name}"
        named = re.findall(r"`(test_\w+)\.(test_\w+)`", tests)
        assert named and re.search(r"`\w+\.\w+", functions), quantity
        for module, name in named:
            text = next(Path(__file__).parents[1].rglob(f"{module}.py")).read_text(encoding="utf-8")
            assert f"def {name}(" in text, f"{module}.{name}"


def test_no_brier_score_where_nobody_is_followed_to_the_month():
    time, dead, half = np.array([5.0, 20, 40, 59]), np.array([1, 1, 0, 0]), np.full((4, 3), 0.5)
    found = evaluation.brier(time, dead, half, [30, 59, 60])
    assert found["brier"].notna().tolist() == [True, True, False]
    everybody_died = evaluation.brier(time, np.ones(4), half, [30, 59, 60])
    assert everybody_died["brier"].notna().all()
    kept = evaluation.brier_terms(time, dead, [60])[0]
    assert np.isnan(kept).all()


def test_replicates_that_are_not_followed_to_the_month_have_no_calibration_error():
    rng = np.random.default_rng(4)
    time = np.append(rng.uniform(5, 50, 39), 61.0)  # one patient alone is followed to month 60
    dead, predicted = np.append(rng.random(39) < 0.6, False), rng.uniform(0.2, 0.9, 40)
    dead[np.argsort(time)[-8:-1]] = False  # and those before were alive when last seen
    found, curve = comparison.calibration_interval(time, dead, predicted, 60, 400, 0.9, 8, predicted)

    def error(rows):
        summary = evaluation.calibration_summary(time[rows], dead[rows], predicted[rows], 60)
        return summary["ici"] if 39 in rows else np.nan

    errors = comparison.bootstrap(error, 40, 400, 8).ravel()
    assert 0.3 < np.isnan(errors).mean() < 0.45  # (1 - 1/40)^40 of the replicates lack that patient
    assert [found["ici_low"], found["ici_high"]] == list(np.nanquantile(errors, [0.05, 0.95]))
    assert ((curve["low"] < curve["observed"]) & (curve["observed"] < curve["high"])).all()
    assert np.abs(curve["observed"] - curve["predicted"]).mean() == pytest.approx(found["ici"], abs=1e-12)
