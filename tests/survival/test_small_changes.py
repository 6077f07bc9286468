"""What a small change of a formula would alter and no other fast test here shows; see tests/mutants.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import chi2, norm
from scipy.stats import t as student_t

from analysis_lib.survival import (
    agreement,
    analytic,
    combat,
    comparison,
    competing,
    decision,
    evaluation,
    imputation,
    resampling,
    separation,
    survival,
    unpaired,
)
from analysis_lib.survival.cox import NoFiniteEstimate, cox_fit
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


def test_repetition_of_values_without_noise():
    assert np.isnan(agreement.icc_agreement(np.zeros((5, 3)))).all()
    # a shift in every subject and no noise: MSR and MSC alone are left of ICC(A,1), McGraw and Wong 1996
    values = np.arange(5.0)[:, None] + np.array([0.0, 2.0, 4.0])
    between, across = 3 * np.arange(5.0).var(ddof=1), 5 * 4.0
    assert agreement.icc_agreement(values)[0] == pytest.approx(between / (between + 3 / 5 * across))


def test_the_curve_of_calibration_is_the_one_behind_the_ici():
    time, dead, x = columns(200)
    probability = 1 / (1 + np.exp(-x[:, 1]))
    observed = evaluation.smooth_curve(time, dead, probability, 12.0)(probability)
    ici = np.abs(observed - probability).mean()
    assert ici == pytest.approx(evaluation.calibration_summary(time, dead, probability, 12.0)["ici"])


@pytest.mark.parametrize("months", [[12.0], [6.0, 12.0, 18.0]])
def test_skill_is_one_less_the_score_over_that_of_everybody(months):
    time, dead, x = columns()
    curves = {"model": np.exp(-np.exp(x[:, 1])[:, None] * np.array(months) / 30)}
    found = comparison.brier_intervals(time, dead, curves, months, 20, 0.95, 1)
    shown = found["month"].dropna()
    assert shown.tolist() == months and len(found) == len(months) + (len(months) > 1)
    assert found["skill"].to_numpy() == pytest.approx(1 - found["brier"] / found["null"])
    assert (found["skill_low"] < found["skill"]).all() and (found["skill"] < found["skill_high"]).all()


@pytest.mark.parametrize(
    "time, cause", [([], []), ([1.0, 2.0], [1]), ([1.0, np.nan], [1, 0]), ([1.0, 2.0], [1, np.nan])]
)
def test_incidence_without_a_known_time_and_cause_is_refused(time, cause):
    with pytest.raises(ValueError, match="known for every patient and of one length"):
        competing.cumulative_incidence(time, cause, 0.95)


def test_steps_that_overshoot_are_halved():
    """Newton's full step from 0 worsens the likelihood where a covariate has a long tail; the maximum is found."""
    rng = np.random.default_rng(1)
    x = np.exp(2.5 * rng.standard_normal(60))
    time = rng.exponential(1 / np.exp(0.5 * np.log(x)))
    beta = cox_fit(time, np.ones(60), x).coefficients[0]
    order = np.argsort(-time)
    z = x[order]

    def log_likelihood(b):
        return np.sum(b * z - np.logaddexp.accumulate(b * z))

    best = minimize_scalar(lambda b: -log_likelihood(b), bounds=(-1, 1), method="bounded", options={"xatol": 1e-10})
    assert beta == pytest.approx(best.x, rel=1e-5)


def test_intervals_of_net_benefit_are_those_of_patients_drawn_anew():
    time, dead, x = columns()
    probability, month, threshold = 1 / (1 + np.exp(-x[:, 1])), 12.0, 0.4
    found = decision.net_benefit(time, dead, probability[:, None], ["m"], [threshold], month, 40, 0.9, 7)
    values = []
    for count in resampling.bootstrap_counts(len(time), 40, 7):
        rows = np.repeat(np.arange(len(time)), count)
        treated = rows[probability[rows] >= threshold]
        died = 1 - evaluation.survived(time[treated], dead[treated], month)
        share = len(treated) / len(rows)
        values.append(died * share - threshold / (1 - threshold) * (1 - died) * share)
    low, high = resampling.percentile_interval(np.array(values), 0.9)
    row = found.set_index("model").loc["m"]
    assert (row["net_benefit_low"], row["net_benefit_high"]) == pytest.approx((float(low), float(high)))


