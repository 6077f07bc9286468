"""Other models beside the network, and the pipeline resampled."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from analysis_lib.core.parameters import (
    AutoEncoderParams,
    CohortParams,
    ComparatorParams,
    NetworkParams,
    OptimismParams,
    load_params,
)
from analysis_lib.stages import comparators, optimism, refit
from analysis_lib.stages.fit import fit_model
from analysis_lib.survival.survival import c_index

SMALL = {
    "autoencoder": AutoEncoderParams(code_size=4, max_epochs=25),
    "network": NetworkParams(hidden=[8], ensemble=2, max_epochs=60, patience=15),
    "optimism": OptimismParams(repeats=3, permutations=12),
    "workers": 1,
}


def study(n=260, d=20, seed=0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patients in a discovery and an external set; the hazard hangs on three of four factors of the features."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n, 4))
    x = factors @ rng.standard_normal((4, d)) + 0.5 * rng.standard_normal((n, d))
    death, censored = rng.exponential(30 * np.exp(-0.7 * factors[:, :3].sum(axis=1))), rng.uniform(5, 80, n)
    ids = [f"P{i:03d}" for i in range(n)]
    outer = np.arange(n) >= n - 60
    patients = pd.DataFrame(
        {
            "patient_id": ids,
            "set": np.where(outer, "external", "discovery"),
            "split": np.where(outer, "external", np.where(np.arange(n) % 10 < 7, "train", "internal")),
            "sex": np.where(rng.random(n) < 0.5, "M", "F"),
            "age": rng.normal(60, 10, n),
            "bmi": rng.normal(24, 3, n),
            "tumour_single": (rng.random(n) < 0.8).astype(float),
            "vascular_invasion": (factors[:, 0] > 1).astype(float),
            "time_months": np.minimum(death, censored),
            "event": (death <= censored).astype(float),
        }
    )
    for name in comparators.INDICES[1:]:
        patients[name] = rng.normal(50, 10, n)
    patients.loc[3, "bmi"] = np.nan
    patients.loc[outer, "vascular_invasion"] = np.nan
    return patients, pd.DataFrame(x, pd.Index(ids, name="patient_id"), [f"f{i}" for i in range(d)])


@pytest.fixture(scope="module")
def data():
    return study()


def test_every_model_ranks_new_patients_with_what_their_set_has(data, tmp_path):
    patients, features = data
    indexed = patients.set_index("patient_id")
    of_study = load_params("smoke").model_copy(update=SMALL)
    model, seconds = fit_model(indexed, features, of_study, kept=tmp_path)
    horizons = of_study.statistics.model_copy(update={"horizons_months": [24.0]})
    kept, as_before = fit_model(indexed, features, of_study.model_copy(update={"statistics": horizons}), kept=tmp_path)
    assert as_before == seconds  # those of the first time: another horizon trains nothing
    pd.testing.assert_series_equal(kept.risk(features), model.risk(features), check_exact=True)
    _, anew = fit_model(indexed, features, of_study.model_copy(update={"seed": 2}), kept=tmp_path)
    assert anew != seconds
    params = ComparatorParams(trees=60)
    risks, times = comparators.fit_comparators(indexed, features, model, params, seed=1, kept=tmp_path)
    assert risks.index.equals(indexed.index) and (times["seconds"] > 0).all()
    external, internal = (indexed["split"] == s for s in ("external", "internal"))
    assert risks.notna().all(axis=None)  # one missing BMI takes the training median
    assert comparators.lacking(indexed) == {"external": ["vascular_invasion"]}
    without = indexed.drop(columns="vascular_invasion")  # nobody of the external set has it: a model fitted without
    fewer, _ = comparators.fit_comparators(without, features, model, params, seed=1)
    for name in ("Cox clinical", "Cox clinical + risk"):
        assert risks.loc[external, name].equals(fewer.loc[external, name])
        assert not np.allclose(risks.loc[internal, name], fewer.loc[internal, name])
    new = indexed[internal]
    found = {m: c_index(new["time_months"], new["event"], risks.loc[new.index, m]) for m in risks}
    for name in ("Coxnet", "Random survival forest", "Gradient boosting", "Cox clinical + risk"):
        assert found[name] > 0.65, found  # higher is worse, and the features tell
    assert abs(found["SM area"] - 0.5) < 0.2
    train = indexed[indexed["split"] == "train"]
    both = model.with_partner(features.loc[train.index], train["time_months"], train["event"], of_study.network)
    with_partner, _ = comparators.fit_comparators(indexed, features, model, params, 1, None, tmp_path, both)
    for name in ("Componentwise boosting", "Cox ridge", comparators.COMBINED):
        assert c_index(new["time_months"], new["event"], with_partner.loc[new.index, name]) > 0.65, name
    again, _ = comparators.fit_comparators(indexed, features, model, params, seed=1)
    pd.testing.assert_frame_equal(again, risks, check_exact=True)
    again, as_before = comparators.fit_comparators(indexed, features, kept, params, seed=1, kept=tmp_path)
    pd.testing.assert_frame_equal(again, risks, check_exact=True)
    pd.testing.assert_frame_equal(as_before, times, check_exact=True)  # kept by what the kept model gives
    with pytest.raises(ValueError, match="no row for P000"):
        truth = pd.DataFrame({"patient_id": ["P001"], "true_log_risk": [0.0]})
        truth.to_csv(tmp_path / "truth.csv", index=False)
        comparators.ceiling(tmp_path, indexed.index)


def test_cox_risk_is_that_of_lifelines(data):
    patients, features = data
    x = features.iloc[:, :3].to_numpy()
    months, died = patients["time_months"].to_numpy(), patients["event"].to_numpy(bool)
    ours = comparators.cox_risk(x, months, died, x)
    frame = features.iloc[:, :3].assign(t=months, e=died)
    theirs = CoxPHFitter().fit(frame, "t", "e").predict_log_partial_hazard(frame)
    np.testing.assert_allclose(ours - ours.mean(), theirs - theirs.mean(), atol=1e-5)


def test_coxnet_keeps_what_tells_and_little_else():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((200, 150))
    death, censored = rng.exponential(np.exp(-1.2 * x[:, 0])), rng.uniform(0.2, 3, 200)
    months, died = np.minimum(death, censored), death <= censored
    new = np.eye(150)
    effect = comparators.coxnet_risk(x, months, died, new, ComparatorParams(), 0)
    assert effect[0] > 0.5 and np.abs(effect).argmax() == 0 and (effect != 0).sum() < 60


@pytest.fixture(scope="module")
def params():
    return load_params("standin").model_copy(
        update=SMALL | {"cohort": CohortParams(sets=load_params("standin").cohort.sets)}
    )


def test_resampling_resumes_with_the_same_result_and_permuted_outcomes_teach_nothing(data, params, tmp_path):
    patients, features = data
    table = optimism.resample(patients, features, params, tmp_path, quiet=True)
    sizes = {"split": 3, "bootstrap": 3, "permuted": 12, refit.TESTED: 3 * (patients["split"].nunique() - 1)}
    assert table.groupby("kind").size().to_dict() == sizes
    whole, *kept = sorted(tmp_path.rglob("*.pickle"), key=lambda path: -path.stat().st_mtime_ns)  # the table is last
    assert len(kept) == 18
    for path in (whole, kept[0], kept[-1]):
        path.unlink()
    before = kept[5].stat().st_mtime_ns
    again = optimism.resample(patients, features, params, tmp_path, quiet=True)
    assert kept[5].stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(again, table)
    splits, boot = (table[table["kind"] == k] for k in ("split", "bootstrap"))
    assert (splits["n_test"] == 60).all() and splits["c_index"].nunique() == 3
    assert (splits["c_index"] > 0.6).all()
    assert (boot["n_train"] == boot["n_test"]).all()
    assert boot["c_index_train"].mean() > boot["c_index"].mean() > boot["c_index_left_out"].mean() > 0.6
    assert (splits["c_index_left_out"] == splits["c_index"]).all()

    found = optimism.summary(table, apparent=0.9, single=splits["c_index"].median(), confidence=0.99)
    found = found.set_index("quantity")
    assert found.loc["permuted mean", "low"] < 0.5 < found.loc["permuted mean", "high"]
    assert found.loc["permuted mean", "high"] < splits["c_index"].mean()
    assert found.loc["place of the single split", "value"] == pytest.approx(0.5)
    tested = pd.DataFrame({"set": ["internal"], "c_index": [0.7], "se": [0.05]})
    wide = optimism.summary(table, 0.9, 0.7, 0.95, tested).set_index("quantity")
    again = table.loc[(table["kind"] == refit.TESTED) & (table["set"] == "internal"), "c_index"].astype(float)
    assert (again > 0.6).all() and again.nunique() == 3
    for row, error in (("C-index, internal", 0.05), ("C-index, internal, any model", np.hypot(0.05, again.std()))):
        assert wide.loc[row, "high"] - wide.loc[row, "low"] == pytest.approx(2 * 1.959964 * error)
    gap = (boot["c_index_train"] - boot["c_index"]).mean()
    assert found.loc["training, corrected", "value"] == pytest.approx(0.9 - gap)
    left_out = boot["c_index_left_out"].mean()
    assert left_out < found.loc["training, .632+", "value"] < found.loc["training, corrected", "value"]


def test_point632_plus_between_no_and_full_overfitting():
    """Efron and Tibshirani 1997, equations 28 to 32, for an error of 1 - C and a no-information error of 0.5."""
    assert optimism.point632_plus(0.8, 0.8) == pytest.approx(0.8)  # no overfitting
    assert optimism.point632_plus(1.0, 0.5) == pytest.approx(0.5)  # all overfitting: R = 1, the weight is 1
    error, left_out, none = 0.1, 0.3, 0.5
    rate = (left_out - error) / (none - error)
    plain = 0.368 * error + 0.632 * left_out
    expected = plain + (left_out - error) * 0.368 * 0.632 * rate / (1 - 0.368 * rate)
    assert optimism.point632_plus(1 - error, 1 - left_out) == pytest.approx(1 - expected)


def test_other_settings_are_other_results_and_zero_repeats_are_none(data, params, tmp_path):
    patients, features = data
    none = optimism.resample(
        patients, features, params.model_copy(update={"optimism": OptimismParams(repeats=0)}), tmp_path, quiet=True
    )
    assert none.empty and list(none) == optimism.COLUMNS
    few = params.model_copy(update={"optimism": OptimismParams(repeats=1, permutations=0)})
    for network in (params.network, params.network.model_copy(update={"l2": 0.5})):
        optimism.resample(patients, features, few.model_copy(update={"network": network}), tmp_path, quiet=True)
    kept = list((tmp_path / "one_replicate").iterdir())
    assert len(kept) == 4  # a split and a bootstrap sample of each
