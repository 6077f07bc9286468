"""The whole model: features to risk, saved and loaded, and its negative control."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sksurv.metrics import concordance_index_censored

from analysis_lib.core.parameters import ImportanceParams, load_params
from analysis_lib.coxnet.cox_ensemble import CoxEnsemble, principal_axes
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.scaling import FeatureError, FeatureScaler
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.results.importance import importances

BENCHMARKS = Path(__file__).resolve().parents[3] / "shared" / "data" / "survival-benchmarks"
AUTOENCODER = AutoEncoderParams(code_size=12, max_epochs=60)  # above 10, so that inputs are turned to principal axes
NETWORK = NetworkParams(ensemble=5)


def c_index(time, event, risk) -> float:
    return concordance_index_censored(np.asarray(event, bool), np.asarray(time), np.asarray(risk))[0]


def simulated(seed=0, n=500, d=120, factors=8):
    """Low-rank features in odd units, half of them skewed; the hazard hangs on one middling factor."""
    rng = np.random.default_rng(seed)
    f = rng.standard_normal((n, factors))
    x = f @ (rng.standard_normal((factors, d)) * np.geomspace(1, 0.3, factors)[:, None])
    x += 0.5 * rng.standard_normal((n, d))
    x[:, ::2] = np.exp(x[:, ::2])
    x *= 10 ** rng.uniform(-3, 6, d)
    death, censored = rng.exponential(np.exp(-f[:, 4])) * 60, rng.uniform(12, 70, n)
    index = pd.Index([f"P{i:03d}" for i in range(n)], name="patient_id")
    features = pd.DataFrame(x, index, columns=[f"sm_{i}" for i in range(d)])
    return features, np.minimum(death, censored).round(1), (death <= censored).astype(int), f[:, 4]


@pytest.fixture(scope="module")
def data():
    return simulated()


@pytest.fixture(scope="module")
def fitted(data):
    features, time, event, _ = data
    return RadiomicsSurvivalModel.fit(features[:250], time[:250], event[:250], AUTOENCODER, NETWORK, seed=1)


def test_finds_the_signal_in_new_patients(data, fitted):
    features, time, event, truth = data
    risk = fitted.risk(features)
    assert risk.index.equals(features.index)
    ours, ceiling = (c_index(time[250:], event[250:], r[250:]) for r in (risk.to_numpy(), truth))
    assert ours > ceiling - 0.06
    assert fitted.cutoff == np.median(risk[:250])
    held_out = c_index(time[:250], event[:250], fitted.ensemble.held_out_risk)
    assert ceiling - 0.12 < held_out < c_index(time[:250], event[:250], risk[:250])
    spread = fitted.risk_spread(features)
    assert spread.shape == (500, 5) and spread.std(axis=1).mean() > 0


def test_permuted_features_are_permuted_risks_to_the_bit(data, fitted):
    """Importance goes through the fitted model: all features permuted together give the risks of those patients."""
    features, time, event, _ = data
    new = features[250:]
    patients = pd.DataFrame({"split": "lt", "time_months": time[250:], "event": event[250:]}, new.index)
    params = ImportanceParams(permutations=3)
    found = importances(fitted.risk_spread, new, patients, load_params("smoke").cohort, params, 1)
    row = found[found["set"] == "lt"].iloc[0]
    rng = np.random.default_rng(derived_seed(1, 17, 2))
    risk = fitted.risk(new).to_numpy()
    permuted = [c_index(time[250:], event[250:], risk[rng.permutation(250)]) for _ in range(3)]
    assert row["c_index"] == c_index(time[250:], event[250:], risk) > 0.6
    assert row["loss"] == pytest.approx(row["c_index"] - np.mean(permuted), abs=1e-12)
    assert row["network_sd"] > 0 and found.loc[found["set"] != "lt", "loss"].isna().all()


@pytest.mark.parametrize("n", [40, 200])
def test_principal_axes_weigh_components_by_their_variance(n):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 60)) * np.geomspace(1, 0.1, 60)
    z = ((z - z.mean(axis=0)) @ np.linalg.qr(rng.standard_normal((60, 60)))[0]).astype(np.float32)
    turned = z @ principal_axes(z)
    variance = np.linalg.svd(z, compute_uv=False)[: turned.shape[1]] ** 2
    np.testing.assert_allclose(turned.std(axis=0), variance / variance[0], rtol=1e-3)
    off = np.corrcoef(turned.T) - np.eye(turned.shape[1])
    assert np.abs(off).max() < 1e-2 and turned.shape[1] == min(n - 1, 60)


def test_loaded_model_predicts_the_same_bits(data, fitted, tmp_path):
    features = data[0]
    assert fitted.ensemble.axes is not None
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")  # replaces itself
    loaded = RadiomicsSurvivalModel.load(tmp_path / "model")
    loaded.save(tmp_path / "again")
    sums = [(tmp_path / name / "SHA256SUMS").read_bytes() for name in ("model", "again")]
    assert sums[0] == sums[1], "another process, another day: the same bytes"
    shutil.rmtree(tmp_path / "again")
    pd.testing.assert_series_equal(loaded.risk(features), fitted.risk(features), check_exact=True)
    pd.testing.assert_frame_equal(
        loaded.survival(features, [12, 36]), fitted.survival(features, [12, 36]), check_exact=True
    )
    assert loaded.cutoff == fitted.cutoff
    for name in ("history_network", "history_autoencoder"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(fitted, name))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    with pytest.raises(FileNotFoundError, match="no saved model"):
        RadiomicsSurvivalModel.load(tmp_path / "elsewhere")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(FileExistsError, match="not a saved model"):
        fitted.save(tmp_path / "mine")


def test_order_of_patients_and_columns_changes_nothing(data, fitted):
    features, time, event, _ = data
    p = np.random.default_rng(0).permutation(250)
    shuffled = features.iloc[p][features.columns[::-1]]
    again = RadiomicsSurvivalModel.fit(shuffled, time[p], event[p], AUTOENCODER, NETWORK, seed=1)
    np.testing.assert_array_equal(again.risk(features), fitted.risk(features))


@pytest.mark.parametrize("n", [40, 250], ids=["trained in the patients' span", "trained as it is"])
def test_a_last_digit_of_the_features_is_not_another_seed(data, n):
    """As another library or operating system may give it."""
    features, time, event, _ = data
    noise = 1 + 1e-9 * np.random.default_rng(0).standard_normal(features.shape)
    network = NetworkParams(ensemble=2)
    one, other = (
        RadiomicsSurvivalModel.fit(x[:n], time[:n], event[:n], AUTOENCODER, network, seed=1).risk(features)
        for x in (features, features * noise)
    )
    assert one.std() > 0.1
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)


def test_predicted_survival_is_to_live_beyond_a_month(data, fitted):
    """A death in that very month counts already, as in the Kaplan-Meier curve."""
    month = float(fitted.ensemble.baseline["months"].iloc[20])
    before, at, after = fitted.survival(data[0], [month - 1e-6, month, month + 1e-6]).to_numpy().T
    assert (before > at).all()
    np.testing.assert_array_equal(at, after)


def test_a_patients_risk_does_not_depend_on_how_many_others_there_are():
    """Inputs enough to be turned, and numbers on both sides of where BLAS takes a product for small."""
    rng = np.random.default_rng(4)
    x, death = rng.standard_normal((600, 90)), rng.exponential(30, 600)
    fitted = CoxEnsemble.fit(x[:31], death[:31], np.ones(31), NetworkParams(ensemble=2, max_epochs=20), seed=1)
    assert fitted.axes.shape == (90, 30)
    risk = fitted.risk(x)
    for n in (8, 31, 50, 300):
        assert fitted.risk(x[:n]).tolist() == risk[:n].tolist()
        assert fitted.risk(x[-n:]).tolist() == risk[-n:].tolist()


def test_histories_have_the_columns_of_the_figure(fitted):
    assert list(fitted.history_autoencoder) == ["step", "train_loss", "val_loss"]
    history = fitted.history_network
    assert list(history) == ["network", "step", "train_loss", "val_loss", "train_c_index", "val_c_index"]
    assert set(history["network"]) == {"1", "2", "3", "4", "5", "mean"}
    assert history.query("step == 1")[["train_c_index", "val_c_index"]].notna().all(axis=None)


def test_features_of_another_extraction_are_refused(data, fitted):
    features = data[0]
    with pytest.raises(FeatureError, match="missing sm_5"):
        fitted.risk(features.drop(columns="sm_5"))


def test_outcomes_in_another_order_are_refused(data):
    features, time, event, _ = data
    months = pd.Series(time, features.index[::-1])
    with pytest.raises(FeatureError, match="another order"):
        RadiomicsSurvivalModel.fit(features, months, event, AUTOENCODER, NETWORK, seed=1)


def test_permuted_outcomes_teach_nothing(data):
    """Negative control: the mean over permutations is 0.5 within three of its own standard errors. A single one
    scatters widely, because eight factors make up the features and one of them is the hazard."""
    features, time, event, _ = data
    network = NetworkParams(ensemble=2, max_epochs=150)
    values, held_out = [], []
    for seed in range(10):
        p = np.random.default_rng(seed).permutation(250)
        null = RadiomicsSurvivalModel.fit(features[:250], time[p], event[p], None, network, seed=seed)
        values.append(c_index(time[250:], event[250:], null.risk(features[250:])))
        known = np.isfinite(null.ensemble.held_out_risk)
        held_out.append(c_index(time[p][known], event[p][known], null.ensemble.held_out_risk[known]))
    for found in (values, held_out):
        assert abs(np.mean(found) - 0.5) < 3 * np.std(found, ddof=1) / np.sqrt(10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("metabric", 0.640), ("simulated_linear", 0.770), ("simulated_gaussian", 0.640)]
)
def test_published_benchmarks_with_the_default_setting(name, least):
    path = BENCHMARKS / f"{name}.csv"
    if not path.is_file():
        pytest.skip("survival benchmarks not available beside the checkout")
    table = pd.read_csv(path)
    train, test = table[table["split"] != "test"], table[table["split"] == "test"]
    covariates = table.columns.drop(["time", "event", "split"])
    scaler = FeatureScaler.fit(train[covariates])
    values = []
    for seed in range(5):
        model = CoxEnsemble.fit(
            scaler.transform(train[covariates]), train["time"], train["event"], NetworkParams(), seed
        )
        values.append(c_index(test["time"], test["event"], model.risk(scaler.transform(test[covariates]))))
    assert np.median(values) >= least