def test_the_replicates_of_a_decision_curve_count_who_is_drawn_once_and_groups_of_one():
    """Compiled: with drawn patients of every count, groups of one patient, and a group that nobody drawn belongs to."""
    time, dead, _ = columns(12)
    groups = np.vstack([np.ones(12, bool), np.eye(12, dtype=bool)[[0, 5]]])
    counts = resampling.bootstrap_counts(12, 30, 2)
    died, share = decision.died_in(time, dead, groups, 8.0, counts)
    for k, count in enumerate(counts):
        for g, member in enumerate(groups):
            rows = np.repeat(np.flatnonzero(member), count[member])
            alive = evaluation.survived(time[rows], dead[rows], 8.0) if len(rows) else 1.0
            assert share[k, g] == len(rows) / 12
            assert died[k, g] == pytest.approx(1 - alive, nan_ok=True)


def test_who_keeps_his_risk_is_reclassified_neither_way():
    """Censored patients, a third of them with the same risk in both models; Pencina 2011 by Kaplan-Meier."""
    time, dead, x = columns(90)
    change = np.repeat([-0.1, 0.0, 0.1], 30)
    found = evaluation.net_reclassification(time, dead, np.full(90, 0.5), 0.5 + change, 12.0)
    died = {s: 1 - evaluation.survived(time[np.sign(change) == s], dead[np.sign(change) == s], 12.0) for s in (-1, 1)}
    everybody = 1 - evaluation.survived(time, dead, 12.0)
    assert found["nri_event"] == pytest.approx((died[1] - died[-1]) / 3 / everybody)
    assert found["nri_nonevent"] == pytest.approx((died[1] - died[-1]) / 3 / (1 - everybody))


def test_what_is_imputed_knows_no_origin_takes_counts_and_copies():
    rng = np.random.default_rng(5)
    others = rng.normal(size=(50, 2))
    column = others @ [1.0, -2.0] + rng.normal(size=50)
    gap = np.arange(50) < 10

    def drawn(column, others):
        return imputation._draw(column, gap, others, np.random.default_rng(1))

    # regression has an intercept: where the other columns have their origin changes nothing
    np.testing.assert_allclose(drawn(column, others + [30.0, -7.0]), drawn(column, others), rtol=1e-6)
    # a column of counts holds 0 and 1 too, and is no column of 0 and 1
    counts = np.arange(50) % 7.0
    assert not np.isin(drawn(counts, others), (0, 1)).all()
    # the prior keeps the covariance of two copies of a column finite
    assert np.isfinite(drawn(column, others[:, [0, 0]])).all()


def test_p_of_a_pooled_coefficient_is_that_of_student():
    found = imputation.pool([0.5, 0.7, 0.4], [0.04, 0.05, 0.045], 60)
    assert found["p"] == pytest.approx(2 * student_t.sf(found["estimate"] / found["se"], found["df"]))
    assert imputation.pool([-0.1, 0.1], [0.04, 0.04], 60)["p"] == 1


def test_a_band_where_one_month_never_changes_and_bca_of_one_replicate_and_none():
    estimate = np.array([1.0, 0.6])
    values = np.array([[1.0, 0.5], [1.0, 0.7], [1.0, 0.65]])
    low, high = resampling.simultaneous_band(values, estimate, 0.95)
    assert low[0] == high[0] == 1.0 and low[1] < 0.6 < high[1]
    jackknife = np.array([0.4, 0.5, 0.7])
    assert np.isnan(resampling.bca_interval(np.array([]), 0.5, jackknife, 0.95)).all()
    assert resampling.bca_interval(np.array([0.5]), 0.5, jackknife, 0.95) == (0.5, 0.5)


def splitmix64(state):
    """Steele 2014, doi 10.1145/2714064.2660195, in Python's whole numbers."""
    mask = 2**64 - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


