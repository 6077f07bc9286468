"""A broken CT or mask costs its own patient only: it is excluded with a reason, the others keep every byte."""

from __future__ import annotations

import errno
import io
import json
import re
import shutil
from functools import partial

import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
import test_mask_faults
from ct_files import change, change_all, write_bystanders
from test_ct_faults import DICOM_FAULTS
from tiny_study import ONE_WORKER, STAGES, TinyStudy, project  # noqa: F401

from analysis_lib.cohort.sources import LOCATIONS, Source, sources
from analysis_lib.core.parameters import PARAMS_DIR, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.ct import indices
from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.data_paths import files_of
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.radiomics.features import Task
from analysis_lib.review.check import look_at
from analysis_lib.stages.features import image_fingerprint, load_images
from analysis_lib.stages.measure import measure_one

GOOD = ["G01", "G02", "G03"]
# Found out only when all slices are decoded, for the features; the indices are of the slice at L3, which is whole.
AWAY_FROM_L3 = {"slice cut in its pixels", "slice without pixels", "pixels not in the syntax that is named", "a video"}
# Their files are written anew, of another size than the tiny study's, so that the mask does not fit either.
LEFT_OUT = {name for name in DICOM_FAULTS if name.endswith(" cut short")} | {
    "two slices missing",
    "different images at one position",
    "padding in the range of tissue",
    "uneven spacing",
}


def fault_id(number: int) -> str:
    return f"F{number:02d}"


FAULTS = {fault_id(k): name for k, name in enumerate(n for n in DICOM_FAULTS if n not in LEFT_OUT)}
# A link in a circle is refused as a path already.
MASK_FAULTS = {f"M{k:02d}": name for k, name in enumerate(sorted({*test_mask_faults.FAULTS} - {"link in a circle"}))}


@pytest.fixture(scope="module")
def studies(project):  # noqa: F811
    """The same three patients alone, and among one patient for each fault."""
    clean, broken = TinyStudy(project, "clean", ONE_WORKER), TinyStudy(project, "broken")
    for name in GOOD:
        clean.add_patient(name)
    shutil.copytree(clean.data, broken.data, dirs_exist_ok=True)
    clean.write_table(GOOD)
    broken_extra = ["B01", "B02", "B03", "B04", "B05", "L3ALONE"]
    for patient_id, name in FAULTS.items():
        DICOM_FAULTS[name][0](broken.add_patient(patient_id))
    write_bystanders(broken.add_patient("B01"))
    (broken.add_patient("B02") / "loop").symlink_to(broken.data / "ct", target_is_directory=True)
    folder = broken.add_patient("B03")
    (folder / "copy of a slice.dcm").write_bytes((folder / "IM014.dcm").read_bytes())
    for file in broken.add_patient("L3ALONE").iterdir():
        if pydicom.dcmread(file).ImagePositionPatient[2] != -80:
            file.unlink()
    for name, place in (("B04", "B04.nii.gz"), ("B05", "B05/one.nrrd"), ("TWICE", "TWICE.nrrd")):
        folder = broken.add_patient(name)
        volume = read_ct(folder).image()
        if name != "TWICE":
            shutil.rmtree(folder)
        (broken.data / "ct" / place).parent.mkdir(exist_ok=True)
        sitk.WriteImage(volume, str(broken.data / "ct" / place))
    ids = [*GOOD, *FAULTS, *broken_extra, "GONE", "TWICE", *MASK_FAULTS]
    places = {patient_id: broken_mask(broken, patient_id) for patient_id in MASK_FAULTS}
    columns = {name: [places.get(patient_id, {}).get(name, "") for patient_id in ids] for name in LOCATIONS[:2]}
    broken.write_table(ids, **columns)
    runs = {study.name: study.run() for study in (clean, broken)}
    return clean, broken, runs


def broken_mask(study: TinyStudy, patient_id: str) -> dict[str, str]:
    """Write a good CT with a broken mask; returns where they lie, as the clinical table says it."""
    folder = study.data / "cases" / patient_id
    folder.mkdir(parents=True)
    case = test_mask_faults.Case(folder)
    mask = test_mask_faults.FAULTS[MASK_FAULTS[patient_id]][0](case)
    places = {"ct_path": case.ct, "mask_path": mask}
    return {column: str(path.relative_to(study.data)) for column, path in places.items()}


