"""Where the training patients lay: limits against brute force, and what is seen as outside."""

import numpy as np
import pandas as pd
import pytest

from analysis_lib.coxnet.training_range import TrainingRange


def table(rng, n, d=60):
    return pd.DataFrame(rng.standard_normal((n, d)), columns=[f"sm_{k}" for k in range(d)])


def test_limit_is_that_of_each_patient_against_the_others():
    features = table(np.random.default_rng(0), 40)
    fitted = TrainingRange.fit(features, np.arange(40))
    shares = []
    for k in range(40):
        others = features.drop(index=k)
        row = features.loc[k]
        shares.append(((row < others.min()) | (row > others.max())).mean())
    assert fitted.share_limit == np.quantile(shares, 0.99)
    assert (fitted.outside(features) == 0).all(axis=None)
    assert fitted.last_month == 39


def test_one_in_a_hundred_of_the_same_kind_is_flagged():
    rng = np.random.default_rng(1)
    fitted = TrainingRange.fit(table(rng, 300), np.ones(300))
    share = (fitted.outside(table(rng, 5000)) > 0).mean(axis=1)
    assert 0.001 < (share > fitted.share_limit).mean() < 0.03


def test_how_far_outside_in_widths_of_the_span():
    features = pd.DataFrame({"a": [1.0, 3.0, 2.0], "constant": [5.0, 5.0, 5.0], "empty": [np.nan] * 3})
    fitted = TrainingRange.fit(features, [1, 2, 3])
    new = pd.DataFrame({"constant": [5.0 + 1e-12, 5.1], "empty": [1.0, np.nan], "a": [2.0, 7.0]})
    outside = fitted.outside(new)
    assert outside["a"].tolist() == [0.0, 2.0]
    assert outside["constant"].gt(0).tolist() == [False, True]  # rounding is no difference
    assert outside["empty"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("error", [None, np.linspace(0.1, 0.2, 25)])
def test_saved_and_loaded_to_the_bit(tmp_path, error):
    features = table(np.random.default_rng(2), 25)
    fitted = TrainingRange.fit(features, np.full(25, 1 / 3), error)
    fitted.save(tmp_path / "range.json")
    loaded = TrainingRange.load(tmp_path / "range.json")
    pd.testing.assert_frame_equal(loaded.span, fitted.span, check_exact=True)
    for name in ("n_patients", "last_month", "share_limit", "error_limit"):
        assert getattr(loaded, name) == getattr(fitted, name)
