"""Partial likelihood against brute force and R, and training of one Cox network."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis_lib.coxnet.cox_ensemble import CoxEnsemble
from analysis_lib.coxnet.deepsurv import TrainingError, train_network
from analysis_lib.coxnet.partial_likelihood import (
    NoEventsError,
    negative_log_partial_likelihood,
    risk_sets,
)
from analysis_lib.coxnet.settings import NetworkParams
from analysis_lib.coxnet.tf_setup import tf

REFERENCE = Path(__file__).parents[1] / "reference"
SMALL = NetworkParams(hidden=[8], ensemble=2, max_epochs=120, patience=30, learning_rate=0.01)


def brute_force(h, time, event, ties, strata=None) -> float:
    """Straight from the definition, in extended precision."""
    h = np.asarray(h, np.longdouble)
    strata = np.zeros(len(h)) if strata is None else np.asarray(strata)
    total = np.longdouble(0)
    for s in np.unique(strata):
        for t in np.unique(time[event & (strata == s)]):
            deaths = event & (time == t) & (strata == s)
            at_risk = np.exp(h[(time >= t) & (strata == s)]).sum()
            for k in range(deaths.sum()):
                share = k / deaths.sum() if ties == "efron" else 0
                total += np.log(at_risk - share * np.exp(h[deaths]).sum())
            total -= h[deaths].sum()
    return float(total)


def cohort(seed=0, n=120, d=4, effect=1.0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    death, censored = rng.exponential(10 * np.exp(-effect * x[:, 0])), rng.uniform(2, 30, n)
    return x, np.ceil(np.minimum(death, censored)), (death <= censored)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.sampled_from(["efron", "breslow"]), st.booleans())
def test_loss_and_gradient_are_the_definition_in_any_row_order(seed, n, ties, stratified):
    rng = np.random.default_rng(seed)
    h = rng.normal(scale=rng.choice([0.1, 1, 20]), size=n)
    time, event = rng.integers(0, 6, n).astype(float), rng.random(n) < 0.6
    event[0] = True
    strata = rng.integers(0, 3, n) if stratified else None
    loss, gradient = negative_log_partial_likelihood(h, time, event, ties, strata)
    assert loss == pytest.approx(brute_force(h, time, event, ties, strata), rel=1e-9, abs=1e-9)
    p = rng.permutation(n)
    again, gradient_again = negative_log_partial_likelihood(
        h[p], time[p], event[p], ties, None if strata is None else strata[p]
    )
    assert again == pytest.approx(loss, rel=1e-12, abs=1e-10)
    np.testing.assert_allclose(gradient_again, gradient[p], rtol=1e-8, atol=1e-10)
    step = 1e-5
    for j in range(min(n, 4)):
        e = np.eye(n)[j] * step
        slope = (brute_force(h + e, time, event, ties, strata) - brute_force(h - e, time, event, ties, strata)) / (
            2 * step
        )
        assert gradient[j] == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_finite_and_exact_at_extreme_log_risks(ties):
    rng = np.random.default_rng(3)
    h = rng.choice([-150.0, 150.0, 0.0], 60).astype(np.float32)
    time, event = rng.integers(1, 20, 60).astype(float), rng.random(60) < 0.7
    loss, gradient = negative_log_partial_likelihood(h, time, event, ties)
    assert loss == pytest.approx(brute_force(h, time, event, ties), rel=1e-12)
    assert np.isfinite(gradient).all()
    loss, gradient = negative_log_partial_likelihood(h * 100, time, event, ties)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.fixture(scope="module")
def r_data() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "coxph_data.csv")


@pytest.mark.parametrize("row", range(4))
def test_linear_network_finds_the_coefficients_of_coxph(r_data, row):
    """R: coxph(Surv(time, event) ~ x1 + x2 + x3 [+ strata(centre)], ties = ...), see reference/coxph.R."""
    fit = pd.read_csv(REFERENCE / "coxph_fit.csv").iloc[row]
    x = r_data[["x1", "x2", "x3"]].to_numpy(np.float32)
    time, event = r_data["time"].to_numpy(), r_data["event"].to_numpy()
    strata = r_data["centre"].astype("category").cat.codes.to_numpy() if fit["stratified"] else None
    beta = fit[["x1", "x2", "x3"]].to_numpy(float)
    for coefficients, expected in ((beta, fit["loglik"]), (0 * beta, fit["loglik_zero"])):
        h = r_data[["x1", "x2", "x3"]].to_numpy() @ coefficients
        loss, _ = negative_log_partial_likelihood(h, time, event, fit["ties"], strata)
        assert -loss == pytest.approx(expected, abs=1e-6)
    params = NetworkParams(
        hidden=[], dropout=0, l1=0, l2=0, ties=fit["ties"], optimizer="adam",
        learning_rate=0.05, decay_rate=0.5, decay_steps=250, max_epochs=2500, c_index_every=500,
    )  # fmt: skip
    sets = risk_sets(time, event, strata, fit["ties"])
    network, history = train_network(x[sets.rows], sets, np.ones(len(x), bool), params, seed=1)
    np.testing.assert_allclose(network.weights[0][:, 0], beta, atol=1e-4)
    assert -history["train_loss"].iloc[-1] * event.sum() == pytest.approx(fit["loglik"], abs=1e-6)


def test_no_events_and_impossible_outcomes_are_errors():
    with pytest.raises(NoEventsError, match="none of 5 patients"):
        negative_log_partial_likelihood(np.zeros(5), np.ones(5), np.zeros(5))
    with pytest.raises(ValueError, match="1 times are missing or negative"):
        risk_sets([1.0, -2.0], [1, 1])
    with pytest.raises(ValueError, match="0 .censored. or 1"):
        risk_sets([1.0, 2.0], [1, 2])


def test_validation_loss_is_the_cross_validated_partial_likelihood():
    x, time, event = cohort()
    sets = risk_sets(time, event)
    x, time, event = x[sets.rows], time[sets.rows], event[sets.rows]
    training = np.random.default_rng(0).random(len(x)) < 0.7
    params = SMALL.model_copy(update={"max_epochs": 1, "dropout": 0.5})
    network, history = train_network(x, sets, training, params, seed=4)
    # one epoch: the best weights are those that the losses of step 1 belong to
    h = network.log_risk(x)
    everybody = negative_log_partial_likelihood(h, time, event)[0]
    part = negative_log_partial_likelihood(h[training], time[training], event[training])[0]
    assert history["train_loss"][0] == pytest.approx(part / event[training].sum(), rel=1e-6)
    assert history["val_loss"][0] == pytest.approx((everybody - part) / event[~training].sum(), rel=1e-5)


def test_early_stopping_restores_the_best_weights():
    x, time, event = cohort(n=80, d=30)
    sets = risk_sets(time, event)
    xs = x[sets.rows]
    training = np.random.default_rng(0).random(80) < 0.7
    params = SMALL.model_copy(update={"max_epochs": 500, "patience": 15, "dropout": 0.0, "c_index_every": 7})
    network, history = train_network(xs, sets, training, params, seed=4)
    best = history["val_loss"].idxmin()
    assert len(history) == best + 1 + 15 < 500
    h = network.log_risk(xs)
    loss = negative_log_partial_likelihood(h, time[sets.rows], event[sets.rows])[0]
    loss -= negative_log_partial_likelihood(h[training], time[sets.rows][training], event[sets.rows][training])[0]
    assert loss / event[sets.rows][~training].sum() == pytest.approx(history["val_loss"].min(), rel=1e-5)
    assert history["train_c_index"].notna().sum() == -(-len(history) // 7)


ACTIVATIONS = ["relu", "tanh", "selu", "elu", "sigmoid", "linear"]


@pytest.mark.parametrize(
    ("hidden", "activation", "dropout"),
    [*itertools.product([[7, 5], [6]], ACTIVATIONS, [0.0, 0.3]), ([], "relu", 0.0)],
)
def test_a_step_goes_down_the_gradient_of_automatic_differentiation(hidden, activation, dropout):
    """One step against the definition of the loss, differentiated by TensorFlow in double precision."""
    rng = np.random.default_rng(3)
    n, l2, seed, rate = 150, 1e-3, 4, 0.05
    x = rng.standard_normal((n, 6)) + np.linspace(-1, 1, n)[:, None]  # who dies early has more of everything
    time, event, training = -np.arange(n), rng.random(n) < 0.4, rng.random(n) < 0.75
    sets = risk_sets(time + n, event, ties="breslow")
    settings = {"hidden": hidden, "dropout": dropout, "l2": l2, "optimizer": "sgd", "learning_rate": rate}
    params = NetworkParams(ties="breslow", **settings).model_copy(update={"activation": activation})
    start, after = (
        train_network(x, sets, np.ones(n, bool), params.model_copy(update={"max_epochs": k}), seed)[0].weights
        for k in (1, 2)
    )
    held = train_network(x, sets, training, params.model_copy(update={"max_epochs": 2, "patience": 9}), seed)
    assert held[1]["val_loss"][1] < held[1]["val_loss"][0]  # the weights after the step are those kept

    masks = [np.ones((n, width)) for width in hidden]
    if dropout and hidden:
        uniform = tf.random.stateless_uniform((n, sum(hidden)), [seed, 0]).numpy()
        masks = np.split((uniform >= dropout) / (1 - dropout), np.cumsum(hidden)[:-1], axis=1)
    act = {"relu": tf.nn.relu, "tanh": tf.tanh, "selu": tf.nn.selu, "elu": tf.nn.elu, "sigmoid": tf.sigmoid}
    for part, found in ((np.ones(n, bool), after), (training, held[0].weights)):
        w = [tf.Variable(v.astype(float)) for v in start]
        with tf.GradientTape() as tape:
            h = tf.constant(x)
            for mask, kernel, bias in zip(masks, w[:-1:2], w[1::2], strict=True):
                h = act.get(activation, tf.identity)(h @ kernel + bias) * mask
            h = (h @ w[-1])[:, 0]
            at_risk = [tf.reduce_logsumexp(h[: i + 1][part[: i + 1]]) - h[i] for i in np.flatnonzero(event & part)]
            penalty = tf.add_n([tf.reduce_sum(v**2) for v in w if v.shape.rank == 2])
            loss = tf.add_n(at_risk) / len(at_risk) + l2 * penalty
        for before, slope, now in zip(start, tape.gradient(loss, w), found, strict=True):
            np.testing.assert_allclose(now, before - rate * slope.numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("activation", ["relu", "selu"])
def test_every_optimizer_learns(optimizer, activation):
    x, time, event = cohort(effect=1.5)
    rate = 0.1 if optimizer == "sgd" else 0.01
    params = SMALL.model_copy(
        update={
            "optimizer": optimizer,
            "activation": activation,
            "learning_rate": rate,
            "l1": 1e-4,
            "ensemble": 1,
        }
    )
    fitted = CoxEnsemble.fit(x, time, event, params, seed=0)
    assert np.corrcoef(fitted.risk(x), x[:, 0])[0, 1] > 0.8  # higher is worse
    assert len(np.unique(fitted.risk(x))) > 100  # a linear output: no heap of equal risks


def test_without_hidden_layers_it_is_linear_cox():
    x, time, event = cohort()
    fitted = CoxEnsemble.fit(x, time, event, SMALL.model_copy(update={"hidden": []}), seed=0)
    risk = fitted.risk(np.vstack([x[:1], x[:1] + 1, x[:1] + 2]))
    assert risk[2] - risk[1] == pytest.approx(risk[1] - risk[0], rel=1e-4)


def test_divergence_is_an_error_that_says_what_to_lower():
    x, time, event = cohort(n=40)
    params = SMALL.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30})
    with pytest.raises(TrainingError, match="lower the learning rate"):
        CoxEnsemble.fit(x, time, event, params, seed=0)


def test_ensemble_is_deterministic_and_blind_to_row_order():
    x, time, event = cohort()
    strata = np.arange(len(x)) % 3
    a = CoxEnsemble.fit(x, time, event, SMALL, seed=5, strata=strata)
    p = np.random.default_rng(0).permutation(len(x))
    b = CoxEnsemble.fit(x[p], time[p], event[p], SMALL, seed=5, strata=strata[p])
    np.testing.assert_array_equal(a.risk(x), b.risk(x))
    np.testing.assert_array_equal(a.held_out_risk[p], b.held_out_risk)
    pd.testing.assert_frame_equal(a.history, b.history)
    other = CoxEnsemble.fit(x, time, event, SMALL, seed=6, strata=strata)
    assert not np.array_equal(a.risk(x), other.risk(x))


def test_survival_falls_from_one_with_time_and_with_risk():
    x, time, event = cohort(n=200)
    fitted = CoxEnsemble.fit(x, time, event, SMALL, seed=1)
    s = fitted.survival(fitted.risk(x), [0.0, 5.0, 10.0])
    assert (np.diff(s, axis=1) <= 0).all() and (s > 0).all() and (s <= 1).all()
    order = np.argsort(fitted.risk(x))
    assert (np.diff(s[order, 2]) <= 0).all()
    # calibrated in the large: expected and observed deaths agree
    at = np.searchsorted(fitted.baseline["months"], time, side="right") - 1
    hazard = np.append(fitted.baseline["cumulative_hazard"], 0.0)[at]
    known = np.isfinite(fitted.held_out_risk)
    expected = (hazard * np.exp(fitted.slope * fitted.held_out_risk))[known].sum()
    assert expected == pytest.approx(event[known].sum(), rel=1e-6)


def test_constant_and_few_inputs_are_no_trouble():
    x, time, event = cohort(n=60)
    x = np.column_stack([x, np.full(60, 3.0)])
    fitted = CoxEnsemble.fit(x, time, event, SMALL, seed=1)
    assert np.isfinite(fitted.risk(x)).all()
    one = np.zeros(60, bool)
    one[10] = True
    assert np.isfinite(CoxEnsemble.fit(x, time, one, SMALL, seed=1).risk(x)).all()