def parquet_bytes(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.reset_index(drop=True).to_parquet(buffer)
    return buffer.getvalue()


def test_both_studies_run_to_their_end_without_a_traceback(studies):
    _, _, runs = studies
    for status, out, error in runs.values():
        assert status == 0, error
        assert "Traceback" not in out + error
        assert out == ""


def test_every_broken_patient_is_excluded_with_the_reason(studies):
    _, broken, _ = studies
    exclusions = pd.read_parquet(broken.build / "exclusions.parquet").set_index("patient_id")
    assert sorted(exclusions.index) == sorted([*FAULTS, *MASK_FAULTS, "GONE", "TWICE", "L3ALONE"])
    for patient_id, name in MASK_FAULTS.items():
        assert re.search(test_mask_faults.FAULTS[name][1], exclusions.loc[patient_id, "reason"]), name
        assert exclusions.loc[patient_id, "stage"] == "images"
    assert "2 CTs of this patient (.nrrd, a folder)" in exclusions.loc["TWICE", "reason"]
    for patient_id, name in FAULTS.items():
        reason = exclusions.loc[patient_id, "reason"]
        assert pd.Series([reason]).str.contains(DICOM_FAULTS[name][1]).all(), (name, reason)
        stage = RADIOMICS_STAGE if name in AWAY_FROM_L3 else "images"
        assert exclusions.loc[patient_id, "stage"] == stage, (name, reason)
    assert not exclusions["reason"].str.contains(r"IM\d+|Traceback|\n").any()


def test_the_others_keep_every_byte(studies):
    clean, broken, _ = studies
    for table in ("measured.parquet", "features.parquet"):
        alone = pd.read_parquet(clean.build / table).reset_index()
        among = pd.read_parquet(broken.build / table).reset_index()
        assert list(alone["patient_id"]) == GOOD
        among = among[among["patient_id"].isin(GOOD)][alone.columns]
        assert parquet_bytes(alone.drop(columns="index", errors="ignore")) == parquet_bytes(
            among.drop(columns="index", errors="ignore")
        )
    for name in GOOD:
        for roi in ("sm", "pm"):
            where = "build/cache/patients/{}/" + f"{roi}-*/{name}.json"
            files = [next(study.project.glob(where.format(study.name))) for study in (clean, broken)]
            assert files[0].read_bytes() == files[1].read_bytes()


def test_a_patient_of_whom_l3_alone_is_there_keeps_the_indices(studies):
    _, broken, _ = studies
    exclusions = pd.read_parquet(broken.build / "exclusions.parquet").set_index("patient_id")
    assert exclusions.loc["L3ALONE", "stage"] == RADIOMICS_STAGE
    assert "48 x 40 x 1 voxels" in exclusions.loc["L3ALONE", "reason"]
    patients = pd.read_parquet(broken.build / "patients.parquet").set_index("patient_id")
    assert patients.loc["L3ALONE", ["smi", "pmi", "sm_mean_hu"]].notna().all()
    assert patients.loc["L3ALONE", "ct_series"] == "series 1 of 1, 1 slice, 5 mm"
    assert "L3ALONE" not in pd.read_parquet(broken.build / "features.parquet").index
    params = load_params("defaults")
    images = params.images.model_copy(update={"min_mask_pixels": 20})
    files = Study(params).parameter_files
    checked = look_at(Source(broken.data, "L3ALONE"), images, files)
    assert checked["status"] == "ok" and checked["warnings"].startswith("indices only, no radiomics: SM: log-sigma")
    assert look_at(Source(broken.data, "G01"), images, files)["warnings"] == ""


@pytest.mark.slow
def test_a_study_of_patients_of_whom_l3_alone_is_there(project):  # noqa: F811
    """It stops where radiomics are asked for and says how to go on; then it has the indices and no model."""
    study = TinyStudy(project, "alone", ONE_WORKER + "cohort: {sets: {external: null, lt: null}}\n")
    for file in study.add_patient("A01").iterdir():
        if pydicom.dcmread(file).ImagePositionPatient[2] != -80:
            file.unlink()
    study.write_table(["A01"])
    status, _, error = study.run()
    assert status == 2 and error.count("\n") == 1
    assert "A01: SM: log-sigma" in error and "'features: null' in params/alone.yaml" in error
    with (project / "params" / "alone.yaml").open("a") as file:
        file.write("features: null\n")
    status, _, error = study.run(*STAGES, "optimism", "notebook 04_autoencoder_deepsurv")
    assert (status, error) == (0, "")
    assert pd.read_parquet(study.build / "patients.parquet")["smi"].notna().all()
    assert pd.read_parquet(study.build / "exclusions.parquet").empty
    assert not list((study.build / "notebooks").glob("*"))
    status, _, error = study.run("search")
    assert status == 2 and "no radiomics and so no model" in error


def test_what_was_read_is_written_down(studies):
    _, broken, _ = studies
    measured = pd.read_parquet(broken.build / "measured.parquet").set_index("patient_id")
    assert measured.loc["B01", "ct_series"] == "series 1 of 1, 8 slices, 5 mm"
    assert set(measured.loc[["B04", "B05"], "ct_series"]) == {"8 slices, 5 mm"}
    features = pd.read_parquet(broken.build / "features.parquet")
    assert features.loc[["B04", "B05"]].notna().all(axis=None)
    images = load_params("defaults").images.model_copy(update={"min_mask_pixels": 20})
    for name in ("B04", "B05"):
        source = Source(broken.data, name)
        assert look_at(source, images)["series"] == "8 slices, 5 mm"
        before = image_fingerprint({name: source}, images, "", name)
        file = next(file for file in files_of(source.ct()))
        file.write_bytes(file.read_bytes() + b" ")
        assert image_fingerprint({name: source}, images, "", name) != before
    assert measured.loc["B03", "ct_notes"] == "1 identical copies of slices left out"
    noted = measured["ct_notes"][lambda notes: notes != ""].drop("B03")
    assert {FAULTS[patient_id] for patient_id in noted.index} == {"slice cut in its pixels", "slice without pixels"}
    assert noted.str.fullmatch("one of 8 slices is cut short, so no features can be taken; export the .* again").all()
    assert json.loads(measured.loc["G01", "slices_z_mm"]) == [-80.0]


def test_a_study_without_one_usable_patient_ends_in_one_line(project):  # noqa: F811
    study = TinyStudy(project, "hopeless", ONE_WORKER)
    change_all(study.add_patient("H01"), RescaleSlope=0)
    study.write_table(["H01"])
    status, _, error = study.run("measure")
    assert status == 2
    assert len(error.splitlines()) == 1
    assert "H01" in error and "rescale slope 0" in error and "export" in error


def test_series_and_folder_named_by_the_table(project):  # noqa: F811
    """Columns series_uid and ct_path, where the clinical table has them."""
    study = TinyStudy(project, "named")
    folder = study.add_patient("N01")
    folder.rename(study.data / "ct" / "elsewhere")
    params = load_params("named", project / "params").model_copy(update={"data_dir": str(study.data)})
    table = pd.DataFrame({"patient_id": ["N01"], "ct_path": ["ct/elsewhere"], "series_uid": [None]})
    source = sources(Study(params, Project(project)), table)["N01"]
    images = load_params("named", project / "params").images
    row = measure_one(source, images)
    assert row["ct_series"] == "series 1 of 1, 8 slices, 5 mm"
    for path, message in (("../broken/ct/G01", "outside the data folder"), ("ct/none", "does not exist")):
        source = sources(Study(params, Project(project)), table.assign(ct_path=path))["N01"]
        assert message in measure_one(source, images)["reason"]
    for file in (study.data / "ct" / "elsewhere").iterdir():
        other = file.with_name("second " + file.name)
        other.write_bytes(file.read_bytes())
        change(other, SeriesInstanceUID="1.2.3", SOPInstanceUID=pydicom.uid.generate_uid())
    source = sources(Study(params, Project(project)), table)["N01"]
    assert "2 CT series of 8 slices are equally good" in measure_one(source, images)["reason"]
    source = sources(Study(params, Project(project)), table.assign(series_uid="1.2.3"))["N01"]
    assert measure_one(source, images)["series_uid"] == "1.2.3"


# ---- errors that nobody foresaw ------------------------------------------------------------------------
def failing_source(tmp_path, monkeypatch, error: BaseException):
    """A patient with files, and images that raise ``error`` when they are read."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(indices, "open_patient", fail)
    for name in ("ct/P1/a.dcm", "masks/P1.nrrd"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Source(tmp_path, "P1"), load_params("defaults").images


def features_task(source, images, tmp_path) -> Task:
    found = {"P1": source}
    load, fingerprint = partial(load_images, found, images), partial(image_fingerprint, found, images, "")
    return Task(load, fingerprint, {"sm": PARAMS_DIR / "features_sm.yaml"}, tmp_path / "cache")


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("in the tag of Doe^Jane"),
        KeyError("Doe^Jane"),
        RuntimeError("Doe^Jane"),
        PermissionError(errno.EACCES, "Permission denied", "Doe^Jane.dcm"),
        MemoryError("Doe^Jane"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_unforeseen_error_costs_its_patient_and_tells_nothing_of_itself(tmp_path, monkeypatch, error):
    source, images = failing_source(tmp_path, monkeypatch, error)
    reasons = [
        measure_one(source, images)["reason"],
        look_at(source, images)["reason"],
        features_task(source, images, tmp_path)("P1").reason,
    ]
    for reason in reasons:
        assert type(error).__name__ not in reason and "export" in reason
        assert "Doe" not in reason


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "full"), KeyboardInterrupt()],
    ids=["disk", "quota", "interrupt"],
)
def test_a_full_disk_and_the_like_stop_the_run(tmp_path, monkeypatch, error):
    source, images = failing_source(tmp_path, monkeypatch, error)
    for read in (measure_one, look_at, lambda s, i: load_images({"P1": s}, i, "P1")):
        with pytest.raises(type(error)):
            read(source, images)
    if isinstance(error, OSError):
        with pytest.raises(OSError, match="full"):
            features_task(source, images, tmp_path)("P1")
