"""Nominal 95% intervals cover the truth in 93-97% of simulated cohorts of the internal test set's size.

Each test prints what it found (``pytest -s``); docs/statistics.md holds the numbers of one run.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import t as student

from analysis_lib.survival import analytic, comparison, competing, cox, evaluation, imputation, survival
from analysis_lib.survival.resampling import percentile_interval

pytestmark = pytest.mark.slow

COHORTS = 2000
FEWER = 1000  # where an interval takes a tenth of a second
N = 147
TRUE_LOG_HR = 0.5
MONTH = 36.0


def cohort(rng: np.random.Generator, n: int = N):
    """A binary group with log hazard ratio 0.5 and a continuous score, a third to a half of them dying."""
    group, score = rng.random(n) < 0.4, rng.normal(size=n)
    death = rng.exponential(70 * np.exp(-TRUE_LOG_HR * group - 0.6 * score))
    return *censored(rng, death), group, score


def censored(rng: np.random.Generator, death: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    censoring = rng.uniform(10, 80, len(death))
    return np.minimum(death, censoring), death <= censoring


def covers(name: str, rows: list[dict], truth: float, low: str = "low", high: str = "high") -> None:
    table = pd.DataFrame(rows)
    share = ((table[low] <= truth) & (truth <= table[high])).mean()
    print(f"{name}: {share:.1%} of {len(table)} cohorts, truth {truth:.3f}, not estimable {table[low].isna().sum()}")
    assert 0.93 <= share <= 0.97, name


def test_c_index_and_auc():
    rng = np.random.default_rng(1)
    big = [cohort(rng, 20_000) for _ in range(10)]
    true_c = np.mean([survival.c_index(t, e, s) for t, e, _, s in big])
    true_uno = np.mean([survival.uno_c_index(t, e, s, tau=48) for t, e, _, s in big])
    true_auc = np.mean([survival.auc_curve(t, e, s, [MONTH], 1, 0.95, 0)["auc"].iloc[0] for t, e, _, s in big])
    found: dict[str, list] = {name: [] for name in ("percentile", "bca", "analytic", "uno", "auc")}
    for seed in range(COHORTS):
        time, event, _, score = cohort(rng)
        settings = (1000, 0.95, seed)
        found["percentile"].append(survival.bootstrap_c_index(time, event, score, *settings).iloc[0])
        found["bca"].append(survival.bootstrap_c_index(time, event, score, *settings, method="bca").iloc[0])
        found["analytic"].append(analytic.c_index_analytic(time, event, score, 0.95))
        found["uno"].append(survival.bootstrap_c_index(time, event, score, *settings, uno_tau=48).iloc[0])
        found["auc"].append(survival.auc_curve(time, event, score, [MONTH], *settings).iloc[0])
    for name in ("percentile", "bca", "analytic"):
        covers(f"C-index, {name}", found[name], true_c)
    covers("Uno's C-index", found["uno"], true_uno)
    covers("AUC at 36 months", found["auc"], true_auc)


def test_difference_of_two_c_indices():
    """A score against a worse one, and two equally good ones: the P value keeps its level."""
    rng = np.random.default_rng(2)
    differences = []
    for _ in range(10):
        time, event, _, score = cohort(rng, 20_000)
        noise = rng.normal(size=len(score))
        differences.append(survival.c_index(time, event, score) - survival.c_index(time, event, score + noise))
    found: dict[str, list] = {name: [] for name in ("percentile", "bca", "analytic", "null")}
    for seed in range(COHORTS):
        time, event, _, score = cohort(rng)
        one, other = score + rng.normal(size=N), score + rng.normal(size=N)
        settings = ("a", 1000, 0.95, seed)
        pair = {"a": score, "b": one}
        for method in ("percentile", "bca"):
            row = survival.bootstrap_c_index_difference(time, event, pair, *settings, method=method).iloc[0]
            found[method].append(row)
        found["analytic"].append(analytic.c_index_difference_analytic(time, event, score, one, 0.95))
        null = survival.bootstrap_c_index_difference(time, event, {"a": one, "b": other}, *settings).iloc[0]
        by_formula = analytic.c_index_difference_analytic(time, event, one, other, 0.95)
        found["null"].append({"bootstrap": null["p"], "analytic": by_formula["p"]})
    for name in ("percentile", "bca", "analytic"):
        covers(f"difference of C-indices, {name}", found[name], float(np.mean(differences)))
    for name, p in pd.DataFrame(found["null"]).items():
        print(f"P of two equal C-indices, {name}: below 0.05 in {(p < 0.05).mean():.1%}")
        assert 0.03 <= (p < 0.05).mean() <= 0.07


def test_hazard_ratio_and_restricted_mean():
    rng = np.random.default_rng(3)
    # Given the group alone the hazards are not proportional, so the score is left out of this simulation.
    ratios, firth, gaps = [], [], []
    for _ in range(COHORTS):
        group = rng.random(N) < 0.4
        time, event = censored(rng, rng.exponential(70 * np.exp(-TRUE_LOG_HR * group)))
        ratios.append(survival.cox_binary(time, event, group, 0.95))
        firth.append(cox.firth_binary(time, event, group, 0.95))
        gaps.append(evaluation.restricted_mean_difference(time, event, group, 48, 0.95))
    covers("hazard ratio, Wald", ratios, np.exp(TRUE_LOG_HR))
    covers("hazard ratio, Firth", firth, np.exp(TRUE_LOG_HR))
    rate = np.exp(TRUE_LOG_HR) / 70
    truth = (1 - np.exp(-48 * rate)) / rate - 70 * (1 - np.exp(-48 / 70))
    covers("difference of restricted means", gaps, truth)


def test_firth_in_a_small_group():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(COHORTS):
        group = np.arange(N) < 8
        time, event = censored(rng, rng.exponential(70 * np.exp(-TRUE_LOG_HR * group)))
        found.append(cox.firth_binary(time, event, group, 0.95))
    covers("hazard ratio of 8 patients, Firth", found, np.exp(TRUE_LOG_HR))


def test_curves_and_medians():
    rng = np.random.default_rng(5)
    survived, medians, incidence = [], [], []
    for _ in range(COHORTS):
        time, event = censored(rng, rng.exponential(30, N))
        curve = survival.kaplan_meier(time, event, 0.95)
        survived.append(survival.survival_at(curve, MONTH).iloc[0])
        medians.append(dict(zip(("median", "low", "high"), survival.median_interval(time, event, 0.95), strict=True)))
        cause = np.where(event, np.where(rng.random(N) < 0.7, 1, 2), 0)
        table = competing.cumulative_incidence(time, cause, 0.95)
        incidence.append(competing.incidence_at(table, MONTH).iloc[0])
    covers("survival at 36 months", survived, np.exp(-MONTH / 30))
    covers("cumulative incidence at 36 months", incidence, 0.7 * (1 - np.exp(-MONTH / 30)))
    # an upper limit that is not reached holds every truth
    medians = [row | {"high": np.inf if np.isnan(row["high"]) else row["high"]} for row in medians]
    covers("median survival", medians, 30 * np.log(2))


def death_by_month(score: np.ndarray) -> np.ndarray:
    return 1 - np.exp(-MONTH / 50 * np.exp(0.8 * score))


def calibrated(rng: np.random.Generator, n: int = N):
    """Months, events, the true model's risk of death by MONTH, and what a blurred score would predict."""
    score = rng.normal(size=n)
    time, event = censored(rng, rng.exponential(50 * np.exp(-0.8 * score)))
    return time, event, death_by_month(score), death_by_month(0.5 * score + 0.5 * rng.normal(size=n))