@pytest.mark.parametrize("n", [6, 7])
def test_patients_are_drawn_by_splitmix64(n):
    # the first numbers that its reference implementation gives for seed 1234567
    assert [k for k, _ in zip(splitmix64(1234567), range(2), strict=False)] == [
        6457827717110365317,
        3203168211198807973,
    ]
    found = resampling.bootstrap_counts(n, 3, 5)
    for replicate in range(3):
        # the stream of a replicate starts at a number of the stream of the seed
        start = next(splitmix64(5)) + replicate * 0x9E3779B97F4A7C15 - 0x9E3779B97F4A7C15
        stream, expected = splitmix64(next(splitmix64(start % 2**64))), np.zeros(n, int)
        for _ in range(n // 2):
            number = next(stream)
            expected[((number & 0xFFFFFFFF) * n) >> 32] += 1
            expected[((number >> 32) * n) >> 32] += 1
        if n % 2:
            expected[((next(stream) >> 32) * n) >> 32] += 1
        assert found[replicate].tolist() == expected.tolist()


def test_a_band_of_auc_lies_around_its_curve_within_0_and_1():
    time, dead, x = columns()
    found = survival.auc_curve(time, dead, {"m": x[:, 1], "n": x[:, 0]}, [6.0, 12.0, 24.0], 40, 0.95, 1)
    assert (found["low_simultaneous"] >= 0).all() and (found["low_simultaneous"] < found["auc"]).all()
    assert (found["auc"] < found["high_simultaneous"]).all() and (found["high_simultaneous"] <= 1).all()


def test_without_a_death_the_logrank_test_has_no_p():
    assert np.isnan(survival.logrank_p([1, 2, 3, 4], [0, 0, 0, 0], [0, 1, 0, 1]))


def test_the_discriminant_knows_no_origin():
    """Components far from 0 lose no digits: sums of squares of 1e7 would leave nothing of a variance of 1."""
    rng = np.random.default_rng(2)
    x, member = rng.normal(size=(40, 3)), (np.arange(40) % 2 == 0)[None, :]
    fold = (np.arange(40) // 2 % 4)[None, :]

    def scores(x):
        found = separation._cross_scores(x, member, fold, 4)[0]
        return np.concatenate([np.argsort(found[fold[0] == k]) for k in range(4)])

    assert scores(x + 1e7).tolist() == scores(x).tolist()


def test_groups_of_calibration_are_numbered_and_have_the_interval_of_their_curve():
    time, dead, x = columns(90)
    probability = 1 / (1 + np.exp(-x[:, 1]))
    found = evaluation.calibration(time, dead, probability, 12.0, 3, 0.9)
    assert found["group"].tolist() == [1, 2, 3] and found["n"].tolist() == [30, 30, 30]
    order = np.argsort(probability, kind="stable")
    for k, row in found.iterrows():
        inside = order[30 * k : 30 * (k + 1)]
        curve = survival.survival_at(survival.kaplan_meier(time[inside], dead[inside], 0.9), 12.0).iloc[0]
        assert row["predicted"] == pytest.approx(probability[inside].mean())
        expected = [1 - curve[name] for name in ("survival", "high", "low")]
        assert row[["observed", "low", "high"]].tolist() == pytest.approx(expected)
        assert row["low"] < row["observed"] < row["high"]


def test_greenwoods_interval_where_one_is_left():
    curve = survival.kaplan_meier([1.0, 2.0, 3.0], [1, 1, 0], 0.95).set_index("month")
    variance = 1 / (3 * 2) + 1 / (2 * 1)
    half = norm.ppf(0.975) * np.sqrt(variance) / np.log(3)
    ends = (1 / 3) ** np.exp([half, -half])
    assert curve.loc[2.0, ["survival", "low", "high"]].tolist() == pytest.approx([1 / 3, *ends])


def test_brier_of_everybody_without_censoring_is_p_times_one_less_p():
    time, _, x = columns(50)
    alive = np.mean(time > 12)
    found = comparison.brier_intervals(time, np.ones(50), {"m": np.full((50, 1), 0.5)}, [12.0], 5, 0.95, 1).iloc[0]
    assert found["brier"] == pytest.approx(0.25) and found["null"] == pytest.approx(alive * (1 - alive))
    before = comparison.brier_intervals(time, np.ones(50), {"m": np.full((50, 1), 0.9)}, [time.min() / 2], 5, 0.95, 1)
    assert before["null"].item() == 0 and np.isnan(before["skill"].item())  # nothing to be better than


def test_a_base_that_is_constant_adds_nothing_and_a_marker_may_have_two_values():
    time, dead, x = columns()
    base = pd.DataFrame({"a": x[:, 0], "same": 1.0})
    found = comparison.added_value(time, dead, base, x[:, 1])
    assert found == comparison.added_value(time, dead, base[["a"]], x[:, 1]) and found["note"] == ""
    two = comparison.added_value(time, dead, base, x[:, 1] > 0)
    assert two["note"] == "" and np.isfinite(two["hr_per_sd"])
    one = comparison.added_value(time, dead, base, np.ones(60))
    assert "fewer than two patients" in one["note"] and np.isnan(one["p"])


def test_a_covariate_whose_step_is_zero_does_not_end_the_search():
    time, dead, x = columns()
    twice, sign = np.repeat(np.arange(60), 2), np.tile([-1.0, 1.0], 60)
    fit = cox_fit(time[twice], dead[twice], np.column_stack([x[twice, 1], sign]), ties="breslow")
    alone = cox_fit(time[twice], dead[twice], x[twice, 1], ties="breslow")
    assert fit.coefficients == pytest.approx([alone.coefficients[0], 0], abs=1e-9)
    assert (fit.n, fit.n_events) == (120, 2 * dead.sum())


def test_two_covariates_that_are_nearly_one_have_no_coefficients():
    time, dead, x = columns()
    with pytest.raises(NoFiniteEstimate, match="collinear"):
        cox_fit(time, dead, np.column_stack([x[:, 0], x[:, 0] + 1e-9 * x[:, 1]]))


def test_replicates_at_zero_count_half():
    values = np.array([0.0, 0.0, *np.arange(1.0, 18.0), -1.0])
    assert resampling.bootstrap_p(values) == pytest.approx(2 * (1 + 2 / 2 + 1) / 21)
    low, high = resampling.bca_interval(np.linspace(0, 1, 101), 0.5, np.array([0.4, 0.6]), 0.9)
    assert (low, high) == pytest.approx((0.05, 0.95), abs=1e-3)  # two patients, no skewness and no bias


def test_components_count_small_features_and_no_rounding():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(20, 3)))
    expected = np.abs(separation.principal_components(table, table, 2)[0].to_numpy())
    small = table * [1.0, 1e-15, 1e6]
    assert np.abs(separation.principal_components(small, small, 2)[0].to_numpy()) == pytest.approx(expected)
    rounding = table.assign(same=np.where(np.arange(20) % 2, 0.3, 0.1 + 0.2))
    found = separation.principal_components(rounding, rounding, 2)[0].to_numpy()
    assert np.abs(found) == pytest.approx(expected)


