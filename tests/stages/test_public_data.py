"""docs/public_data.md: its parameter files on the real tables and on the one real CT that is here."""

import json
import re
import shutil

import conftest
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
from analysis_lib.stages.assemble import assemble_patients, list_exclusions
from analysis_lib.stages.features import extract_features
from analysis_lib.stages.measure import measure_patients

PAGE = (Project().root / "docs" / "public_data.md").read_text(encoding="utf-8")
PATIENT = "CRLM-CT-1006"
# Age and sex are in this patient's DICOM headers; everything else of the row is made up. Headings as listed [3].
CRLM = {"patient_id": PATIENT, "age": 49, "sex": 2, "body_mass_index": 24.5, "carcinoembryonic_antigen": -999.0}
CRLM |= {"overall_survival_months": 51.5, "vital_status": 1, "months_to_dfs_progression": 20.25, "vital_status_dfs": 1}
WAW = {"PATPRI": 35, "age": 66, "gender_woman": 1, "death": 1, "survival_time": 800, "lab_albumin": 3.8}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis_lib.radiomics.features, "run_local", run_here)
    shutil.copytree(Project().params_dir, tmp_path / "params")
    return Project(tmp_path)


def crlm(project: Project, real_ct) -> Study:
    """The first collection with its one patient, as make fetch leaves it."""
    study = Study(project.params("public_crlm").model_copy(update={"workers": 1}), project)
    (study.data / "masks").mkdir(parents=True)
    pd.DataFrame([CRLM]).to_parquet(study.clinical_file)
    shutil.copytree(real_ct / "ct", study.data / "ct" / PATIENT)
    return study


def assert_measured(row: pd.Series, real_ct) -> None:
    truth = json.loads((real_ct / "masks" / "truth.json").read_text())["slices"][0]
    for muscle in ("sm", "pm"):
        assert row[f"{muscle}_area_cm2"] == pytest.approx(truth[muscle.upper()]["area_cm2"], rel=1e-6)
        assert row[f"{muscle}_mean_hu"] == pytest.approx(truth[muscle.upper()]["mean_hu"], rel=1e-6)


def test_a_mask_by_hand_makes_a_study(real_ct, here):
    study = crlm(here, real_ct)
    images = study.params.images.model_copy(update={"l3_slice": "all"})
    study = Study(study.params.model_copy(update={"images": images}), here)
    shutil.copy(real_ct / "masks" / "muscle.seg.nrrd", study.data / "masks" / f"{PATIENT}.seg.nrrd")
    measure_patients(study, quiet=True)
    extract_features(study, quiet=True)
    assemble_patients(study)
    list_exclusions(study)
    patients = study.patients()
    assert study.exclusions().empty
    row = patients.iloc[0]
    assert row[["patient_id", "set", "split", "sex"]].tolist() == [PATIENT, "discovery", "train", "F"]
    times = ["os_months", "os_event", "rfs_months", "rfs_event"]
    assert row[["age", "bmi", *times]].tolist() == [49, 24.5, 51.5, 1, 20.25, 1]
    assert_measured(row, real_ct)
    verdicts = {name: sarcopenic(patients, definition)[0] for name, definition in study.params.definitions.items()}
    assert verdicts["PMA"] and not verdicts["PD"]  # 13.03 < 14.64 cm2; 46.3 > 38.5 HU
    assert verdicts["PMI"] is pd.NA and verdicts["SMI"] is pd.NA  # no height
    features = study.features()
    assert features.shape == (1, 1343) and np.isfinite(features).all(axis=None)


def write_classes(folder, real_ct) -> None:
    """What a segmenter would write: a file a class over many slices, left and right apart, L3 around the slice."""
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


def test_an_automatic_segmenters_folder_is_read_as_it_comes(real_ct, here):
    """SM and PM count in the middle slice of the vertebra."""
    study = crlm(here, real_ct)
    write_classes(study.data / "masks" / PATIENT, real_ct)
    measure_patients(study, quiet=True)
    assert_measured(study.measured().iloc[0], real_ct)


def test_the_licence_free_classes_together_are_the_muscle(here):
    """The page's example: each class that is asked for is a part of SM, of PM, or the vertebra."""
    (here.params_dir / "free.yaml").write_text(example("licence-free"))
    params = here.params("free")
    asked = {name for names in params.masks.tasks.values() for name in names}
    (muscles,) = params.images.sm.parts
    assert set(params.masks.tasks) == {"total", "abdominal_muscles"} and len(muscles) == 14
    assert asked == {*muscles, "vertebrae_L3", "iliopsoas_left", "iliopsoas_right"}
    assert {"psoas_major_left", "psoas_major_right"} <= set(muscles)


def example(name: str) -> str:
    """What the page says to write into a study's parameter file, as a study of its own."""
    return "base: public_hcc_tace\n" + re.search(rf"<!-- test: {name} -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.mark.parametrize("source", ["spreadsheet", "copy"])
def test_the_tace_table_is_read_whole(source, here):
    """105 patients, 93 deaths, OS in weeks: of the authors' spreadsheet, and with headings as the IDC lists them."""
    path = conftest.SHARED / "real-tables" / "hcc_tace_seg_clinical.xlsx"
    if not path.is_file():
        pytest.skip("HCC-TACE-Seg's table not available beside the checkout")
    table = pd.read_excel(path, sheet_name="data table")
    (here.params_dir / "mine.yaml").write_text(example("spreadsheet"))
    study = here.study("mine" if source == "spreadsheet" else "public_hcc_tace")
    study.data.mkdir(parents=True)
    if source == "spreadsheet":
        shutil.copy(path, study.clinical_file)
    else:
        listed = {name: name.lower().replace(" ", "_") for name in table} | {"TCIA_ID": "TCIA_ID"}
        table.rename(columns=listed).astype(str).to_parquet(study.clinical_file)
    params = study.params
    doubts: list[str] = []
    good, excluded = read_clinical(study.clinical_file, list(params.cohort.sets), params.clinical, doubts=doubts)
    assert excluded.empty and not doubts and len(good) == 105 and good["os_event"].sum() == 93
    assert good["os_months"].tolist() == pytest.approx((table["OS"] * 7 / 30.4375).tolist(), rel=1e-9)
    assert good["os_months"].median() == pytest.approx(24.0, abs=0.05)
    assert good["sex"].value_counts().to_dict() == {"M": 68, "F": 37}
    assert good["tumour_single"].sum() == (table["tumor_nodul"] == "uninodular").sum()
    assert good["vascular_invasion"].sum() == table["Vascular invasion"].sum()
    assert good["tumour_diameter_over_5cm"].isna().sum() == 52


def test_the_table_of_waw_tace_is_read_as_public_analyses_name_it(tmp_path):
    params = load_params("public_waw_tace")
    pd.DataFrame([WAW, WAW | {"PATPRI": 42, "gender_woman": 0, "death": 0}]).to_excel(
        path := tmp_path / params.clinical.file, index=False
    )
    good, excluded = read_clinical(path, list(params.cohort.sets), params.clinical)
    assert excluded.empty and good["patient_id"].tolist() == ["35", "42"] and good["sex"].tolist() == ["F", "M"]
    assert good["os_months"].tolist() == pytest.approx([800 / 30.4375] * 2) and good["os_event"].tolist() == [1, 0]


@pytest.mark.parametrize("study", ["public_crlm", "public_hcc_tace", "public_waw_tace"])
def test_one_set_split_in_training_and_internal_test(study):
    params = load_params(study)
    assert len(params.cohort.sets) == 1 and params.cohort.test_sets == ["internal"]
    assert not params.synthetic and params.images.l3_slice == "vertebra"
