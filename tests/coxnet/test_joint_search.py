"""The joint network, the report on the code, and the search of hyperparameters."""

from __future__ import annotations

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml

from analysis_lib.core.parameters import SearchParams, load_params
from analysis_lib.coxnet.cross_validation import cross_validated_loss
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.stages import autoencoder_report as report
from analysis_lib.stages import search
from analysis_lib.survival.survival import c_index

AUTOENCODER = AutoEncoderParams(code_size=5, max_epochs=60, patience=15, compare_folds=2)
NETWORK = NetworkParams(hidden=[8], ensemble=2, max_epochs=60, patience=15)


@pytest.fixture(scope="module")
def data():
    """Features in two images made of five factors, one of which is the hazard."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((220, 5))
    x = factors @ rng.standard_normal((5, 24)) + 0.3 * rng.standard_normal((220, 24))
    death, censored = rng.exponential(30 * np.exp(-1.2 * factors[:, 0])), rng.uniform(10, 80, 220)
    index = pd.Index([f"P{i:03d}" for i in range(220)], name="patient_id")
    names = [f"sm_{image}_glcm_F{i}" for image in ("original", "wavelet-LLH") for i in range(12)]
    months = pd.Series(np.minimum(death, censored), index)
    return pd.DataFrame(x, index, names), months, pd.Series((death <= censored).astype(float), index)


def test_joint_network_learns_reproducibly_and_is_the_same_after_loading(data, tmp_path):
    x, months, died = data
    joint = AUTOENCODER.model_copy(update={"joint": True, "hidden": [10], "learning_rate": 1e-2})
    train, test = x.index[:150], x.index[150:]
    fit = lambda rows: RadiomicsSurvivalModel.fit(x.loc[rows], months[rows], died[rows], joint, NETWORK, 3)  # noqa: E731
    fitted = fit(train)
    assert fitted.autoencoder is None
    assert fitted.ensemble.networks[0].activations == ["elu", "linear", "elu"]
    assert [w.shape[1] for w in fitted.ensemble.networks[0].weights[::2]] == [10, 5, 8, 1]
    assert c_index(months[test], died[test], fitted.risk(x.loc[test])) > 0.7
    np.testing.assert_array_equal(fit(train[::-1]).risk(x), fitted.risk(x))
    fitted.save(tmp_path / "model", {"study": "a"})
    loaded = RadiomicsSurvivalModel.load(tmp_path / "model")
    pd.testing.assert_series_equal(loaded.risk(x), fitted.risk(x), check_exact=True)
    assert report.reconstruction(fitted, x, pd.Series("train", x.index)).empty


def test_joint_without_weight_on_survival_learns_the_code_alone(data):
    x, months, died = data
    shy = AUTOENCODER.model_copy(update={"joint": True, "joint_weight": 1e-9})
    keen = AUTOENCODER.model_copy(update={"joint": True})
    models = [RadiomicsSurvivalModel.fit(x, months, died, p, NETWORK, 3) for p in (shy, keen)]
    losses = [m.history_network.query("network == 'mean'")["train_loss"].min() for m in models]
    assert losses[1] < losses[0] - 0.05


def test_report_on_the_code(data):
    x, months, died = data
    fitted = RadiomicsSurvivalModel.fit(x[:150], months[:150], died[:150], AUTOENCODER, NETWORK, 3)
    split = pd.Series(np.where(np.arange(220) < 150, "train", "internal"), x.index)
    error = report.reconstruction(fitted, x, split)
    assert set(error["image"]) == {"original", "wavelet-LLH"} and set(error["region"]) == {"sm"}
    z = fitted.scaler.transform(x[150:])
    by_hand = ((fitted.autoencoder.reconstruct(z) - z) ** 2).mean(axis=0)
    np.testing.assert_allclose(error["internal"], by_hand, rtol=1e-5)
    kept = report.explained(fitted, x, split).set_index("split")
    assert kept.loc["internal", "autoencoder"] == pytest.approx(1 - by_hand.mean() / (z**2).mean(), rel=1e-4)
    assert 0.5 < kept.loc["train", "autoencoder"] <= kept.loc["train", "pca"] + 1e-6
    outside = fitted.scaler.out_of_range(pd.concat([x[:150], x[:1] * 1e6]))
    assert (outside[:150] == 0).all() and outside.iloc[-1] > 0.9


def test_comparison_is_kept_and_its_folds_are_the_same(data, tmp_path):
    x, months, died = data
    arguments = (x, months, died, AUTOENCODER, NETWORK, 1, tmp_path)
    table = report.compare_joint(*arguments, quiet=True)
    assert table.groupby("option", sort=False).size().to_dict() == {"two steps": 2, "joint": 2}
    assert table["c_index"].between(0.55, 1).all()
    by_fold = table.pivot(index="fold", columns="option", values="events")
    assert (by_fold["joint"] == by_fold["two steps"]).all()
    pd.testing.assert_frame_equal(report.compare_joint(*arguments, quiet=True), table)


@pytest.fixture
def params():
    update = {"autoencoder": AUTOENCODER, "network": NETWORK, "search": SearchParams(trials=4, folds=2)}
    return load_params("standin").model_copy(update=update)


LOSSES: list[float] = []


def quick_loss(x, months, died, fold, autoencoder, network, seed, strata):
    LOSSES.append(network.dropout + autoencoder.noise)
    return LOSSES[-1]


def test_an_interrupted_search_ends_where_a_whole_one_does(data, params, tmp_path, monkeypatch):
    x, months, died = data
    months, died = months.to_numpy(), died.to_numpy(bool)
    # the real loss is tested below; here every trial has a loss that is quick to know
    monkeypatch.setattr(search, "cross_validated_loss", quick_loss)
    whole, best = search.search(x, months, died, params, tmp_path / "whole", quiet=True)
    first = params.model_copy(update={"search": SearchParams(trials=2, folds=2)})
    part, _ = search.search(x, months, died, first, tmp_path / "part", quiet=True)
    assert len(part) == 2
    LOSSES.clear()
    again, best_again = search.search(x, months, died, params, tmp_path / "part", quiet=True)
    pd.testing.assert_frame_equal(again, whole)
    assert best_again == best and len(LOSSES) == 2  # the first two are kept
    assert whole.loc[0, "network.dropout"] == NETWORK.dropout  # the study's own values come first

    search.search(x, months, died, params, tmp_path / "part", quiet=True)
    assert len(LOSSES) == 2
    # other outcomes or settings: no trial of the first patients counts
    search.search(x, months[::-1].copy(), died, params, tmp_path / "part", quiet=True)
    assert len(LOSSES) == 6
    other = params.model_copy(update={"network": NETWORK.model_copy(update={"activation": "tanh"})})
    search.search(x, months, died, other, tmp_path / "part", quiet=True)
    assert len(LOSSES) == 10

    search.write_tuned(tmp_path / "mine.yaml", "standin", best, whole, params)
    text = (tmp_path / "mine.yaml").read_text()
    assert "cross-validated" in text and "4 trials" in text
    tuned = yaml.safe_load(text)
    assert tuned["base"] == "standin" and tuned["data_dir"] == "data/standin"
    assert set(tuned["network"]) == {"hidden", "dropout", "l2", "learning_rate"}


def test_loss_of_a_trial_prefers_a_model_that_learns(data, params):
    x, months, died = data
    months, died = months.to_numpy(), died.to_numpy(bool)
    fold = np.arange(len(x)) % 2
    good = cross_validated_loss(x, months, died, fold, AUTOENCODER, NETWORK, 1)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    null = cross_validated_loss(x, months[order], died[order], fold, AUTOENCODER, NETWORK, 1)
    assert good < null - 0.1
    trial = optuna.trial.FixedTrial(search.own_values(params) | {"network.l2": 1e-3})
    assert search.suggested(trial, params).autoencoder.code_size == AUTOENCODER.code_size