@pytest.mark.parametrize("unit", [1.0, 1e6])
def test_nobody_is_left_where_all_at_risk_die_whatever_they_weigh(unit):
    rng, time = np.random.default_rng(0), np.array([3.0] * 3 + [5.0] * 27)
    for _ in range(20):  # sums of weights hang on their order in the last bit
        weights = rng.uniform(0.1, 1, 30) * unit
        curve = survival.kaplan_meier(time, np.ones(30), 0.95, weights=weights)
        assert curve["survival"].iloc[-1] == 0 and np.isnan(curve["low"].iloc[-1])
        assert curve["events"].tolist() == pytest.approx([0, weights[:3].sum(), weights[3:].sum()])


def test_pooled_auc_is_that_of_all_pairs_within_a_fold():
    auc = separation._pooled_auc.py_func if hasattr(separation._pooled_auc, "py_func") else separation._pooled_auc
    rng = np.random.default_rng(1)
    for n in (3, 8, 15):
        ranks, member, fold = rng.integers(0, 4, n), rng.random(n) < 0.5, rng.integers(0, 2, n)
        counts = rng.integers(0, 3, (4, n))
        found = auc(ranks, member, fold, 2, counts)
        for b in range(4):
            right = pairs = 0.0
            for i in np.flatnonzero(member):
                for j in np.flatnonzero(~member & (fold == fold[i])):
                    weight = counts[b, i] * counts[b, j]
                    right += weight * ((ranks[i] > ranks[j]) + 0.5 * (ranks[i] == ranks[j]))
                    pairs += weight
            assert found[b] == pytest.approx(right / pairs if pairs else np.nan, nan_ok=True)


def test_observed_over_predicted():
    assert comparison._ratio(0.3, 0.2) == pytest.approx(1.5) and np.isnan(comparison._ratio(0.3, 0.0))


def test_an_incidence_has_its_log_log_interval_and_is_read_at_its_month():
    rng = np.random.default_rng(2)
    time, cause = np.ceil(rng.exponential(8, 50)), rng.integers(0, 3, 50)
    found = competing.cumulative_incidence(time, cause, 0.9)
    some = found[(found["incidence"] > 0) & (found["incidence"] < 1)]
    left = 1 - some["incidence"]
    width = norm.ppf(0.95) * some["se"] / np.abs(left * np.log(left))
    assert some["low"].to_numpy() == pytest.approx((1 - left ** np.exp(-width)).to_numpy())
    assert some["high"].to_numpy() == pytest.approx((1 - left ** np.exp(width)).to_numpy())
    month = float(some["month"].iloc[3])
    here = competing.incidence_at(found, month).set_index("cause")["incidence"]
    assert here.to_dict() == found[found["month"] == month].set_index("cause")["incidence"].to_dict()


