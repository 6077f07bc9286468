"""Scaling and the AutoEncoder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis_lib.coxnet.autoencoder import AutoEncoder, code_report, pca_explained_variance
from analysis_lib.coxnet.scaling import FeatureError, FeatureScaler
from analysis_lib.coxnet.settings import AutoEncoderParams

PARAMS = AutoEncoderParams(code_size=5, max_epochs=150, patience=30, learning_rate=5e-3, batch_size=32)


def low_rank(n=120, d=40, k=5, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k)) @ rng.standard_normal((k, d)) / np.sqrt(k)
    return (z + 0.1 * rng.standard_normal((n, d))).astype(np.float32)


def frame(x: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])


def test_scaler_keeps_order_and_bounds_outliers(tmp_path):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(5, 2, 200), 1e6 * np.exp(2 * rng.normal(size=200)), rng.normal(size=200)])
    x[0, 2] = 1e12
    scaler = FeatureScaler.fit(frame(x), clip=5)
    z = scaler.transform(frame(x))
    assert z.dtype == np.float32 and np.abs(z).max() <= 5
    np.testing.assert_allclose(z[:, :2].mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(z[:, :2].std(axis=0), 1, atol=0.05)
    assert (np.diff(z[np.argsort(x[:, 1]), 1]) >= 0).all()
    assert z[1:, 2].std() > 0.5  # the outlier does not flatten the others
    assert scaler.table["n_clipped"].tolist()[2] == 1
    scaler.save(tmp_path / "scaler.json")
    np.testing.assert_array_equal(FeatureScaler.load(tmp_path / "scaler.json").transform(frame(x)), z)


def test_scaler_reports_constant_and_missing_features():
    rng = np.random.default_rng(0)
    x = np.column_stack([np.full(50, 0.1 + 0.2), rng.normal(size=50), rng.normal(size=50), np.full(50, np.nan)])
    x[:3, 1], x[3, 1] = np.nan, np.inf
    x[:45, 2] = 7.0  # no IQR, but some variance
    scaler = FeatureScaler.fit(frame(x))
    z = scaler.transform(frame(x))
    assert np.isfinite(z).all() and (z[:, [0, 3]] == 0).all()
    assert scaler.table["constant"].tolist() == [True, False, False, True]
    assert scaler.report()["n_missing"].to_dict() == {"f0": 0, "f1": 4, "f3": 50} | (
        {"f2": 0} if "f2" in scaler.report().index else {}
    )
    known = x[4:, 1]
    at_median = scaler.transform(frame(np.array([[0.3, np.median(known), 7.0, 0.0]])))
    np.testing.assert_allclose(z[:4, 1], at_median[0, 1], rtol=1e-6)


def test_scaler_learns_from_training_alone_and_checks_names():
    x = frame(low_rank())
    scaler = FeatureScaler.fit(x)
    shuffled = x[x.columns[::-1]]
    np.testing.assert_array_equal(scaler.transform(shuffled), scaler.transform(x))
    np.testing.assert_array_equal(scaler.transform(x * 100).clip(-1e9, 1e9)[:0], scaler.transform(x)[:0])
    with pytest.raises(FeatureError, match="missing f3; unknown g"):
        scaler.transform(x.rename(columns={"f3": "g"}))
    with pytest.raises(FeatureError, match="not numbers: f0"):
        FeatureScaler.fit(x.assign(f0="a"))
    with pytest.raises(FeatureError, match="no training patients"):
        FeatureScaler.fit(x.iloc[:0])


def test_autoencoder_comes_near_pca_and_is_reproducible():
    z = low_rank()
    train, test = z[:90], z[90:]
    fitted = AutoEncoder.fit(train, PARAMS, seed=3)
    pca = pca_explained_variance(train, test, 5)
    assert pca > 0.95
    assert fitted.explained_variance(test) > pca - 0.1
    assert fitted.encode(test).shape == (30, 5)
    assert fitted.reconstruction_error(test).shape == (40,)
    best = fitted.history["val_loss"].min()
    assert fitted.history["val_loss"].iloc[0] > 2 * best
    again = AutoEncoder.fit(train[::-1], PARAMS, seed=3)
    np.testing.assert_array_equal(again.encode(test), fitted.encode(test))
    report = code_report(fitted.encode(train))
    assert not report["constant"].any() and (report["copy_of"] == -1).all()


def test_hidden_layers_and_sparsity():
    z = low_rank(n=60)
    params = PARAMS.model_copy(update={"hidden": [16], "l1_code": 0.3, "noise": 0.0, "max_epochs": 80})
    sparse = AutoEncoder.fit(z, params, seed=1)
    dense = AutoEncoder.fit(z, params.model_copy(update={"l1_code": 0.0}), seed=1)
    assert [layer.name for layer in sparse.model.layers[1:]] == [
        "encoder_0",
        "code",
        "decoder_0",
        "reconstruction",
    ]
    assert np.abs(sparse.encode(z)).mean() < 0.7 * np.abs(dense.encode(z)).mean()


def test_code_report_finds_constants_and_copies():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50))
    report = code_report(np.column_stack([a, np.full(50, 2.0), b, -3 * a]))
    assert report["constant"].tolist() == [False, True, False, False]
    assert report["copy_of"].tolist() == [-1, -1, -1, 0]


def test_bad_input_is_an_error():
    with pytest.raises(ValueError, match="at least 2 patients"):
        AutoEncoder.fit(np.zeros((1, 3)), PARAMS, seed=0)
    with pytest.raises(ValueError, match="finite features"):
        AutoEncoder.fit(np.full((5, 3), np.nan), PARAMS, seed=0)
