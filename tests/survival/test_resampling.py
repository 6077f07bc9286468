"""The resampling engine against scikit-survival on the same resamples, and known distributions."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.util import Surv

from analysis_lib.survival import resampling, survival

patients = st.lists(
    st.tuples(
        st.integers(1, 6),  # months: heavy ties
        st.booleans(),
        # ties in risk, and chains of near ties around the tolerance of 1e-8
        st.sampled_from([0.0, 1.0, 2.0, 3.0, 1.0 + 0.6e-8, 1.0 + 1.2e-8, 1.0 + 1e-8]),
    ),
    min_size=4,
    max_size=25,
)


def cohort(n: int, seed: int, step: float = 0.0):
    rng = np.random.default_rng(seed)
    death, censoring = rng.exponential(40, n), rng.uniform(5, 80, n)
    month = np.minimum(death, censoring)
    if step:
        month = np.ceil(month / step) * step
    return month, death <= censoring, rng.normal(size=n).round(1)


@given(patients, st.integers(0, 2**63))
@settings(max_examples=150, deadline=None)
def test_harrell_is_bitwise_scikit_survival(rows, seed):
    month, event, risk = (np.array(column) for column in zip(*rows, strict=True))
    counts = resampling.bootstrap_counts(len(rows), 20, seed)
    values = resampling.c_index_replicates(month, event, risk, 20, seed)[:, 0]
    for value, count in zip(values, counts, strict=True):
        i = np.repeat(np.arange(len(rows)), count)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = concordance_index_censored(event[i], month[i].astype(float), risk[i])[0]
        except ValueError:  # no event, or no comparable pair
            expected = np.nan
        np.testing.assert_array_equal(value, expected)


@given(patients, st.integers(0, 2**31))
@settings(max_examples=80, deadline=None)
def test_uno_and_auc_equal_scikit_survival(rows, seed):
    month, event, risk = (np.array(column) for column in zip(*rows, strict=True))
    risk = risk.round(6)  # near ties that chain are tied for the AUC in every resample: see below
    times = [1.0, 2.5, 4.0]
    counts = resampling.bootstrap_counts(len(rows), 8, seed)
    uno = resampling.uno_c_index_replicates(month, event, risk, 8, seed, tau=5.0)[:, 0]
    auc = resampling.auc_replicates(month, event, risk, times, 8, seed)[:, 0]
    for b, count in enumerate(counts):
        i = np.repeat(np.arange(len(rows)), count)
        if not event[i].any():
            continue
        outcome = Surv.from_arrays(event[i], month[i])
        # scikit-survival weighs a death by G(t), R and this library by G(t-), which is G of censorings a moment later
        later = Surv.from_arrays(event[i], month[i] + 1e-7 * ~event[i])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = concordance_index_ipcw(later, outcome, risk[i], tau=5.0)[0]
                np.testing.assert_allclose(uno[b], expected, rtol=1e-12)
            except ValueError:  # no comparable pair, or nobody before tau
                pass
            for k, time in enumerate(times):
                try:
                    expected = cumulative_dynamic_auc(later, outcome, risk[i], [time])[0][0]
                except ValueError:  # the time lies outside this resample's follow-up
                    continue
                np.testing.assert_allclose(auc[b, k], expected, rtol=1e-12)


def test_chained_near_ties_are_one_tie_in_every_resample():
    month, event = np.array([1, 1, 2, 2]), np.array([1, 1, 0, 0])
    risk = np.array([1.0, 1.0 + 0.6e-8, 1.0 + 1.2e-8, 0.0])
    counts = np.array([[1, 1, 1, 1], [1, 0, 1, 1]], dtype=np.uint16)  # without the link in the chain
    auc = resampling.auc_replicates(month, event, risk, [1.5], 0, 0, counts=counts)[:, 0, 0]
    outcome = Surv.from_arrays(event == 1, month)
    assert auc[0] == cumulative_dynamic_auc(outcome, outcome, risk, [1.5])[0][0] == auc[1] == 0.75


def test_censoring_of_the_training_set():
    month, event, risk = cohort(120, 1)
    train_month, train_event, _ = cohort(300, 2)
    train_month = train_month * 1.5  # so that no event is beyond the training follow-up
    train, test = Surv.from_arrays(train_event, train_month), Surv.from_arrays(event, month)
    ones = np.ones((1, 120), dtype=np.uint16)
    settings_ = {"train": (train_month, train_event), "counts": ones}
    auc = resampling.auc_replicates(month, event, risk, [12, 24, 36], 1, 0, **settings_)
    expected = cumulative_dynamic_auc(train, test, risk, [12, 24, 36])[0]
    np.testing.assert_allclose(auc[0, 0], expected, rtol=1e-12)
    uno = resampling.uno_c_index_replicates(month, event, risk, 1, 0, tau=48, **settings_)
    np.testing.assert_allclose(uno[0, 0], concordance_index_ipcw(train, test, risk, tau=48)[0], rtol=1e-12)


def test_larger_cohort_with_continuous_risks_is_exact():
    rng = np.random.default_rng(3)
    month, event, _ = cohort(600, 3)
    risks = {"a": rng.normal(size=600), "b": rng.integers(0, 2, 600).astype(float)}
    values = resampling.c_index_replicates(month, event, risks, 18, 5)  # not a multiple of the lanes
    for b, count in enumerate(resampling.bootstrap_counts(600, 18, 5)):
        i = np.repeat(np.arange(600), count)
        for k, risk in enumerate(risks.values()):
            assert values[b, k] == concordance_index_censored(event[i], month[i], risk[i])[0]


def test_monte_carlo_error_is_the_spread_over_seeds():
    month, event, risk = cohort(60, 8)
    found = [survival.bootstrap_c_index(month, event, risk, 400, 0.9, seed) for seed in range(300)]
    found = pd.concat(found)
    for end in ("low", "high"):
        # 300 seeds know a standard deviation to 4%; the mean of the estimated errors is better known
        assert found[f"{end}_mc_error"].mean() == pytest.approx(found[end].std(ddof=1), rel=0.12)
    many = survival.bootstrap_c_index(month, event, risk, 40_000, 0.9, 1)
    assert many["low_mc_error"][0] == pytest.approx(found["low_mc_error"].mean() / 10, rel=0.3)
    few = resampling.monte_carlo_error(np.arange(20.0), 0.95)  # a limit at the edge of its replicates
    assert np.isnan(few).all()


def test_counts_given_or_drawn_are_the_same_resamples():
    month, event, risk = cohort(80, 4, step=3)
    counts = resampling.bootstrap_counts(80, 50, 9)
    for measure in (resampling.c_index_replicates, resampling.uno_c_index_replicates):
        drawn = measure(month, event, risk, 50, 9)
        np.testing.assert_array_equal(drawn, measure(month, event, risk, 0, 0, counts=counts))
        # the first replicates do not depend on how many follow
        np.testing.assert_array_equal(drawn[:7], measure(month, event, risk, 7, 9))


def test_order_of_patients_does_not_matter():
    month, event, risk = cohort(60, 5, step=4)
    shuffle = np.random.default_rng(0).permutation(60)
    counts = resampling.bootstrap_counts(60, 20, 1)
    one = resampling.auc_replicates(month, event, risk, [12, 24], 0, 0, counts=counts)
    other = resampling.auc_replicates(
        month[shuffle], event[shuffle], risk[shuffle], [12, 24], 0, 0, counts=counts[:, shuffle]
    )
    np.testing.assert_allclose(one, other, rtol=1e-13)


def test_draws_are_multinomial():
    n, replicates = 40, 20000
    counts = resampling.bootstrap_counts(n, replicates, 11)
    assert (counts.sum(axis=1) == n).all()
    totals = counts.sum(axis=0)
    assert stats.chisquare(totals).pvalue > 0.001
    # each count is Binomial(n, 1/n), pairs correlate by -1/(n-1)
    seen = np.bincount(counts.ravel(), minlength=7)[:7] / counts.size
    np.testing.assert_allclose(seen, stats.binom.pmf(range(7), n, 1 / n), atol=2e-3)
    correlation = np.corrcoef(counts.T)[~np.eye(n, dtype=bool)]
    assert abs(correlation.mean() + 1 / (n - 1)) < 1e-3
    assert not (counts[0] == resampling.bootstrap_counts(n, 1, 12)[0]).all()


def test_percentile_interval_leaves_out_missing_replicates():
    values = np.column_stack([np.arange(101.0), np.full(101, np.nan), np.r_[np.full(60, np.nan), np.zeros(41)]])
    values[100, 0] = np.nan
    low, high = resampling.percentile_interval(values, 0.9)
    np.testing.assert_allclose([low[0], high[0]], np.quantile(np.arange(100.0), [0.05, 0.95]))
    assert np.isnan(low[1:]).all()


def test_bca_equals_scipy():
    sample = np.random.default_rng(8).exponential(size=40)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=3000, method="BCa", rng=np.random.default_rng(1))
    jackknife = np.array([np.delete(sample, i).mean() for i in range(40)])
    values = theirs.bootstrap_distribution
    low, high = resampling.bca_interval(values, sample.mean(), jackknife, 0.95)
    interval = theirs.confidence_interval
    # scipy counts ties with the estimate and rounds quantiles its own way
    np.testing.assert_allclose([low, high], [interval.low, interval.high], rtol=2e-3)
    assert np.isnan(resampling.bca_interval(np.ones(10), 2.0, jackknife, 0.95)).all()


def test_names_of_models():
    assert resampling.risk_matrix([1, 2])[0] == ["risk"]
    assert resampling.risk_matrix(pd.Series([1, 2], name="SMI"))[0] == ["SMI"]
    assert resampling.risk_matrix({"a": [1], "b": [2]})[0] == ["a", "b"]
    assert resampling.risk_matrix(np.ones((3, 2)))[0] == ["risk1", "risk2"]


@pytest.mark.parametrize(
    ("time", "event", "risk", "message"),
    [
        ([1, 2], [1, 0], [1, 2, 3], "3 risk scores for 2 patients"),
        ([1, np.nan], [1, 0], [1, 2], "time must be finite"),
        ([1, 2], [1, 2], [1, 2], "event 0 or 1"),
        ([1, 2], [1, 0], [1, np.inf], "risk scores must be finite"),
        ([], [], [], "no patients"),
    ],
)
def test_bad_input_is_refused(time, event, risk, message):
    with pytest.raises(ValueError, match=message):
        resampling.c_index_replicates(time, event, risk, 10, 0)
    with pytest.raises(ValueError, match="counts must have shape"):
        resampling.c_index_replicates([1, 2], [1, 0], [1, 2], 1, 0, counts=np.ones((1, 3)))
