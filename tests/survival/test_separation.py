"""Principal components against scikit-learn; separation where the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from analysis_lib.survival.folds import stratified_folds
from analysis_lib.survival.separation import _cross_scores, principal_components, separation


def features(n=90, p=40, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 3)) * [3, 2, 1]
    table = latent @ rng.normal(size=(3, p)) + rng.normal(size=(n, p))
    return pd.DataFrame(table * rng.uniform(0.01, 1e6, p), index=[f"P{i:03d}" for i in range(n)])


def test_components_equal_scikit_learn():
    table = features()
    train = table.iloc[:60]
    scores, explained = principal_components(train, table, 3)
    scaler = StandardScaler().fit(train.to_numpy())
    pca = PCA(3, svd_solver="full").fit(scaler.transform(train.to_numpy()))
    expected = pca.transform(scaler.transform(table.to_numpy()))
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(explained, pca.explained_variance_ratio_, rtol=1e-10)
    assert list(scores) == ["PC1", "PC2", "PC3"] and scores.index.equals(table.index)


def test_constant_features_and_patients_outside_the_training_set_change_nothing():
    table = features()
    train = table.iloc[:60]
    scores, _ = principal_components(train, table, 3)
    padded = table.assign(zero=0.0, tenth=0.1)  # the SD of 0.1 repeated is rounding noise
    padded.iloc[70:] *= 100
    others, _ = principal_components(padded.iloc[:60], padded, 3)
    np.testing.assert_allclose(others.iloc[:70], scores.iloc[:70], rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="3 components need"):
        principal_components(train.iloc[:3], table, 3)
    with pytest.raises(ValueError, match="features must be finite"):
        principal_components(train.where(train > 0), table, 3)


def test_rule_is_the_linear_discriminant():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 3))
    groups = [x[:, 0] + rng.normal(size=100) > 0.5]
    groups.append(rng.permutation(groups[0]))
    folds = [stratified_folds(member, 5, rng, shuffled="patients") for member in groups]
    rules = _cross_scores(100 + x, np.array(groups), np.array(folds), 5)
    for member, fold, rule in zip(groups, folds, rules, strict=True):
        for k in range(5):
            theirs = LinearDiscriminantAnalysis().fit(x[fold != k], member[fold != k])
            decision = theirs.decision_function(x[fold == k])
            assert np.corrcoef(rule[fold == k], decision)[0, 1] == pytest.approx(1)
            assert roc_auc_score(member[fold == k], rule[fold == k]) == roc_auc_score(member[fold == k], decision)
            assert abs(np.mean(member[fold == k]) - member.mean()) < 0.06


def test_separation_where_the_answer_is_known():
    rng = np.random.default_rng(2)
    member = np.arange(120) % 3 == 0
    scores = rng.normal(size=(120, 3))
    apart = separation(scores + 10 * member[:, None], member, 5, 200, 0.95, 1)
    assert apart == {"auc": 1.0, "low": 1.0, "high": 1.0, "p_permutation": pytest.approx(1 / 201)}
    nothing = separation(scores, member, 5, 200, 0.95, 1)
    assert nothing["p_permutation"] > 0.05 and nothing["low"] < 0.5 < nothing["high"] + 0.1
    # one normal component one SD apart: AUC = Phi(1 / sqrt(2)) = 0.760
    many = rng.normal(size=(4000, 1)) + (np.arange(4000) % 2)[:, None]
    found = separation(many, np.arange(4000) % 2 == 1, 5, 100, 0.95, 1)
    assert found["low"] < 0.760 < found["high"] and found["high"] - found["low"] < 0.05
    assert found == separation(many, np.arange(4000) % 2 == 1, 5, 100, 0.95, 1)


def test_what_tells_the_sets_apart_is_no_separation_within_them():
    """Sets with other components and another share of the group, and nothing between the two within a set."""
    rng = np.random.default_rng(3)
    sets = np.repeat([0, 1], 100)
    member = rng.uniform(size=200) < np.where(sets == 0, 0.2, 0.8)
    scores = rng.normal(size=(200, 3)) + 2 * sets[:, None]
    pooled = separation(scores, member, 5, 200, 0.95, 1)
    assert pooled["p_permutation"] == pytest.approx(1 / 201) and pooled["auc"] > 0.7
    within = separation(scores, member, 5, 200, 0.95, 1, strata=sets)
    assert within["p_permutation"] > 0.05 and within["auc"] == pooled["auc"]


def test_group_too_small_for_the_folds_is_na():
    found = separation(np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) < 4, 5, 100, 0.95, 1)
    assert np.isnan(list(found.values())).all()
