"""ICC(A,1) against published values, the variance components of R, and what it must not depend on."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_lib.survival.agreement import icc_agreement, icc_table, lowest_icc, stable_features

# Shrout and Fleiss 1979, table 2: six targets, four judges. R: psych::ICC(sf) documents for single random raters
# (ICC2) 0.29, interval 0.019 to 0.76; more digits by R's own aov:
#   d <- data.frame(y = c(9,2,5,8,6,1,3,2,8,4,6,8,7,1,2,6,10,5,6,9,6,2,4,7),
#                   s = gl(6, 4), r = gl(4, 1, 24)); m <- anova(lm(y ~ s + r, d))[["Mean Sq"]]
#   (m[1] - m[3]) / (m[1] + 3 * m[3] + 4 * (m[2] - m[3]) / 6)
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
ICC2 = 0.2897638


def test_published_example(evidence) -> None:
    icc, low, high = icc_agreement(SHROUT_FLEISS)
    assert icc == pytest.approx(ICC2, abs=1e-7)
    evidence(
        "shrout-fleiss", "survival", "ICC(A,1) of six targets and four judges, to the printed digit",
        "Shrout 1979, [doi](https://doi.org/10.1037/0033-2909.86.2.420), interval by R's psych",
        {"ICC": 0.29, "low": 0.019, "high": 0.76}, {"ICC": icc, "low": low, "high": high},
        atol={"ICC": 0.005, "low": 0.0005, "high": 0.005},
    )  # fmt: skip


def test_a_shift_of_all_is_disagreement() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=30)
    same = truth[:, None] + rng.normal(0, 0.1, (30, 3))
    assert icc_agreement(same)[0] > 0.98
    assert icc_agreement(same + [0, 2, 4])[0] < 0.4


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 1000))
def test_unit_and_origin_do_not_matter(scale: float, shift: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(8, 3)) + np.arange(8)[:, None]
    np.testing.assert_allclose(icc_agreement(values * scale + shift), icc_agreement(values), rtol=1e-6, atol=1e-9)


def test_interval_covers_the_truth() -> None:
    """Variance components of 0.7, 0.1 and 0.2: ICC(A,1) is 0.7, and its 90% interval holds it about 90% of the time."""
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(400):
        subjects, raters = rng.normal(0, 0.7**0.5, (25, 1)), rng.normal(0, 0.1**0.5, (1, 5))
        _, low, high = icc_agreement(subjects + raters + rng.normal(0, 0.2**0.5, (25, 5)), 0.90)
        inside += low <= 0.7 <= high
    assert 340 <= inside <= 385


def test_equal_and_constant_values() -> None:
    assert icc_agreement(np.repeat(np.arange(5.0)[:, None], 3, axis=1)) == (1.0, 1.0, 1.0)
    nearly = np.arange(5.0)[:, None] + 1e-10 * np.random.default_rng(1).normal(size=(5, 3))
    assert icc_agreement(nearly) == (1.0, 1.0, 1.0)
    assert np.isnan(icc_agreement(np.full((5, 3), 1e6))).all()
    assert np.isnan(icc_agreement(np.ones((1, 3)))).all()


def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=12)
    rows = {}
    for patient in range(12):
        for variant in ("original", "eroded", "bin-20", "noise"):
            if (patient, variant) == (4, "eroded"):
                continue
            steady = truth[patient] + rng.normal(0, 0.05)
            rows[(f"P{patient}", variant)] = {"steady": steady, "wild": rng.normal(), "constant": 1.0}
    values = pd.DataFrame.from_dict(rows, orient="index")
    values.index.names = ["patient_id", "variant"]
    families = {"mask": ["original", "eroded"], "bins": ["original", "bin-20"], "noise": ["original", "noise"]}
    return icc_table(values, families)


def test_families_and_threshold() -> None:
    found = table()
    assert found.loc[found["family"] == "mask", "patients"].tolist() == [11, 11, 11]
    assert found.loc[found["family"] == "noise", "patients"].tolist() == [12, 12, 12]
    assert stable_features(found, 0.9) == ["steady"]
    assert np.isnan(lowest_icc(found)["constant"])
    with pytest.raises(ValueError, match=r"no feature has an ICC of 0.9999"):
        stable_features(found, 0.9999)
