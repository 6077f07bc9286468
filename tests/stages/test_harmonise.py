"""ComBat in a study: learnt of training patients wherever features are read, told, and refused where it cannot go."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from finished import toy_patients, toy_study

from analysis_lib.cohort.clinical import ClinicalTableError, read_clinical
from analysis_lib.cohort.question import further_columns
from analysis_lib.core.feature_settings import training_settings
from analysis_lib.core.parameters import HarmoniseParams, ParameterError, Params, load_params
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.review.methods import methods
from analysis_lib.stages import StageError, refit
from analysis_lib.stages.export import export_model
from analysis_lib.stages.predict import PredictError, check_applicable
from analysis_lib.survival.combat import Combat


def study_of(root, batch="scanner", smallest=10, **codes):
    """A study of 110 patients with eight features, those of scanner b shifted; the external set has one of its own."""
    study = toy_study(root)
    study.build.mkdir(parents=True, exist_ok=True)
    patients = toy_patients()
    scanner = np.where(np.arange(len(patients)) % 3 == 0, "a", "b")
    patients["scanner"] = np.where(patients["set"] == "external", "c", scanner)
    for name, rows in codes.items():
        patients.loc[rows, "scanner"] = name
    rng = np.random.default_rng(5)
    shift = 3.0 * (patients["scanner"] == "b").to_numpy()[:, None]
    features = pd.DataFrame(shift + rng.normal(size=(len(patients), 8)), patients["patient_id"]).add_prefix("sm_")
    patients.to_parquet(study.build / "patients.parquet")
    features.to_parquet(study.build / "features.parquet")
    asked = study.params.features.model_copy(update={"harmonise": HarmoniseParams(batch=batch, smallest=smallest)})
    return toy_study(root, features=asked)


def test_features_are_alike_over_the_scanners_of_the_training_patients(tmp_path):
    study = study_of(tmp_path)
    raw, alike = study.features(as_extracted=True), study.features()
    patients = study.patients().set_index("patient_id")
    train = patients.index[patients["split"] == "train"]
    by_hand = Combat.fit(raw.loc[train], patients.loc[train, "scanner"]).transform(raw, patients["scanner"])
    pd.testing.assert_frame_equal(alike, by_hand)
    external = patients.index[patients["set"] == "external"]
    pd.testing.assert_frame_equal(alike.loc[external], raw.loc[external])  # a scanner that nobody was trained on
    assert toy_study(tmp_path).features().equals(raw)  # off by default


def test_test_patients_change_nothing_of_the_training_patients(tmp_path):
    study = study_of(tmp_path)
    before, patients = study.features(), study.patients().set_index("patient_id")
    train = patients["split"] == "train"
    features = pd.read_parquet(study.build / "features.parquet")
    features.loc[~train] *= 100.0
    features.to_parquet(study.build / "features.parquet")
    pd.testing.assert_frame_equal(study.features()[train], before[train])


@pytest.mark.parametrize(
    ("codes", "smallest", "said"),
    [({"d": [0, 1, 2]}, 5, "3"), ({}, 20, "14"), ({"a": range(60), "b": []}, 5, "42"), ({None: range(60)}, 5, "none")],
)
def test_too_few_training_patients_of_a_scanner_stop_the_run(codes, smallest, said, tmp_path):
    study = study_of(tmp_path, smallest=smallest, **{str(k): v for k, v in codes.items() if k})
    if None in codes:
        patients = study.patients()
        patients.loc[patients["split"] == "train", "scanner"] = None
        patients.to_parquet(study.build / "patients.parquet")
    with pytest.raises(ParameterError, match=rf"features\.harmonise: the training patients by 'scanner' are .*{said}"):
        study.features()


def test_a_patient_without_scanner_keeps_the_features(tmp_path):
    study = study_of(tmp_path)
    patients = study.patients()
    patients.loc[[1, 61], "scanner"] = None
    patients.to_parquet(study.build / "patients.parquet")
    raw, alike = study.features(as_extracted=True), study.features()
    assert (raw == alike).all(axis=1).to_numpy().nonzero()[0].tolist()[0] == 1


def given(study, kind):
    """Arguments of one_replicate, and what its model learnt from and then judged."""
    patients, raw = study.patients(), study.features(as_extracted=True)
    table = patients[[*refit.used_columns(study.params.network), "split"]].assign(**{refit.BATCH: patients["scanner"]})
    params = study.params
    return table, raw, params.cohort, params.autoencoder, params.network, params.seed, kind, 0


@pytest.mark.parametrize("kind", refit.KINDS)
def test_each_replicate_learns_combat_of_its_own_training_patients(kind, tmp_path, monkeypatch):
    seen: list[pd.DataFrame] = []

    def fit(x, *_):
        seen.append(x)
        return SimpleNamespace(risk=lambda new: new.iloc[:, 0], cutoff=0.0)

    monkeypatch.setattr(RadiomicsSurvivalModel, "fit", fit)
    table, raw, *rest = given(study_of(tmp_path), kind)
    refit.one_replicate(table, raw, *rest)
    refit.one_replicate(table.drop(columns=refit.BATCH), raw, *rest)
    alike, plain = seen
    rows = [raw.index[(raw == row).all(axis=1)][0] for row in plain.to_numpy()]  # who it was, a patient twice perhaps
    batch = table.set_index("patient_id")[refit.BATCH][rows].set_axis(plain.index)
    pd.testing.assert_frame_equal(alike, Combat.fit(plain, batch).transform(plain, batch))
    left_out = ~raw.index.isin(rows)
    other = raw.copy()
    other[left_out] = 1e6
    refit.one_replicate(table, other, *rest)
    pd.testing.assert_frame_equal(seen[2], alike)


SETS = ["discovery"] * 8 + ["external"] * 4 + ["lt"] * 4


def test_a_column_of_scanners_is_read_from_the_clinical_table(tmp_path):
    def asked(**changes) -> list[str]:
        return Params.model_validate(load_params("smoke").model_dump() | changes).asked_columns()

    features, multiverse = (load_params("smoke").model_dump()[name] for name in ("features", "multiverse"))
    assert asked() == []
    assert asked(features=features | {"harmonise": {"batch": "scanner"}}) == ["scanner"]
    assert asked(multiverse=multiverse | {"harmonise": "kernel"}) == ["kernel"]
    assert asked(features=features | {"harmonise": {"batch": "centre"}}) == []  # every study reads it
    both = load_params("smoke").model_dump() | {"multiverse": multiverse | {"harmonise": "kernel"}}
    both["features"] = features | {"harmonise": {"batch": "scanner"}}
    (tmp_path / "patients.csv").write_text(
        "patient_id,set,sex,age,height_m,bmi,os_months,os_event,scanner,kernel\n"
        + "".join(f"P{k:02d},{name},M,60,1.7,24,{k + 10},{k % 2},S{k % 2},{k}\n" for k, name in enumerate(SETS))
    )
    params = Params.model_validate(both)
    table, _ = read_clinical(tmp_path / "patients.csv", list(params.cohort.sets), further=further_columns(params))
    assert table["scanner"].tolist() == [f"S{k % 2}" for k in range(len(SETS))]
    assert table["kernel"].tolist() == [str(k) for k in range(len(SETS))]
    both["features"] = features | {"harmonise": {"batch": "scaner"}}
    columns = further_columns(Params.model_validate(both))
    with pytest.raises(ClinicalTableError, match="scaner.*scanner"):
        read_clinical(tmp_path / "patients.csv", list(params.cohort.sets), further=columns)


def test_the_methods_say_it_with_those_who_stay_as_they_are(tmp_path):
    study = study_of(tmp_path)
    text = dict(methods(study.params, study.patients(), 8))["Radiomics"]
    assert "fitted on the training patients, made the features alike over 'scanner', of 2 batches; 25 patients" in text
    assert "without training patients keep theirs" in dict(methods(study.params, None, 8))["Radiomics"]
    assert "ComBat" not in dict(methods(toy_study(tmp_path).params, study.patients(), 8))["Radiomics"]


def test_a_model_of_harmonised_features_is_for_its_own_study(tmp_path):
    study, plain = study_of(tmp_path), toy_study(tmp_path)
    for params_file in ("features_sm.yaml", "features_pm.yaml"):
        (tmp_path / "params").mkdir(exist_ok=True)
        (tmp_path / "params" / params_file).write_text("imageType: {Original: {}}\n")
    theirs, ours = (SimpleNamespace(description={"provenance": training_settings(s)}) for s in (study, plain))
    assert "harmonised" not in training_settings(plain)
    for model, at in ((theirs, study), (theirs, plain), (ours, study)):
        with pytest.raises(PredictError, match=r"ComBat over 'scanner'.*take a model and parameters without it"):
            check_applicable(model, at, tmp_path)
    with pytest.raises(PredictError, match="ComBat"):  # the study's own model, whose parameters have changed since
        check_applicable(theirs, plain, tmp_path, own=True)
    with pytest.raises(KeyError, match="versions"):  # goes on to what every model is asked
        check_applicable(theirs, study, tmp_path, own=True)
    with pytest.raises(StageError, match="fit one without it to give away"):
        export_model(study)
