"""What a small change of a formula would alter and no other fast test here shows; see tests/mutants.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, norm

from analysis_lib.survival import analytic, comparison, competing, imputation, resampling, separation, survival
from analysis_lib.survival.cox import cox_fit
from analysis_lib.survival.folds import stratified_folds


def columns(n=60, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time, censored = rng.exponential(30 / np.exp(x[:, 1])), rng.uniform(5, 60, n)
    return np.minimum(time, censored), time <= censored, x


@pytest.mark.parametrize("shuffled", ["numbers", "patients"])
def test_folds_spread_each_label_and_draw_as_they_say(shuffled):
    label = np.arange(23) % 3 == 0
    fold = stratified_folds(label, 4, np.random.default_rng(0), shuffled=shuffled)
    for value in (True, False):
        counts = np.bincount(fold[label == value], minlength=4)
        assert counts.max() - counts.min() <= 1 and counts.sum() == (label == value).sum()
    rng = np.random.default_rng(0)
    place = np.flatnonzero(label)
    if shuffled == "patients":
        expected = dict(zip(rng.permutation(place), np.arange(len(place)) % 4, strict=True))
    else:
        expected = dict(zip(place, rng.permutation(np.arange(len(place)) % 4), strict=True))
    assert [expected[i] for i in place] == fold[place].tolist()


def test_a_ratio_after_imputation_with_nothing_to_impute_is_that_of_the_data():
    time, dead, x = columns()
    found = imputation.imputed_ratio(time, dead, x, ("a", "b"), 0.95, (3, 2, 1))
    fit = cox_fit(time, dead, x)
    error = np.sqrt(fit.covariance[1, 1])
    assert found["mi_hr"] == pytest.approx(np.exp(fit.coefficients[1])) and found["mi_fmi"] == 0 and found["mi_m"] == 3
    # Student's quantile of the complete data's degrees of freedom, a little wider than the normal one
    ends = np.log([found["mi_low"], found["mi_high"]]) - fit.coefficients[1]
    assert ends[0] == pytest.approx(-ends[1]) and 1 < ends[1] / (norm.ppf(0.975) * error) < 1.1


def test_p_of_added_value_and_of_two_c_indices():
    time, dead, x = columns()
    found = comparison.added_value(time, dead, pd.DataFrame(x[:, :1]), pd.Series(x[:, 1]))
    assert found["df"] == 1 and found["p"] == pytest.approx(chi2.sf(found["chisq"], 1))
    gap = analytic.c_index_difference_analytic(time, dead, x[:, 1], x[:, 0], 0.9)
    assert gap["p"] == pytest.approx(2 * norm.sf(abs(gap["difference"]) / gap["se"]))
    assert gap["high"] - gap["difference"] == pytest.approx(norm.ppf(0.95) * gap["se"])


def test_one_patient_one_month():
    found = competing.cumulative_incidence([3.0], [1], 0.95)
    assert found["month"].tolist() == [0, 3] and found["incidence"].tolist() == [0, 1]
    assert found["cause"].tolist() == [1, 1]
    alone = survival.cox_continuous([3.0], [1], [2.0], 0.95)
    assert alone["sd"] == 0 and alone["note"] == "all values are equal"
    for value in ([1.0, np.nan, 2.0], [1.0, 2.0]):
        with pytest.raises(ValueError, match="value must be finite and of the same length"):
            survival.cox_continuous([1, 2, 3], [1, 1, 0], value, 0.95)


def test_a_band_of_two_replicates_and_none_of_one():
    estimate = np.array([0.5, 0.6])
    values = np.array([[0.4, 0.5], [0.6, np.nan]])
    low, high = resampling.simultaneous_band(values, estimate, 0.95)
    assert np.isfinite([low[0], high[0]]).all() and np.isnan([low[1], high[1]]).all()


def test_as_many_features_as_components_are_enough():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3)))
    _, explained = separation.principal_components(table, table, 3)
    assert explained.sum() == pytest.approx(1)


def test_one_pair_has_an_auc():
    auc = separation._pooled_auc.py_func if hasattr(separation._pooled_auc, "py_func") else separation._pooled_auc
    one, fold = np.ones((1, 2), dtype=np.int64), np.zeros(2, dtype=np.int64)
    assert auc(np.array([0, 1]), np.array([False, True]), fold, 1, one) == [1.0]
    assert auc(np.array([0, 0]), np.array([False, True]), fold, 1, one) == [0.5]
    assert np.isnan(auc(np.array([0, 1]), np.array([True, True]), fold, 1, one)).all()
