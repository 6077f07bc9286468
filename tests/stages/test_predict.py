"""A saved model on patients without outcomes: the same risks as in its study, refusals, warnings, exclusions."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from conftest import write_seg, write_series
from ct_files import change

import analysis_lib.radiomics.features
from analysis_lib.common.files import seal
from analysis_lib.core.feature_settings import differences, training_settings
from analysis_lib.core.parameters import PARAMS_DIR, AutoEncoderParams, NetworkParams
from analysis_lib.core.project import Project
from analysis_lib.coxnet.cutoff import GRAIN
from analysis_lib.coxnet.model import RadiomicsSurvivalModel
from analysis_lib.ct.ct import read_ct
from analysis_lib.radiomics.workers import run_here
from analysis_lib.stages.features import features_of
from analysis_lib.stages.predict import PredictError, predict, prediction_table
from analysis_lib.ui.command_line import main

N = 24
SM_FEATURES = {"imageType": {"Original": {}}, "featureClass": {"firstorder": None}, "setting": {"binWidth": 25}}
PM_FEATURES = {"imageType": {"Original": {}}, "featureClass": {"firstorder": ["Mean", "Energy"]}}


def write_patient(data, name, seed, shift=0):
    rng = np.random.default_rng(seed)
    hounsfield = (rng.normal(40 + 10 * np.sin(seed), 20 + seed % 7, size=(3, 40, 50)) + shift).astype(np.int16)
    hounsfield[:, :, :3], hounsfield[:, :, 3:6] = -1000, -100  # air and fat, as in every CT
    sm, pm = np.zeros((3, 40, 50), bool), np.zeros((3, 40, 50), bool)
    sm[1, 10:30, 8 : 35 + seed % 5] = True
    pm[1, 15:22, 12:24] = True
    geometry = write_series(data / "ct" / name, hounsfield)
    write_seg(data / "masks" / f"{name}.seg.nrrd", {"SM": sm, "PM": pm}, geometry)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with a study 'site' of N patients who have images and no outcomes, and a model of them."""
    root = tmp_path_factory.mktemp("project")
    (root / "params").mkdir()
    for roi, content in (("sm", SM_FEATURES), ("pm", PM_FEATURES)):
        (root / "params" / f"features_{roi}.yaml").write_text(yaml.safe_dump(content))
    for path in PARAMS_DIR.glob("*.yaml"):
        if not path.name.startswith("features_"):
            (root / "params" / path.name).write_bytes(path.read_bytes())
    names = [f"P{k:02d}" for k in range(N)]
    for k, name in enumerate(names):
        write_patient(root / "data" / "site", name, k)
    (root / "data" / "site" / "patients.csv").write_text("patient_id\n" + "\n".join(names) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        without_workers(patch)
        study = write_study(root, "site")
        features, failures = features_of(study, pd.DataFrame({"patient_id": names}), quiet=True)
        assert failures.empty
        rng = np.random.default_rng(0)
        model = RadiomicsSurvivalModel.fit(
            features,
            rng.exponential(30, N) + 1,
            np.arange(N) % 2,
            AutoEncoderParams(code_size=3, max_epochs=30),
            NetworkParams(ensemble=2, max_epochs=40),
            seed=1,
        )
        model.save(root / "model", training_settings(study))
        yield root, model, features


def without_workers(patch):
    patch.setattr(analysis_lib.radiomics.features, "run_local", run_here)  # starting workers takes seconds


def write_study(root, name, **changes):
    study = {"base": "defaults", "title": "Ours", "workers": 1, "data_dir": str(root / "data" / "site")}
    (root / "params" / f"{name}.yaml").write_text(
        yaml.safe_dump(study | {"features": {"expected_count": 20}} | changes)
    )
    return Project(root).study(name)


def results(root, study):
    read = {"dtype": {"patient_id": str}, "keep_default_na": False, "float_precision": "round_trip"}
    folder = root / "build" / study
    return pd.read_csv(folder / "predictions.csv", **read), pd.read_csv(folder / "predict_exclusions.csv", **read)


def test_training_patients_get_the_risk_of_their_study_to_the_bit_without_outcomes(project):
    root, model, features = project
    said = predict(write_study(root, "again"), root / "model", quiet=True)
    table, exclusions = results(root, "again")
    assert table.columns.tolist() == [
        "patient_id",
        "risk",
        "risk_group",
        "survival_12_months",
        "survival_36_months",
        "survival_60_months",
        "share_outside",
        "reconstruction_error",
        "warning",
        "note",
    ]
    risk = model.risk(features)
    assert table["risk"].tolist() == risk.tolist()
    assert table["risk_group"].tolist() == np.where(risk > model.cutoff + 1e-6, "high", "low").tolist()
    assert (table["risk_group"] == "high").sum() == N // 2  # the cut-off is the training median
    survival = table[["survival_12_months", "survival_36_months", "survival_60_months"]].to_numpy(float)
    np.testing.assert_array_equal(survival, model.survival(features, [12, 36, 60]))
    assert (np.diff(survival) <= 0).all() and ((survival >= 0) & (survival <= 1)).all()
    assert (table["share_outside"] == 0).all()
    assert exclusions.empty and said.startswith(f"{N} patients predicted")


def test_a_patient_on_the_cut_off_is_at_low_risk_to_the_grain_and_not_to_the_bit(project):
    _, model, features = project
    risk = model.risk(features).sort_values()
    for above, group in ((-1e-16, "low"), (0, "low"), (1e-16, "low"), (0.4 * GRAIN, "low"), (0.6 * GRAIN, "high")):
        there = replace(model, cutoff=risk.iloc[7] - above)
        table = prediction_table(there, features, [12]).set_index("patient_id")
        assert table.at[risk.index[7], "risk_group"] == group, above


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_patient_alone_gets_the_same_bits_as_among_others(project, n):
    root, model, features = project
    alone = prediction_table(RadiomicsSurvivalModel.load(root / "model"), features.iloc[5 : 5 + n], [12])
    assert alone["risk"].tolist() == model.risk(features).iloc[5 : 5 + n].tolist()
    assert alone["survival_12_months"].tolist() == model.survival(features, [12]).iloc[5 : 5 + n, 0].tolist()


def test_a_patient_unlike_the_training_patients_is_flagged_and_named_features_are_outside(project):
    root, model, features = project
    write_patient(root / "data" / "new", "LIKE", 3)
    write_patient(root / "data" / "new", "CONTRAST", 3, shift=60)
    (root / "data" / "new" / "patients.csv").write_text("patient_id,os_months\nLIKE,nonsense\nCONTRAST,\n")
    predict(write_study(root, "new", data_dir=str(root / "data" / "new")), root / "model", quiet=True)
    table = results(root, "new")[0].set_index("patient_id")
    assert table.at["LIKE", "warning"] == "" and table.at["LIKE", "risk"] == model.risk(features)["P03"]
    assert "unlike the training patients" in table.at["CONTRAST", "warning"]
    assert "furthest" in table.at["CONTRAST", "warning"]
    assert table.at["CONTRAST", "share_outside"] > model.training.share_limit


def test_survival_beyond_the_training_follow_up_is_missing_and_said(project):
    root, model, _ = project
    late = write_study(root, "late", statistics={"horizons_months": [12, 600]})
    said = predict(late, root / "model", quiet=True)
    assert "No survival at 600 months" in said
    assert (results(root, "late")[0]["survival_600_months"] == "").all()


def test_bad_patients_are_excluded_with_reasons_and_the_rest_unchanged(project):
    root, model, features = project
    ids = "patient_id\nP00\nP01\nP01\nNOBODY\n../../etc\nP02\n\n"
    for k in range(3):
        write_patient(root / "data" / "mixed", f"P{k:02d}", k)
    (root / "data" / "mixed" / "patients.csv").write_text(ids)
    predict(write_study(root, "mixed", data_dir=str(root / "data" / "mixed")), root / "model", quiet=True)
    table, exclusions = results(root, "mixed")
    assert table["patient_id"].tolist() == ["P00", "P02"]
    assert table["risk"].tolist() == model.risk(features)[["P00", "P02"]].tolist()
    assert exclusions["patient_id"].tolist() == ["P01", "P01", "line 6 of the table", "NOBODY"]
    assert exclusions["stage"].tolist() == ["clinical table"] * 3 + ["images"]
    assert exclusions["reason"].str.contains("more than once|may hold letters|NOBODY|exist|missing").all()


def test_names_in_masks_and_paths_reach_neither_predictions_nor_exclusions(project, capfd):
    root, _, _ = project
    data, name = root / "data" / "named", "Zwetschgenberger_Annegret"
    for k, patient in enumerate(("N01", "N02", "N03", "N04")):
        write_patient(data, patient, k)
    grid, sm = read_ct(data / "ct" / "N02").geometry, np.zeros((3, 40, 50), bool)
    sm[1, 10:30, 8:40] = True
    (data / "ct" / "N01").rename(data / "ct" / name)
    (data / "masks" / "N01.seg.nrrd").rename(data / "masks" / f"{name}.seg.nrrd")
    sitk.WriteImage(grid.image_of(sm.astype(np.uint8)), str(data / "masks" / f"{name}.nii.gz"))
    write_seg(data / "masks" / "N03.seg.nrrd", {name: sm}, grid)
    file = next((data / "ct" / "N04").iterdir())
    change(file, PatientName=name, PatientBirthDate="19470923")
    file.write_bytes(file.read_bytes().replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00ZZ"))
    (data / "patients.csv").write_text(
        f"patient_id,ct_path,mask_path\nN01,ct/{name},masks/{name}.seg.nrrd\nN02,,masks/{name}.nii.gz\nN03,,\nN04,,\n"
    )
    said = predict(write_study(root, "named", data_dir=str(data)), root / "model", quiet=True)
    table, exclusions = results(root, "named")
    assert table["patient_id"].tolist() == ["N01"] and exclusions["patient_id"].tolist() == ["N02", "N03", "N04"]
    files = [path.read_text() for path in (root / "build" / "named").rglob("*") if path.is_file()]
    assert not [text for text in (said, *capfd.readouterr(), *files) if "Zwetschg" in text or "19470923" in text]


def test_nobody_to_predict_leaves_no_predictions(project):
    root, _, _ = project
    (root / "data" / "empty").mkdir()
    (root / "data" / "empty" / "patients.csv").write_text("patient_id\nNOBODY\n")
    study = write_study(root, "empty", data_dir=str(root / "data" / "empty"))
    (root / "build" / "empty").mkdir(parents=True)
    (root / "build" / "empty" / "predictions.csv").write_text("of an earlier run")
    with pytest.raises(PredictError, match="nobody can be predicted; for example NOBODY"):
        predict(study, root / "model", quiet=True)
    assert not (root / "build" / "empty" / "predictions.csv").exists()


def test_other_feature_settings_are_refused_by_name(project):
    root, _, _ = project
    other = SM_FEATURES | {"setting": {"binWidth": 10}}
    (root / "params" / "features_bin10.yaml").write_text(yaml.safe_dump(other))
    files = {"rois": {"sm": {"parameter_file": "features_bin10.yaml"}}}
    study = write_study(root, "bin10", features={"expected_count": 20} | files)
    with pytest.raises(PredictError, match="features.sm.setting.binWidth is 25 in the model and 10 here"):
        predict(study, root / "model", quiet=True)


def test_a_comment_in_the_parameter_file_is_no_difference(project):
    root, _, _ = project
    (root / "params" / "features_commented.yaml").write_text("# ours\n" + yaml.safe_dump(SM_FEATURES, sort_keys=False))
    files = {"rois": {"sm": {"parameter_file": "features_commented.yaml"}}}
    study = write_study(root, "commented", features={"expected_count": 20} | files)
    assert predict(study, root / "model", quiet=True)


def test_a_model_of_a_table_is_for_tables_and_one_of_images_for_images(project, tmp_path):
    root, model, features = project
    features.reset_index().to_csv(root / "data" / "site" / "features.csv", index=False)
    study = write_study(root, "tabled", features={"table": "features.csv"})
    with pytest.raises(PredictError, match="extracted from images, and those of study tabled are taken from a table"):
        predict(study, root / "model", quiet=True)
    model.save(tmp_path / "model", training_settings(study))
    assert predict(study, tmp_path / "model", quiet=True).startswith(f"{N} patients predicted")
    assert results(root, "tabled")[0]["risk"].tolist() == model.risk(features).tolist()
    with pytest.raises(PredictError, match="taken from a table.*, and those of study site are extracted from images"):
        predict(Project(root).study("site"), tmp_path / "model", quiet=True)
    features.drop(columns=features.columns[3]).reset_index().to_csv(
        root / "data" / "site" / "features.csv", index=False
    )
    with pytest.raises(PredictError, match="features"):
        predict(study, tmp_path / "model", quiet=True)


def test_other_hu_windows_are_refused_by_name(project):
    root, _, _ = project
    study = write_study(root, "window", images={"sm": {"hu_window": {"low": -50}}})
    with pytest.raises(PredictError, match="images.sm.hu_window.low is -29.0 in the model and -50.0 here"):
        predict(study, root / "model", quiet=True)


@pytest.mark.parametrize("name", ["pyradiomics", "SimpleITK", "fast_radiomics", "tensorflow", "keras", "numpy"])
def test_other_versions_are_refused_by_name(project, tmp_path, name):
    root, model, _ = project
    settings = training_settings(Project(root).study("site"))
    model.save(tmp_path / "model", settings)
    path = tmp_path / "model" / "model.json"
    description = json.loads(path.read_text())
    of_risk = name in description["versions"]
    (description["versions"] if of_risk else description["provenance"]["required"]["versions"])[name] = "0.1"
    path.write_text(json.dumps(description))
    seal(tmp_path / "model")
    with pytest.raises(PredictError, match=f"versions.{name} is '0.1' in the model and '.*' here.*fit"):
        predict(write_study(root, "versions"), tmp_path / "model", quiet=True)


def test_a_model_of_synthetic_patients_says_so_in_every_row(project, tmp_path):
    root, model, _ = project
    model.save(tmp_path / "model", training_settings(Project(root).study("site")) | {"synthetic": True})
    predict(write_study(root, "real"), tmp_path / "model", quiet=True)
    assert results(root, "real")[0]["note"].str.contains("trained on synthetic patients").all()


def test_a_model_of_a_table_and_a_folder_without_model_are_refused(project, tmp_path, monkeypatch, capsys):
    root, model, _ = project
    model.save(tmp_path / "table")
    study = Project(root).study("site")
    with pytest.raises(PredictError, match="fitted to a table"):
        predict(study, tmp_path / "table", quiet=True)
    (tmp_path / "table" / "scaler.json").write_text("{")
    with pytest.raises(PredictError, match="cannot be read as a saved model: scaler.json is missing or is not"):
        predict(study, tmp_path / "table", quiet=True)
    assert main(["predict", "--study", "smoke", "--model", str(tmp_path / "none")]) == 2
    assert "no saved model" in capsys.readouterr().err


def test_differences_name_what_is_only_in_one():
    assert differences({"a": {"x": 1}, "b": None}, {"a": {"x": 1, "y": 2}, "b": {"low": 1}}) == [
        "a.y is absent in the model and 2 here",
        "b is None in the model and {'low': 1} here",
    ]
