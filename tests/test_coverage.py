"""Nominal 95% intervals cover the truth in 93-97% of simulated cohorts of the internal test set's size."""

from __future__ import annotations

import numpy as np
import pytest

from analysis_lib.statistics import survival
from analysis_lib.statistics.evaluation import restricted_mean_difference

COHORTS = 2000
TRUE_LOG_HR = 0.5


def cohort(rng: np.random.Generator, n: int):
    """A binary group with log hazard ratio 0.5 and a continuous score, a third to a half of them dying."""
    group, score = rng.random(n) < 0.4, rng.normal(size=n)
    death = rng.exponential(70 * np.exp(-TRUE_LOG_HR * group - 0.6 * score))
    censoring = rng.uniform(10, 80, n)
    return np.minimum(death, censoring), death <= censoring, group, score


def covered(low, high, truth) -> float:
    return float(np.mean((np.array(low) <= truth) & (truth <= np.array(high))))


@pytest.mark.slow
def test_c_index_and_auc():
    rng = np.random.default_rng(1)
    big = [cohort(rng, 20_000) for _ in range(10)]
    true_c = np.mean([survival.c_index(t, e, s) for t, e, _, s in big])
    ones = [survival.auc_curve(t, e, s, [36], 1, 0.95, 0)["auc"].iloc[0] for t, e, _, s in big]
    c_index, auc = [], []
    for seed in range(COHORTS):
        time, event, _, score = cohort(rng, 147)
        c_index.append(survival.bootstrap_c_index(time, event, score, 1000, 0.95, seed).iloc[0])
        auc.append(survival.auc_curve(time, event, score, [36], 1000, 0.95, seed).iloc[0])
    for rows, truth in ((c_index, true_c), (auc, np.mean(ones))):
        share = covered([r["low"] for r in rows], [r["high"] for r in rows], truth)
        print(f"coverage {share:.3f} of {truth:.3f}")
        assert 0.93 <= share <= 0.97


@pytest.mark.slow
def test_hazard_ratio_and_restricted_mean():
    rng = np.random.default_rng(2)
    # Given the group alone the hazards are not proportional, so the score is left out of this simulation.
    rows, gaps = [], []
    for _ in range(COHORTS):
        group = rng.random(147) < 0.4
        death, censoring = rng.exponential(70 * np.exp(-TRUE_LOG_HR * group)), rng.uniform(10, 80, 147)
        time, event = np.minimum(death, censoring), death <= censoring
        rows.append(survival.cox_binary(time, event, group, 0.95))
        gaps.append(restricted_mean_difference(time, event, group, 48, 0.95))
    share = covered([r["low"] for r in rows], [r["high"] for r in rows], np.exp(TRUE_LOG_HR))
    print(f"coverage {share:.3f} of the hazard ratio")
    assert 0.93 <= share <= 0.97
    rate = np.exp(TRUE_LOG_HR) / 70
    truth = (1 - np.exp(-48 * rate)) / rate - 70 * (1 - np.exp(-48 / 70))
    share = covered([r["low"] for r in gaps], [r["high"] for r in gaps], truth)
    print(f"coverage {share:.3f} of the restricted mean difference")
    assert 0.93 <= share <= 0.97
