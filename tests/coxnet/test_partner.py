"""The linear partner of the networks: its solver against scikit-survival and brute force, and what the risk gains."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sksurv.linear_model import CoxnetSurvivalAnalysis, CoxPHSurvivalAnalysis
from sksurv.util import Surv

from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.coxnet.partial_likelihood import negative_log_partial_likelihood
from analysis_lib.coxnet.partner import SMALL, Outcome, _weights, path, score
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.stages.export import shareable
from analysis_lib.survival.survival import c_index

NETWORK = NetworkParams(ensemble=5, max_epochs=60, linear_partner=True)


def patients(n=160, d=30, seed=0, effect=1.0, decimals=1):
    """Standardised columns of which one bears the hazard; times with ties; centres with hazards of their own."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    centre = rng.integers(0, 3, n)
    death, censored = rng.exponential(10 * np.exp(centre - effect * x[:, 0])), rng.uniform(2, 30, n)
    return x, np.minimum(death, censored).round(decimals), (death <= censored).astype(int), centre


def ordered(x, time, event, strata, efron=True) -> tuple[np.ndarray, Outcome]:
    rows = np.lexsort((-time, strata))
    return x[rows], Outcome(strata, time, event.astype(bool), efron).of(rows)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_quick_partial_likelihood_is_that_of_the_networks(ties):
    x, time, event, centre = patients()
    for strata in (centre, np.zeros(len(time), int)):
        log_risk, outcome = ordered(3 * x[:, 1], time, event, strata, ties == "efron")
        loss, gradient = score(log_risk, *outcome)
        expected = negative_log_partial_likelihood(log_risk, outcome.time, outcome.event, ties, outcome.strata)
        assert loss == pytest.approx(expected[0], rel=1e-12)
        np.testing.assert_allclose(gradient, expected[1], atol=1e-12)


def test_ridge_and_elastic_net_are_those_of_scikit_survival():
    x, time, event, _ = patients(decimals=8)
    x, outcome = ordered(x, time, event, np.zeros(len(time), int), efron=False)
    y, events = Surv.from_arrays(outcome.event, outcome.time), outcome.event.sum()
    penalties = np.array([1.0, 0.1, 0.02])
    for penalty, ours in zip(penalties, path(x, outcome, penalties, 0.0), strict=True):
        theirs = CoxPHSurvivalAnalysis(penalty * events, ties="breslow", tol=1e-12).fit(x, y).coef_
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    penalties = np.array([0.2, 0.1, 0.05])
    net = CoxnetSurvivalAnalysis(
        l1_ratio=0.5, alphas=penalties * events / len(x), normalize=False, tol=1e-10, max_iter=100_000
    )
    np.testing.assert_allclose(path(x, outcome, penalties, 0.5), net.fit(x, y).coef_.T, atol=1e-3)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_strata_and_ties_against_a_general_optimiser(ties):
    x, time, event, centre = patients(d=6)
    x, outcome = ordered(x, time, event, centre, ties == "efron")

    def loss(beta):
        value, gradient = negative_log_partial_likelihood(x @ beta, outcome.time, outcome.event, ties, outcome.strata)
        return value / event.sum() + 0.1 * beta @ beta / 2, gradient @ x / event.sum() + 0.1 * beta

    expected = minimize(loss, np.zeros(6), jac=True, tol=1e-12).x
    ours = path(x, outcome, np.array([0.1]), 0.0)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    without = path(x, outcome._replace(strata=np.zeros_like(outcome.strata)), np.array([0.1]), 0.0)[0]
    assert np.abs(without - expected).max() > 0.01  # as far as that, strata matter here


def test_weights_are_the_best_that_are_not_negative():
    x, time, event, centre = patients()
    x, outcome = ordered(x, time, event, centre)
    parts = np.column_stack([0.5 * x[:, 0] + 0.5 * x[:, 1], -x[:, 0], x[:, 2]])  # the second points the wrong way
    weights = _weights(parts, outcome)
    slope = parts.T @ score(parts @ weights, *outcome)[1] + SMALL * weights
    assert weights[0] > 0.1 and weights[1] == 0 and (weights >= 0).all()
    assert np.abs(slope[weights > 0]).max() < 1e-3 and (slope[weights == 0] > 0).all()
    assert _weights(np.column_stack([x[:, 1], 0 * x[:, 0], 0 * x[:, 0]]), outcome).tolist() == [1, 0, 0]