def test_brier_and_reclassification():
    """The true model's Brier score, and the NRI of it over the blurred score."""
    rng = np.random.default_rng(6)
    big = calibrated(rng, 1_000_000)
    truth = evaluation.net_reclassification(big[0], big[1], big[3], big[2], MONTH)
    scores, nri = [], []
    for seed in range(FEWER):
        time, event, new, old = calibrated(rng)
        settings = (200, 0.95, seed)
        scores.append(comparison.brier_intervals(time, event, {"m": 1 - new[:, None]}, [MONTH], *settings).iloc[0])
        nri.append(comparison.reclassification_intervals(time, event, old, new, MONTH, *settings))
    covers("Brier score", scores, float(np.mean(big[2] * (1 - big[2]))))
    for part in ("nri_event", "nri_nonevent", "nri"):
        covers(part, nri, truth[part], f"{part}_low", f"{part}_high")


def test_calibration():
    """Observed over predicted risk and the slope of the true model: the bootstrap of ``calibration_interval``.

    Measured one by one, because the smooth curve of the ICI, whose interval is known not to hold (docs), takes long.
    """
    rng = np.random.default_rng(60)
    ratios, slopes = [], []
    for seed in range(FEWER):
        time, event, risk, _ = calibrated(rng)

        def ratio(rows, time=time, event=event, risk=risk):
            return (1 - evaluation.survived(time[rows], event[rows], MONTH)) / risk[rows].mean()

        def slope(rows, time=time, event=event, risk=risk):
            return cox.cox_fit(time[rows], event[rows], np.log(-np.log1p(-risk[rows]))).coefficients[0]

        low, high = percentile_interval(comparison.bootstrap(ratio, N, 1000, seed)[:, None], 0.95)
        ratios.append({"low": low[0], "high": high[0]})
        if seed < FEWER // 2:
            low, high = percentile_interval(comparison.bootstrap(slope, N, 400, seed)[:, None], 0.95)
            slopes.append({"low": low[0], "high": high[0]})
    covers("observed / predicted", ratios, 1.0)
    covers("calibration slope", slopes, 1.0)


def test_hazard_ratio_after_imputation():
    """A covariate that acts, is lopsided between the groups and is unknown in a third of the patients, by age."""
    rng = np.random.default_rng(7)
    found = []
    for seed in range(FEWER):
        age = rng.normal(size=N)
        tumour = (rng.random(N) < expit(0.5 * age)).astype(float)
        group = (rng.random(N) < expit(-0.4 + 0.8 * tumour)).astype(float)
        log_hazard = TRUE_LOG_HR * group + 0.7 * tumour + 0.2 * age
        time, event = censored(rng, rng.exponential(70 * np.exp(-log_hazard)))
        gaps = rng.random(N) < expit(-0.8 + age)
        table = pd.DataFrame({"age": age, "tumour": np.where(gaps, np.nan, tumour), "group": group, "event": event})
        table = table.astype(float).assign(hazard=imputation.nelson_aalen(time, event))
        fits = [
            cox.cox_fit(time, event, copy[["age", "tumour", "group"]].to_numpy())
            for copy in imputation.impute(table, 10, 5, seed)
        ]
        pooled = imputation.pool(
            [f.coefficients[-1] for f in fits], [f.covariance[-1, -1] for f in fits], event.sum() - 3
        )
        width = student.ppf(0.975, pooled["df"]) * pooled["se"]
        found.append({"low": pooled["estimate"] - width, "high": pooled["estimate"] + width})
    covers("log hazard ratio after imputation", found, TRUE_LOG_HR)
