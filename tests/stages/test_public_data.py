"""docs/public_data.md as a reader would follow it, on the one patient of Colorectal-Liver-Metastases that is here."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

import analysis_lib.radiomics.features
from analysis_lib.cohort.clinical import read_clinical
from analysis_lib.common.sarcopenia import sarcopenic
from analysis_lib.core.parameters import load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.radiomics.workers import run_here
from analysis_lib.stages.assemble import assemble_patients
from analysis_lib.stages.features import extract_features
from analysis_lib.stages.measure import measure_patients

PAGE = (Project().root / "docs" / "public_data.md").read_text(encoding="utf-8")
PATIENT = "CRLM-CT-1006"
# Age and sex are in this patient's DICOM headers; everything else of the row is made up.
CRLM = {"dicom_patient_id": PATIENT, "age": 49, "sex": 2, "body_mass_index": 24.5, "carcinoembryonic_antigen": -999.0}
CRLM |= {"overall_survival_months": 51.5, "vital_status": 1, "months_to_dfs_progression": 20.25, "vital_status_dfs": 1}
HCC = {"dicom_patient_id": "HCC_001", "age": 60, "sex": 1, "os": 100.0, "death_1_stillaliveorlosttofu_0": 0}


def columns_of(heading: str) -> list[str]:
    """Names of columns that the page lists under a bold heading."""
    paragraph = PAGE.split(f"**{heading}**")[1].split("\n\n")[0]
    return re.findall(r"`([a-z0-9_]+)`", paragraph)


def convert(folder: Path, study: str, row: dict, listed: list[str]) -> Path:
    """Run the page's block on a table of one row with the collection's own columns."""
    (folder / "data" / study).mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([{name: row.get(name, -999) for name in dict.fromkeys([*listed, *row])}])
    table.to_parquet(folder / "data" / study / "idc_clinical.parquet")
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
    exec(block.replace('study = "public_crlm"', f'study = "{study}"'), {})
    return folder / "data" / study


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(analysis_lib.radiomics.features, "run_local", run_here)
    shutil.copytree(Project().params_dir, tmp_path / "params")
    return Project(tmp_path)


def test_the_first_collection_becomes_a_study(real_ct, here):
    listed = columns_of("Columns of the first table")
    assert set(CRLM) <= set(listed) and len(listed) >= 38
    data = convert(here.root, "public_crlm", CRLM, listed)
    shutil.copytree(real_ct / "ct", data / "ct" / PATIENT)
    (data / "masks").mkdir()
    shutil.copy(real_ct / "masks" / "muscle.seg.nrrd", data / "masks" / f"{PATIENT}.seg.nrrd")
    params = load_params("public_crlm").model_copy(update={"data_dir": str(data), "workers": 1})
    study = Study(params, here)
    measure_patients(study, quiet=True)
    extract_features(study, quiet=True)
    assemble_patients(study)
    patients = study.patients()
    assert study.exclusions().empty
    row = patients.iloc[0]
    assert row[["patient_id", "set", "split", "sex"]].tolist() == [PATIENT, "discovery", "train", "F"]
    assert row[["age", "bmi", "os_months", "os_event", "rfs_months", "rfs_event"]].tolist() == [
        49,
        24.5,
        51.5,
        1,
        20.25,
        1,
    ]
    truth = json.loads((real_ct / "masks" / "truth.json").read_text())["slices"][0]
    for muscle in ("sm", "pm"):
        assert row[f"{muscle}_area_cm2"] == pytest.approx(truth[muscle.upper()]["area_cm2"], rel=1e-6)
        assert row[f"{muscle}_mean_hu"] == pytest.approx(truth[muscle.upper()]["mean_hu"], rel=1e-6)
    verdicts = {name: sarcopenic(patients, definition)[0] for name, definition in params.definitions.items()}
    assert verdicts["PMA"] and not verdicts["PD"]  # 13.03 < 14.64 cm2; 46.3 > 38.5 HU
    assert verdicts["PMI"] is pd.NA and verdicts["SMI"] is pd.NA  # no height
    features = study.features()
    assert features.shape == (1, 1343) and np.isfinite(features).all(axis=None)


def test_the_second_collections_table_is_read(here):
    listed = columns_of("Columns of the second table")
    assert set(HCC) <= set(listed)
    data = convert(here.root, "public_hcc_tace", HCC, listed)
    params = load_params("public_hcc_tace")
    good, excluded = read_clinical(data / "patients.csv", list(params.cohort.sets))
    assert excluded.empty
    assert good.loc[0, ["patient_id", "sex", "age", "os_event"]].tolist() == ["HCC_001", "M", 60, 0]
    assert good.loc[0, "os_months"] == pytest.approx(700 / 30.4375, abs=1e-3)
    assert good[["height_m", "bmi", "rfs_months"]].isna().all(axis=None)


@pytest.mark.parametrize("study", ["public_crlm", "public_hcc_tace"])
def test_one_set_split_in_training_and_internal_test(study):
    params = load_params(study)
    assert list(params.cohort.sets) == ["discovery"] and params.cohort.test_sets == ["internal"]
    assert not params.synthetic


def test_an_automatic_segmenters_folder_is_read_as_it_comes(real_ct, here):
    """One file a class over many slices, left and right apart; SM and PM count in the middle slice of the vertebra."""
    data = convert(here.root, "public_crlm", CRLM, columns_of("Columns of the first table"))
    shutil.copytree(real_ct / "ct", data / "ct" / PATIENT)
    folder = data / "masks" / PATIENT
    folder.mkdir(parents=True)
    images = {name: sitk.ReadImage(str(real_ct / "masks" / f"{name}.nii.gz")) for name in ("sm", "pm")}
    arrays = {name: sitk.GetArrayFromImage(image) for name, image in images.items()}
    (level,) = np.flatnonzero(arrays["sm"].any(axis=(1, 2)))
    whole = {name: np.repeat(array[[level]], len(array), axis=0) for name, array in arrays.items()}
    vertebra = np.zeros_like(whole["sm"])
    vertebra[level - 2 : level + 3, 200:240, 240:280] = 1
    middle = whole["pm"].shape[2] // 2
    classes = {"skeletal_muscle": whole["sm"], "vertebrae_L3": vertebra, "torso_fat": 1 - whole["sm"]}
    for side, part in (("left", np.s_[:, :, middle:]), ("right", np.s_[:, :, :middle])):
        classes[f"iliopsoas_{side}"] = np.zeros_like(vertebra)
        classes[f"iliopsoas_{side}"][part] = whole["pm"][part]
    for name, array in classes.items():
        image = sitk.GetImageFromArray(array.astype(np.uint8))
        image.CopyInformation(images["sm"])
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
    params = load_params("public_crlm")
    images_params = params.images.model_copy(update={"l3_slice": "vertebra"})
    params = params.model_copy(update={"data_dir": str(data), "workers": 1, "images": images_params})
    study = Study(params, here)
    measure_patients(study, quiet=True)
    row = study.measured().iloc[0]
    truth = json.loads((real_ct / "masks" / "truth.json").read_text())["slices"][0]
    for muscle in ("sm", "pm"):
        assert row[f"{muscle}_area_cm2"] == pytest.approx(truth[muscle.upper()]["area_cm2"], rel=1e-6)
        assert row[f"{muscle}_mean_hu"] == pytest.approx(truth[muscle.upper()]["mean_hu"], rel=1e-6)
