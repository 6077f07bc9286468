"""ComBat against neuroCombat, and what it must do to patients: learnt of the training ones alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis_lib.survival.combat import Combat, CombatError, fit_where_possible

REFERENCE = pd.read_csv(Path(__file__).parents[1] / "reference" / "combat.csv")


def drawn(sizes: dict[str, int], p: int = 60, effect: float = 1.0, seed: int = 3) -> tuple[pd.DataFrame, pd.Series]:
    """Features of patients of some batches, each with a shift and a factor of its own on every feature."""
    rng = np.random.default_rng(seed)
    batch = np.repeat(list(sizes), list(sizes.values()))
    x = rng.normal(size=(len(batch), p))
    for k, name in enumerate(sizes):
        x[batch == name] *= np.exp(effect * rng.normal(0.3 * k, 0.1, p))
        x[batch == name] += effect * rng.normal(k, 0.3, p)
    names = [f"P{k:03d}" for k in range(len(batch))]
    x = x * 10.0 ** rng.uniform(-4, 6, p) + 1.0  # as of radiomics: ten orders of magnitude
    return pd.DataFrame(x, names, [f"f{k}" for k in range(p)]), pd.Series(batch, names)


def test_values_are_those_of_neurocombat():
    """make_combat_reference.py; there the estimates stop at 1e-4 of a step, here at their fixed point."""
    x, y = (REFERENCE.filter(regex=f"^{k}").set_axis(range(6), axis=1) for k in "xy")
    ours = Combat.fit(x, REFERENCE["batch"]).transform(x, REFERENCE["batch"])
    assert (np.abs(ours - y) / x.std()).to_numpy().max() < 2e-4 < 0.1 < (np.abs(x - y) / x.std()).to_numpy().max()


def test_without_an_effect_nearly_nothing_happens():
    x, batch = drawn({"a": 200, "b": 200, "c": 200}, effect=0.0)
    ours = Combat.fit(x, batch).transform(x, batch)
    change = ((ours - x) / x.std()).to_numpy()  # what is left is that of means of 200, which have an SE of 0.07 SD
    assert np.sqrt(np.mean(change**2)) < 0.07 and np.abs(change).max() < 0.3


def test_training_batches_are_alike_afterwards():
    x, batch = drawn({"a": 100, "b": 60, "c": 80})
    ours = Combat.fit(x, batch).transform(x, batch)

    def apart(table: pd.DataFrame) -> tuple[float, float]:
        z = (table - table.mean()) / table.std()
        groups = z.groupby(batch.to_numpy())
        return float(np.ptp(groups.mean().to_numpy(), axis=0).mean()), float(np.ptp(groups.std().to_numpy(), 0).mean())

    (means, spreads), (means_after, spreads_after) = apart(x), apart(ours)
    assert means > 0.5 and means_after < means / 10  # not 0: an estimate is drawn towards those of the other features
    assert spreads_after < spreads / 4
    np.testing.assert_allclose(ours.mean(), x.mean(), atol=0.05 * x.std().max(), rtol=0.05)


def test_a_patient_depends_on_no_other_patient():
    x, batch = drawn({"a": 40, "b": 40, "new": 20})
    train = np.r_[0:30, 40:70]
    fitted = Combat.fit(x.iloc[train], batch.iloc[train])
    whole = fitted.transform(x, batch)
    for k in (0, 35, 75, 85):
        pd.testing.assert_frame_equal(fitted.transform(x.iloc[[k]], batch.iloc[[k]]), whole.iloc[[k]])
    pd.testing.assert_frame_equal(fitted.transform(x[::-1], batch[::-1])[::-1], whole)


def test_test_patients_change_nothing_of_what_was_learnt():
    x, batch = drawn({"a": 40, "b": 40})
    train = np.r_[0:30, 40:70]
    other = x.copy()
    other.iloc[np.r_[30:40, 70:80]] = 1e9
    fits = [Combat.fit(table.iloc[train], batch.iloc[train]) for table in (x, other)]
    for name in ("center", "spread", "shift", "scale"):
        assert getattr(fits[0], name).equals(getattr(fits[1], name))


def test_what_was_not_learnt_stays_as_it_is():
    x, batch = drawn({"a": 40, "b": 40, "new": 10})
    batch.iloc[85:] = None
    x["same"], x["none"] = 0.1, np.nan
    x.loc[batch == "b", "f0"] = np.nan  # not extracted on this scanner
    x.iloc[3, 5] = np.nan
    ours = Combat.fit(x[:80], batch[:80]).transform(x, batch)
    pd.testing.assert_frame_equal(ours.iloc[80:], x.iloc[80:])
    pd.testing.assert_series_equal(ours["same"], x["same"])
    assert (ours.isna() == x.isna()).all(axis=None)
    assert (np.abs(ours - x) > 0).iloc[:40, 1:5].all(axis=None)
    without = Combat.fit(x[:80].drop(columns=["same", "none"]), batch[:80]).transform(
        x[["f1"]].reindex(columns=[c for c in x if c not in ("same", "none")]), batch
    )
    pd.testing.assert_series_equal(without["f1"], ours["f1"])


@pytest.mark.parametrize("missing", [0, 3])
def test_estimates_satisfy_johnsons_conditions(missing):
    """Equations 3.1 of Johnson 2007, written anew: each estimate given the other, at the priors by moments."""
    x, batch = drawn({"a": 30, "b": 25}, p=12)
    x.iloc[:missing, 2] = np.nan
    fitted = Combat.fit(x, batch)
    z = (x - fitted.center) / fitted.spread
    for name in ("a", "b"):
        part = z[batch == name]
        n, mean, variance = part.notna().sum(), part.mean(), part.var()
        lam, theta = (2 * variance.var() + variance.mean() ** 2) / variance.var(), None
        theta = (variance.mean() * variance.var() + variance.mean() ** 3) / variance.var()
        g, d = fitted.shift.loc[name], fitted.scale.loc[name] ** 2
        expected = (n * mean.var() * mean + d * mean.mean()) / (n * mean.var() + d)
        np.testing.assert_allclose(g, expected, rtol=1e-6)
        np.testing.assert_allclose(d, (theta + ((part - g) ** 2).sum() / 2) / (n / 2 + lam - 1), rtol=1e-6)


def test_a_single_feature_has_no_prior():
    x, batch = drawn({"a": 30, "b": 30}, p=1)
    ours = Combat.fit(x, batch).transform(x, batch)
    groups = ours["f0"].groupby(batch.to_numpy())
    np.testing.assert_allclose(groups.mean(), ours["f0"].mean(), rtol=1e-9)
    np.testing.assert_allclose(groups.std(), groups.std().iloc[0], rtol=1e-9)


@pytest.mark.parametrize("sizes", [{"a": 30}, {"a": 30, "b": 1}])
def test_batches_that_tell_nothing_are_refused(sizes):
    x, batch = drawn(sizes)
    with pytest.raises(CombatError, match="two batches of two"):
        Combat.fit(x, batch)
    assert fit_where_possible(x, batch) is None
    with pytest.raises(CombatError, match="there are none"):
        Combat.fit(x, pd.Series([None] * len(x), x.index, dtype=object))


def test_a_batch_of_one_does_not_stop_the_others():
    x, batch = drawn({"a": 30, "b": 30, "c": 1})
    fitted = fit_where_possible(x, batch)
    assert fitted.shift.index.tolist() == ["a", "b"]