def table(n=400, d=200, seed=0, effect=1.2):
    """Two hundred correlated columns, and a lone one that bears the hazard."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n, 4))
    x = factors @ rng.standard_normal((4, d)) + rng.standard_normal((n, d))
    x[:, 7] = rng.standard_normal(n)
    death, censored = rng.exponential(30 * np.exp(-effect * x[:, 7])), rng.uniform(5, 60, n)
    features = pd.DataFrame(x, [f"P{k}" for k in range(n)], [f"f{k:03d}" for k in range(d)])
    return features, np.minimum(death, censored), (death <= censored).astype(int), rng.integers(0, 2, n)


@pytest.fixture(scope="module")
def fitted() -> RadiomicsSurvivalModel:
    x, time, event, centre = table()
    return RadiomicsSurvivalModel.fit(x[:200], time[:200], event[:200], None, NETWORK, 1, centre[:200])


def test_a_lone_strong_column_is_found(fitted):
    x, time, event, _ = table()
    found = [
        c_index(time[200:], event[200:], risk[200:]) for risk in (fitted.risk(x), fitted.risk_parts(x)["networks"])
    ]
    assert found[0] > found[1] + 0.1 and found[0] > 0.75
    assert fitted.ensemble.slope == pytest.approx(1, abs=0.15)


def test_the_order_of_patients_changes_nothing_nor_do_the_others(fitted):
    x, time, event, centre = table()
    p = np.random.default_rng(0).permutation(200)
    again = RadiomicsSurvivalModel.fit(x.iloc[p], time[p], event[p], None, NETWORK, 1, centre[p])
    risk = fitted.risk(x)
    np.testing.assert_array_equal(again.risk(x), risk)
    np.testing.assert_array_equal(again.ensemble.held_out_risk, fitted.ensemble.held_out_risk[p])
    assert fitted.risk(x.iloc[5:12]).tolist() == risk.iloc[5:12].tolist()
    np.testing.assert_allclose(fitted.risk_spread(x).mean(axis=1), risk, rtol=1e-12)


def test_saved_shared_and_loaded(fitted, tmp_path):
    x, time, event, _ = table()
    fitted.save(tmp_path / "model")
    loaded = RadiomicsSurvivalModel.load(tmp_path / "model")
    assert "linear_partner.json" in (tmp_path / "model" / "SHA256SUMS").read_text()
    pd.testing.assert_series_equal(loaded.risk(x), fitted.risk(x), check_exact=True)
    pd.testing.assert_frame_equal(loaded.survival(x, [12, 36]), fitted.survival(x, [12, 36]), check_exact=True)
    shared = shareable(fitted, x[:200], time[:200], event[:200] == 1)
    assert np.corrcoef(shared.risk(x), fitted.risk(x))[0, 1] > 0.999
    assert shared.survival(x, [12]).to_numpy() == pytest.approx(fitted.survival(x, [12]).to_numpy(), abs=0.1)


def test_behind_an_autoencoder_the_partner_sees_the_features():
    x, time, event, _ = table()
    part = x[:200], time[:200], event[:200]
    coded = RadiomicsSurvivalModel.fit(*part, AutoEncoderParams(code_size=4, max_epochs=5), NETWORK, 1)
    assert coded.partner.coefficients.shape == (2, 200) and coded.inputs(x).shape == (400, 4)
    assert np.abs(coded.partner.coefficients[1]).argmax() == 7
    plain = RadiomicsSurvivalModel.fit(*part, coded.autoencoder and AutoEncoderParams(code_size=4, max_epochs=5),
                                       NETWORK.model_copy(update={"linear_partner": False}), 1)  # fmt: skip
    again = plain.with_partner(*part, NETWORK)
    np.testing.assert_array_equal(again.risk(x), coded.risk(x))  # fitted at once or afterwards


def test_where_nothing_can_be_learnt_the_networks_stay_alone():
    x, time, event, _ = table(effect=0.0, d=40)
    linear = []
    for seed in range(3):
        p = np.random.default_rng(seed).permutation(200)
        null = RadiomicsSurvivalModel.fit(x[:200], time[p], event[p], None, NETWORK, seed)
        linear.append(np.abs(null.partner.weights[1:] @ null.partner.coefficients).sum())
    assert min(linear) == 0 and np.isfinite(linear).all()
    one = np.zeros(200, int)
    one[3] = 1  # no fold can be held out
    alone = RadiomicsSurvivalModel.fit(x[:200], time[:200], one, None, NETWORK, 1)
    assert alone.partner.weights.tolist() == [1, 0, 0] and np.isfinite(alone.risk(x)).all()
