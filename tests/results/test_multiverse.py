"""The multiverse agrees with the study where it makes the study's choices, and resumes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_up import PATIENTS
from sksurv.metrics import concordance_index_censored

from analysis_lib.cohort.cohort import split_patients
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import load_params
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.figures import specification
from analysis_lib.results import multiverse
from analysis_lib.results.discrimination import continuous_markers
from analysis_lib.results.table2 import table_two
from analysis_lib.survival.combat import Combat

PARAMS = load_params("smoke").model_copy(update={"workers": 1})


def test_cut_offs_span_the_published_ones():
    smi = multiverse.cut_off_choices(PARAMS, "smi")
    assert len(smi) == PARAMS.multiverse.cut_off_steps
    assert smi[0] == (36.2, 29.6) and smi[-1] == (55.0, 41.1)
    density = multiverse.cut_off_choices(PARAMS, "pm_mean_hu")  # one published cut-off alone
    np.testing.assert_allclose([density[0][0], density[2][0], density[-1][0]], [38.5 * 0.9, 38.5, 38.5 * 1.1])


@pytest.fixture(scope="module")
def ratios() -> pd.DataFrame:
    return multiverse.hazard_ratios({"as measured": PATIENTS, "other": PATIENTS}, PARAMS, quiet=True)


def test_the_study_is_one_of_its_specifications(ratios):
    table2 = table_two(PATIENTS, PARAMS.definitions, PARAMS.cohort, PARAMS.statistics)
    ours = table2[(table2["definition"] == "PD") & (table2["set"] == "discovery")].set_index("outcome")
    middle = ratios[(ratios["index"] == "PD") & (ratios["cut_off"] == "38.5 / 38.5") & ~ratios["adjusted"]]
    for row in middle[middle["set"] == "discovery"].itertuples():
        assert row.hr == pytest.approx(ours.loc[row.outcome, "hr"], rel=1e-9)
        assert row.p == pytest.approx(ours.loc[row.outcome, "p"], rel=1e-9)
    assert len(middle) == 5


def test_specifications_are_all_different_and_counted(ratios):
    choices = ["set", "outcome", "index", "window", "groups", "cut_off", "adjusted"]
    assert not ratios.duplicated(choices).any()
    # 5 sets with an outcome; 5 indices as measured and the 2 of SM in the other window; 7 groupings; adjusted or not
    assert len(ratios) == 5 * (5 + 2) * 7 * 2
    assert set(ratios.loc[ratios["window"] == "other", "index"]) == {"SMI", "MA"}
    adjusted = ratios[ratios["adjusted"] & (ratios["set"] == "discovery")]
    assert (adjusted["n"] == 210).all()  # complete cases


def test_curves_are_drawn(ratios):
    fig = specification.specification_curve(ratios, "hr", 1.0)
    assert "specifications" in fig.texts[0].get_text() and len(fig.axes) == 2


def test_continuous_markers_are_higher_where_there_is_less_muscle():
    markers = continuous_markers(PATIENTS, PARAMS.definitions)
    for key, definition in PARAMS.definitions.items():
        cut_off = np.where(PATIENTS["sex"] == "M", definition.men, definition.women)
        marker = markers[f"{key} continuous"]
        np.testing.assert_allclose(marker, cut_off - PATIENTS[definition.column])
        assert ((marker > 0).to_numpy() == sarcopenic(PATIENTS, definition).to_numpy(bool)).all()


def made_up_study(params, patients, features):
    """A study whose features were asked for as extracted: a model of another split learns ComBat anew."""

    def given(as_extracted: bool) -> pd.DataFrame:
        assert as_extracted
        return features

    return SimpleNamespace(params=params, patients=lambda with_radiomics: patients, features=given)


def test_a_column_of_scanners_is_one_more_choice(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    patients = PATIENTS.assign(split="of another split", scanner=rng.choice(["a", "b"], len(PATIENTS)))
    patients = patients.drop(columns="risk")
    shift = np.where(patients["scanner"] == "a", 5.0, 0.0)[:, None]
    features = pd.DataFrame(shift + rng.normal(size=(len(patients), 4)), patients["patient_id"]).add_prefix("sm_")
    choices = PARAMS.multiverse.model_copy(update={"split_seeds": 1, "code_sizes": [3], "harmonise": "scanner"})
    study = made_up_study(PARAMS.model_copy(update={"multiverse": choices}), patients, features)
    monkeypatch.setattr(multiverse, "map_patients", lambda function, jobs, **_: [function(*job) for job in jobs])
    learnt_from: list[pd.DataFrame] = []

    def fit(x, *_):
        learnt_from.append(x)
        return SimpleNamespace(risk=lambda new: new.iloc[:, 0])

    monkeypatch.setattr(RadiomicsSurvivalModel, "fit", fit)
    gains = multiverse.model_gains(study, tmp_path, quiet=True)
    assert gains["harmonised"].tolist() == sorted(gains["harmonised"]) and set(gains["harmonised"]) == {"no", "yes"}
    plain, alike = learnt_from
    pd.testing.assert_frame_equal(plain, features.loc[plain.index])
    batch = patients.set_index("patient_id")["scanner"][plain.index]
    by_hand = Combat.fit(plain, batch).transform(plain, batch)  # of this split's training patients alone
    pd.testing.assert_frame_equal(alike, by_hand)
    assert (
        alike.groupby(batch).mean().diff().abs().to_numpy()[1].max()
        < 0.5
        < 4
        < plain.groupby(batch).mean().diff().abs().to_numpy()[1].min()
    )
    fig = specification.specification_curve(gains, "gain", 0.0)
    assert "Harmonised: yes" in [label.get_text() for label in fig.axes[1].get_yticklabels()]
    fig = specification.specification_curve(gains[gains["harmonised"] == "no"].drop(columns="harmonised"), "gain", 0.0)
    assert not any("Harmonised" in label.get_text() for label in fig.axes[1].get_yticklabels())


def test_gain_is_the_c_index_of_the_model_less_that_of_each_marker(tmp_path, monkeypatch):
    """In each set of each split, by scikit-survival; one fit a seed and size, kept."""
    params = PARAMS.model_copy(
        update={
            "multiverse": PARAMS.multiverse.model_copy(update={"split_seeds": 2, "code_sizes": [3, 4]}),
            "network": PARAMS.network.model_copy(update={"max_epochs": 20}),
            "autoencoder": PARAMS.autoencoder.model_copy(update={"max_epochs": 5}),
        }
    )
    patients = PATIENTS.assign(split="of another split").drop(columns="risk")
    rng = np.random.default_rng(2)
    signal = PATIENTS["risk"].to_numpy()[:, None] + rng.normal(0, 0.5, (len(patients), 6))
    features = pd.DataFrame(signal, PATIENTS["patient_id"], columns=[f"sm_{k}" for k in range(6)])
    study = made_up_study(params, patients, features)
    fits = []

    def here(function, jobs, **_):
        fits[:] = [function(*job) for job in jobs]
        return fits

    monkeypatch.setattr(multiverse, "map_patients", here)
    fit, learnt_from = RadiomicsSurvivalModel.fit, []

    def seen(features, *arguments):
        learnt_from.append(set(features.index))
        return fit(features, *arguments)

    monkeypatch.setattr(RadiomicsSurvivalModel, "fit", seen)
    gains = multiverse.model_gains(study, tmp_path, quiet=True)
    assert len(list((tmp_path / "refitted").iterdir())) == 4
    assert gains.groupby(["split_seed", "code_size"]).ngroups == 4
    assert set(gains["split_seed"]) == {params.seed, params.seed + 1}
    for ((seed, _), part), fitted in zip(gains.groupby(["split_seed", "code_size"]), list(fits), strict=True):
        assert fitted["split"].tolist() == split_patients(patients, params.cohort, seed).tolist()
        assert learnt_from.pop(0) == set(fitted.loc[fitted["split"] == "train", "patient_id"])
        for (name, key), rows in part.groupby(["set", "against"]):
            mine = (fitted["split"] == name).to_numpy()
            definition = params.definitions[key]
            yes_or_no = sarcopenic(patients, definition).astype(float)[mine]
            # the cut-offs of the sexes put men and women on one scale
            below = continuous_markers(patients, {key: definition}).iloc[:, 0][mine]
            outcome = patients["event"][mine] == 1, patients["time_months"][mine]
            model, *others = (
                concordance_index_censored(*outcome, risk)[0] for risk in (fitted["risk"][mine], yes_or_no, below)
            )
            assert model > 0.6  # higher is worse
            found = rows.set_index("form")["gain"]
            assert found["yes or no"] == pytest.approx(model - others[0])
            assert found["continuous"] == pytest.approx(model - others[1])
            assert (rows["n"] == mine.sum()).all() and (rows["events"] == outcome[0].sum()).all()
    monkeypatch.setattr("analysis_lib.coxnet.model.RadiomicsSurvivalModel.fit", lambda *_: pytest.fail("fitted again"))
    pd.testing.assert_frame_equal(multiverse.model_gains(study, tmp_path, quiet=True), gains)