def test_batches_of_two_count_and_features_that_vary_alike_are_drawn_nowhere():
    rng = np.random.default_rng(0)
    x, batch = pd.DataFrame(rng.normal(size=(5, 4))), pd.Series(["a", "a", "b", "b", "c"])
    pairs = combat.Combat.fit(x[:4], batch[:4])
    fitted = combat.fit_where_possible(x, batch)
    assert fitted is not None
    pd.testing.assert_frame_equal(fitted.transform(x[:4], batch[:4]), pairs.transform(x[:4], batch[:4]))
    mean, sd = combat._posterior(np.array([[0.0, 1.0], [1.0, 2.0]]))
    assert mean.tolist() == [0.5, 1.5] and sd == pytest.approx(np.sqrt([0.5, 0.5]))
    unknown = np.column_stack([rng.normal(size=(6, 3)) * [1, 2, 3], np.full(6, np.nan)])
    mean, sd = combat._posterior(unknown)
    assert (mean[3], sd[3]) == (0, 1)


def test_what_is_no_vector_is_no_cohort():
    with pytest.raises(ValueError, match="must be vectors of one length"):
        resampling.sort_patients(np.ones((2, 2)), np.ones((2, 2)))


def test_where_the_last_die_nobody_is_censored_and_no_weight_is_infinite():
    assert resampling.uncensored_probability([1.0, 2.0], [1, 1], np.array([2.0, 3.0])).tolist() == [1, 1]
    # nobody of the training patients is followed beyond month 3: the event of month 5 has no weight
    train = ([1.0, 2.0, 3.0], [1, 1, 0])
    time, dead, risk = [1.0, 5.0, 7.0, 8.0], [1, 1, 0, 0], np.array([[0.6], [0.0], [0.5], [0.7]])
    once = np.ones((1, 4), dtype=np.uint16)
    found = resampling.auc_replicates(time, dead, risk, [6.0], 1, 0, train=train, counts=once)
    assert found.ravel().tolist() == [0.5]  # the event of month 1 against the two who live


def test_half_of_the_replicates_are_enough_for_their_error():
    values = np.where(np.arange(200) % 2, np.arange(200.0), np.nan)
    assert np.isfinite(resampling.monte_carlo_error(values, 0.9)).all()
    values[1] = np.nan
    assert np.isnan(resampling.monte_carlo_error(values, 0.9)).all()


def test_before_the_first_death_everybody_lives_for_certain():
    curve = survival.kaplan_meier([1.0, 2.0, 3.0], [0, 1, 0], 0.95)
    assert curve.loc[curve["month"] < 2, ["survival", "low", "high"]].to_numpy().tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_gap_of_two_groups_is_that_of_their_c_indices():
    time, dead, x = columns(80)
    halves = [(time[part], dead[part], x[part, 1]) for part in (slice(0, 40), slice(40, 80))]
    found = unpaired.c_index_gap(*halves, 50, 0.9, 3)
    assert found["difference"] == survival.c_index(*halves[0]) - survival.c_index(*halves[1])
    drawn = [resampling.c_index_replicates(*half, 50, 3 + k)[:, 0] for k, half in enumerate(halves)]
    ends = resampling.percentile_interval(drawn[0] - drawn[1], 0.9)
    assert (found["low"], found["high"]) == tuple(map(float, ends))
    assert found["low"] < found["difference"] < found["high"]


def test_the_last_patient_alone_has_no_contrast_in_a_score_test():
    time, x = [1.0, 2.0, 3.0, 4.0], np.array([[0.0], [1.0], [0.0], [1.0]])
    found = survival.logrank_p(time, [1, 1, 1, 1], x[:, 0], strata=np.ones(4))
    assert found == pytest.approx(survival.logrank_p(time, [1, 1, 1, 1], x[:, 0]))


def test_restricted_mean_where_all_have_died_is_that_of_their_times():
    time = [1.0, 2.0, 3.0, 6.0]
    mean, error = evaluation.restricted_mean(time, np.ones(4), 10.0)
    assert mean == pytest.approx(np.mean(time)) and error == pytest.approx(np.std(time) / 2)
    assert np.isnan(evaluation.restricted_mean(time, [1, 1, 1, 0], 10.0)).all()


