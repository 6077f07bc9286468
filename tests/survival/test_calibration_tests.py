"""D-calibration and one-calibration against SurvivalEVAL, whose values make_calibration_reference.py wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis_lib.survival.calibration_tests import d_calibration, one_calibration

REFERENCE = Path(__file__).parents[1] / "reference"
VALUES = pd.read_csv(REFERENCE / "calibration_values.csv").set_index(["table", "quantity"])["value"]
TABLES = pd.read_csv(REFERENCE / "survival_tables.csv").join(
    pd.read_csv(REFERENCE / "prediction_tables.csv")["probability"]
)


def test_as_survivaleval(evidence):
    ours = {}
    for name, table in TABLES.groupby("table"):
        month, event, risk = (table[column].to_numpy() for column in ("month", "event", "probability"))
        found = d_calibration(event, (1 - risk) ** (2 * month / month.max()))
        ours |= {(name, "d_statistic"): found["statistic"], (name, "d_p"): found["p"]}
        ours |= {(name, f"d_{k}"): count for k, count in enumerate(found["count"])}
        for share in (4, 2):
            found = one_calibration(month, event, 1 - (1 - risk) ** (2 / share), month.max() / share, 5)
            ours |= {(name, f"one_{key}_{share}"): found[key] for key in ("statistic", "p")}
    theirs = VALUES[~np.isinf(VALUES)]  # theirs is infinite, and ours not a number, where a group has no event
    assert {key for key, value in ours.items() if np.isnan(value)} == set(VALUES[~np.isfinite(VALUES)].index)
    evidence(
        "survivaleval-calibration",
        "survival",
        "D-calibration and one-calibration with Greenwood's variance, of five tables",
        "SurvivalEVAL 0.9.0, [code](https://github.com/shi-ang/SurvivalEVAL)",
        theirs={" ".join(key): value for key, value in theirs.items()},
        ours={" ".join(key): ours[key] for key in theirs.index},
        rtol=1e-8,
    )


def exponential(n, seed, last=100):
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(size=n)) / 40
    time, censored = rng.exponential(1 / rate), rng.uniform(5, last, n)
    return np.minimum(time, censored), time <= censored, rate


def test_true_curves_are_calibrated_and_others_are_not():
    time, event, rate = exponential(20_000, 1)
    assert d_calibration(event, np.exp(-rate * time))["p"] > 0.05
    assert one_calibration(time, event, 1 - np.exp(-rate * 24), 24, 10)["p"] > 0.05
    for factor in (0.8, 1.25):
        assert d_calibration(event, np.exp(-factor * rate * time))["p"] < 1e-6
        assert one_calibration(time, event, 1 - np.exp(-factor * rate * 24), 24, 10)["p"] < 1e-6


def test_how_often_a_true_model_is_rejected():
    found = []
    for seed in range(120):
        (time, event, rate), (whole, died, true) = exponential(2000, seed), exponential(2000, seed, 1e9)
        one = one_calibration(time, event, 1 - np.exp(-rate * 24), 24, 5)["p"]
        found.append(
            [d_calibration(died, np.exp(-true * whole))["p"], d_calibration(event, np.exp(-rate * time))["p"], one]
        )
    uncensored, censored, one = np.mean(np.array(found) < 0.05, axis=0)
    assert 0.01 < uncensored < 0.1 and 0.01 < one < 0.1
    assert censored < 0.02  # spreading the censored evenly hides part of the scatter, as the docstring says


def test_edges():
    found = d_calibration([True, True, False, False], [1.0, 0.0, 0.0, 0.25], bins=4)
    assert found["count"].tolist() == [1, 0, 0, 3]  # from the highest: 1 in the first bin; 0, 0 and 0.25 in the last
    assert d_calibration([False], [0.5], bins=4)["count"].tolist() == [0, 0, 0.5, 0.5]
    for alive in ([], [np.nan], [1.2], [-0.1]):
        with pytest.raises(ValueError, match="probability of survival"):
            d_calibration(np.ones(len(alive)), alive)
    time, event = np.arange(1.0, 9), np.array([1, 1, 1, 1, 1, 0, 1, 0])
    risk = np.linspace(0.9, 0.2, 8)
    assert one_calibration(time, event, risk, 6, 1)["statistic"] > 0
    gone = [(time, event, 9), (time, 0 * event, 6), (np.append(time[:4], [9.0] * 4), event, 4)]
    for t, e, month in gone:  # past the follow-up; nobody dies; a whole group dies, and the other has no death
        assert np.isnan(list(one_calibration(t, e, risk, month, 2).values())).all()
    assert np.isnan(one_calibration([], [], [], 6, 2)["p"])
    found = one_calibration([1, 2, 2], [1, 0, 0], [0.5, 0.4, 0.3], 1.5, 1)
    assert found["statistic"] == pytest.approx((1 / 3 - 0.4) ** 2 / ((2 / 3) ** 2 / 6))