def test_a_determined_column_is_imputed_as_it_is_determined():
    rng = np.random.default_rng(5)
    others, gap = rng.normal(size=(200, 2)), np.arange(200) < 20
    column = others @ [1.0, -2.0] + 0.01 * rng.normal(size=200)
    assert imputation._draw(column, gap, others, rng) == pytest.approx(column[gap], abs=0.1)
    x, y, penalty = np.column_stack([np.ones(200), others]), (column > 0.5).astype(float), np.array([1e-6, 0.1, 0.1])
    beta, _ = imputation._logistic(x, y, penalty)
    gradient = x.T @ (y - 1 / (1 + np.exp(-x @ beta))) - penalty * beta
    assert np.abs(gradient).max() < 1e-6  # at the mode


def test_two_features_are_enough_to_draw_means_together():
    z = np.array([[0.0, 1.0], [1.0, 4.0], [2.0, 9.0]])
    mean, _ = combat._posterior(z)
    assert z[:, 0].mean() < mean[0] < mean[1] < z[:, 1].mean()


def test_who_treats_nobody_gains_nothing_and_who_treats_all_what_the_dead_are_worth():
    time, dead, x = columns()
    probability = 1 / (1 + np.exp(-x[:, 1]))
    found = decision.net_benefit(time, dead, probability[:, None], ["m"], [0.3], 12.0, 5, 0.9, 7).set_index("model")
    died = 1 - evaluation.survived(time, dead, 12.0)
    assert found.at["none", "net_benefit"] == 0
    assert found.at["all", "net_benefit"] == pytest.approx(died - 0.3 / 0.7 * (1 - died))


def test_before_the_first_death_the_predicted_survival_is_one():
    time, dead, x = columns()
    found = evaluation.predicted_survival((time, dead), x[:, 1], x[:, 1], [time[dead].min() / 2, time[dead].min()])
    assert (found[:, 0] == 1).all() and (found[:, 1] < 1).all()


def test_a_band_is_as_many_errors_wide_everywhere():
    estimate, noise = np.array([0.5, 0.5]), np.random.default_rng(0).normal(size=(200, 1))
    low, high = resampling.simultaneous_band(estimate + noise * [0.01, 0.05], estimate, 0.95)
    assert (high - low)[1] / (high - low)[0] == pytest.approx(5)


def test_who_enters_at_a_month_is_not_yet_at_risk_in_it():
    assert survival.numbers_at_risk([5.0, 5.0], [2.0, 3.0], entry=[2.0, 0.0]).tolist() == [1, 2]


def test_a_unit_more_and_a_standard_deviation_more():
    time, dead, x = columns()
    unit = survival.cox_continuous(time, dead, x[:, 1], 0.95, per_sd=False)
    assert np.log(unit["hr"]) == pytest.approx(cox_fit(time, dead, x[:, 1]).coefficients[0])
    one = survival.cox_continuous(time, dead, x[:, 1], 0.95)
    assert np.log(one["hr"]) == pytest.approx(np.log(unit["hr"]) * one["sd"])


@pytest.mark.parametrize("last", [[1, 0], [0, 1]])
def test_one_of_the_last_censored_hides_what_comes_after(last):
    assert np.isnan(evaluation.survived(np.array([1.0, 3.0, 3.0]), np.array([True, *map(bool, last)]), 4.0))
    assert evaluation.survived(np.array([1.0, 3.0, 3.0]), np.array([True, True, True]), 4.0) == 0


def test_two_subjects_have_an_icc():
    assert agreement.icc_agreement(np.array([[1.0, 1.1], [5.0, 5.2]]))[0] > 0.9


def test_adjusted_p_values_are_at_most_one_and_of_three_covariates_the_last_is_told():
    assert evaluation.benjamini_hochberg([0.9, 0.95]).max() <= 1
    assert evaluation.benjamini_hochberg([0.6, 0.999]).tolist() == pytest.approx([0.999, 0.999])
    time, dead, x = columns()
    three = np.column_stack([x, np.random.default_rng(9).normal(size=60)])
    found = imputation.imputed_ratio(time, dead, three, ("a", "b", "c"), 0.95, (2, 2, 1))
    assert found["mi_hr"] == pytest.approx(np.exp(cox_fit(time, dead, three).coefficients[2]))


def test_who_is_censored_counts_what_he_weighs():
    curve = survival.kaplan_meier([1.0, 2.0, 3.0], [1, 0, 1], 0.95, weights=[1.0, 3.0, 2.0]).set_index("month")
    assert curve["censored"].to_dict() == {0: 0, 1: 0, 2: 3, 3: 0} and curve["at_risk"].tolist() == [6, 6, 5, 2]
