"""Nothing that says who a patient is reaches a file, a log or an error message of a run."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

import nrrd
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from conftest import write_seg
from ct_files import change
from mask_files import outlines, write_rtstruct, write_seg_dicom
from tiny_study import ONE_WORKER, STAGES, TinyStudy, project  # noqa: F401

from analysis_lib.core.artefacts import NOTEBOOKS
from analysis_lib.ct.ct import read_ct

# Planted in DICOM headers, file names and the clinical table; no part of the study may show any of them.
SECRETS = {
    "PatientName": "Zwetschgenberger^Annegret",
    "PatientID": "MRN77120934",
    "PatientBirthDate": "19470923",
    "OtherPatientIDs": "KVNR-X482910",
    "PatientAddress": "Quittenweg 17",
    "AccessionNumber": "ACC5550199",
    "InstitutionName": "Spital Oberhinterwald",
    "ReferringPhysicianName": "Dr^Kniffelspitz",
    "PerformingPhysicianName": "Dr^Wolkenschieber",
    "OperatorsName": "Haselmausinger",
    "StudyDescription": "VIP Bürgermeisterin",
    "SeriesDescription": "Sonderfall Mooshuber",
    "ImageComments": "Ehemann heisst Eusebius",
    "PatientComments": "wohnt beim Leuchtturm",
    "StudyID": "STD441277",
}
FREE_TEXT = {
    "name": "Zwetschgenberger, Annegret",
    "birth_date": "23.09.1947",
    "remarks": "Tochter: Philomena Zwetschgenberger",
    "insurance": "KVNR-X482910",
}
WORDS = sorted(
    {
        part
        for text in (*SECRETS.values(), *FREE_TEXT.values())
        for part in text.replace(",", "").split("^")
        if len(part) > 5
    }
    | {"Zwetschgenberger", "Annegret", "Kniffelspitz", "Wolkenschieber", "Philomena", "Eusebius", "Mooshuber"}
)
HEALTHY = ["S01", "S02", "S03", "S04", "S05", "S06"]
BROKEN = ["X01", "X02", "X03", "X04"]
NAME = "Zwetschgenberger Annegret"
MASKS_REFUSED = ["M01", "M02", "M03", "M04", "M05"]  # the name in the place of the muscle's
MASKS_READ = ["M06", "M07", "M08"]  # the name in the mask's header, or in the paths of the clinical table


@pytest.fixture(scope="module")
def run(project):  # noqa: F811
    """A study of patients whose headers name them, some of them broken, up to the first notebook."""
    study = TinyStudy(project, "secret", ONE_WORKER)
    for name in [*HEALTHY, *BROKEN]:
        folder = study.add_patient(name)
        for number, file in enumerate(sorted(folder.iterdir())):
            # Set after writing, under the patient's name as a PACS exports it.
            change(file, SpecificCharacterSet="ISO_IR 192", **SECRETS)
            file.rename(file.with_name(f"Zwetschgenberger_Annegret_19470923_{number:03d}.dcm"))
    files = {name: sorted((study.data / "ct" / name).iterdir()) for name in BROKEN}
    files["X01"][2].unlink()
    dataset = pydicom.dcmread(files["X02"][1])
    dataset.PixelData = dataset.PixelData[:100]
    dataset.save_as(files["X02"][1])
    for file in files["X03"]:
        change(file, RescaleSlope=0)
    files["X04"][3].write_bytes(files["X04"][3].read_bytes()[:300])
    ids = [*HEALTHY, *BROKEN, *MASKS_REFUSED, *MASKS_READ]
    paths = plant_in_masks(study)
    columns = {column: [paths.get(name, {}).get(column, "") for name in ids] for column in ("ct_path", "mask_path")}
    study.write_table(ids, **columns, **{name: [text] * len(ids) for name, text in FREE_TEXT.items()})
    return study, study.run("check", *STAGES, "notebook 01_cohort")


def plant_in_masks(study: TinyStudy) -> dict[str, dict[str, str]]:
    """Patients whose masks carry a name, in each format; returns their ct_path and mask_path. No CT header has one."""
    drawn = {}
    for name in [*MASKS_REFUSED, *MASKS_READ]:
        folder = study.add_patient(name)
        file = study.data / "masks" / f"{name}.seg.nrrd"
        layers = nrrd.read(str(file))[0].astype(bool).transpose(0, 3, 2, 1)
        drawn[name] = (folder, read_ct(folder).geometry, *layers)
        if name not in ("M02", "M08"):
            file.unlink()
    masks = study.data / "masks"
    _, grid, sm, _ = drawn["M01"]
    sitk.WriteImage(grid.image_of(sm.astype("uint8")), str(masks / f"{NAME}.nii.gz"))
    _, grid, sm, pm = drawn["M02"]
    write_seg(masks / "M02.seg.nrrd", {NAME: sm, f"PM {NAME}": pm}, grid)
    for patient, region in (("M03", NAME), ("M06", "SM")):
        _, grid, sm, _ = drawn[patient]
        write_rtstruct(masks / f"{patient}.dcm", {region: outlines(sm, grid)})
        change(masks / f"{patient}.dcm", SpecificCharacterSet="ISO_IR 192", **SECRETS)
    for patient, label in (("M04", NAME), ("M07", "SM")):
        folder, _, sm, pm = drawn[patient]
        write_seg_dicom(masks / f"{patient}.dcm", folder, {label: sm, "PM": pm})
        change(masks / f"{patient}.dcm", SpecificCharacterSet="ISO_IR 192", **SECRETS)
    _, grid, sm, pm = drawn["M05"]
    for number, mask in enumerate((sm, pm)):
        (masks / "M05").mkdir(exist_ok=True)
        sitk.WriteImage(grid.image_of(mask.astype("uint8")), str(masks / "M05" / f"{NAME} {number}.nrrd"))
    drawn["M08"][0].rename(study.data / "ct" / NAME)
    (masks / "M08.seg.nrrd").rename(masks / f"{NAME}.seg.nrrd")
    return {
        "M01": {"mask_path": f"masks/{NAME}.nii.gz"},
        "M08": {"ct_path": f"ct/{NAME}", "mask_path": f"masks/{NAME}.seg.nrrd"},
    }


def texts(name: str, data: bytes) -> list[str]:
    """A file's content in every form in which a name could be read from it."""
    found = [data.decode(code, errors="ignore") for code in ("utf-8", "latin-1", "utf-16-le", "utf-16-be")]
    found.append(data[1:].decode("utf-16-le", errors="ignore"))
    if name.endswith(".parquet"):
        found.append(pd.read_parquet(io.BytesIO(data)).reset_index().to_csv())
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found += [text for part in archive.namelist() for text in [part, *texts(part, archive.read(part))]]
    if name.endswith(".pdf"):
        for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
            try:
                found.append(zlib.decompress(stream).decode("latin-1"))
            except zlib.error:
                continue
    return found


def leaks(outputs: dict[str, bytes], *said: str) -> list[tuple[str, str]]:
    """Planted words in the files of a run, in their names, and in what it said: (word, where)."""
    shown = {f"terminal {k}": [text] for k, text in enumerate(said)}
    shown |= {name: [name, *texts(name, data)] for name, data in outputs.items()}
    return [(word, name) for name, forms in shown.items() for word in WORDS if any(word in form for form in forms)]


def test_the_search_itself_finds_what_is_there():
    table = pd.DataFrame({"note": ["Zwetschgenberger"]})
    assert any("Zwetschgenberger" in text for text in texts("a.parquet", table.to_parquet(compression="gzip")))
    for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-16"):
        assert any("Zwetschgenberger" in text for text in texts("a.bin", "x Zwetschgenberger".encode(code)))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.parquet", table.to_parquet(compression="gzip"))
    assert any("Zwetschgenberger" in text for text in texts("a.zip", archive.getvalue()))


def test_no_file_and_no_message_names_a_patient(run):
    study, (status, out, error) = run
    assert status == 0, error
    outputs = study.outputs()
    assert any(name.endswith("01_cohort.ipynb") for name in outputs)
    assert any(name.endswith("table1.csv") for name in outputs)
    assert {"build/secret/check/check.csv", "build/secret/check/check.html"} <= set(outputs)
    assert leaks(outputs, out, error) == []


def test_identity_is_warned_of_once_with_the_count(run):
    study, (_, _, error) = run
    lines = [line for line in error.splitlines() if "identity" in line]
    assert len(lines) == 1
    # The slice cut short is met when the features are taken, so its patient was measured. Of two patients the mask
    # alone carries identity, of one nothing but the paths does.
    assert "warning: the DICOM headers of 9 of 10 measured patients carry identity" in lines[0]
    page = (study.build / "check" / "check.html").read_text()
    assert "The DICOM headers of 9 patients say who they are" in page


def test_masks_without_the_muscle_are_refused_by_count_and_not_by_name(run):
    study, _ = run
    reasons = pd.read_csv(study.figures / "exclusions.csv").set_index("patient_id")["reason"]
    for name in MASKS_REFUSED:
        assert "no segment named SM or skeletal muscle; the mask has" in reasons[name]
        assert "not shown, since a name may be a person's" in reasons[name]
    checked = pd.read_csv(study.build / "check" / "check.csv").set_index("patient_id")
    assert checked.loc[MASKS_REFUSED, "reason"].tolist() == reasons[MASKS_REFUSED].tolist()


def test_broken_patients_are_named_by_the_studys_own_id(run):
    study, _ = run
    exclusions = pd.read_csv(study.figures / "exclusions.csv")
    unscored = exclusions[exclusions["reason"].str.contains("no mask of PM")]["patient_id"]
    assert list(unscored) == ["M06"]
    assert sorted(set(exclusions["patient_id"]) - {"M06"}) == [*MASKS_REFUSED, *BROKEN]


def test_series_uids_stay_in_the_working_folder(run):
    """A PACS finds the patient by them: they may be kept beside the data, and never in what is published."""
    study, _ = run
    uids = set(pd.read_parquet(study.build / "measured.parquet")["series_uid"])
    assert len(uids) == 10
    published = [texts(p.name, p.read_bytes()) for p in study.figures.rglob("*") if p.is_file()]
    assert published
    assert not [uid for uid in uids for forms in published if any(uid in form for form in forms)]


def test_headers_without_identity_raise_no_warning(project):  # noqa: F811
    study = TinyStudy(project, "anonymous", ONE_WORKER + "cohort: {sets: {lt: null}}\n")
    study.add_patient("A01", PatientName="A01", PatientID="A01", PatientIdentityRemoved="YES")
    study.add_patient("A02")
    study.write_table(["A01", "A02"])
    status, out, error = study.run("measure")
    assert (status, out, error) == (0, "", "")


@pytest.mark.slow
def test_no_file_of_a_whole_study_names_a_patient(project):  # noqa: F811
    """Every notebook, the model and its use, the report and the package of a study with names in its data."""
    study = TinyStudy(project, "whole", "base: smoke\n")
    study.data.rmdir()
    status, _, error = study.run("cohort")
    assert status == 0, error
    for file in (study.data / "ct").rglob("*.dcm"):
        change(file, SpecificCharacterSet="ISO_IR 192", **SECRETS)
        file.rename(file.with_name(f"Zwetschgenberger_Annegret_{file.name}"))
    table = pd.read_csv(study.data / "patients.csv", dtype=str)
    table.assign(**FREE_TEXT).to_csv(study.data / "patients.csv", index=False)
    notebooks = [f"notebook {name}" for name in NOTEBOOKS]
    status, out, error = study.run("check", *STAGES, "stability", "optimism", *notebooks, "record", "report", "package")
    assert status == 0, error
    predicted = study.run("predict --model build/whole/model")
    assert predicted[0] == 0, predicted[2]
    outputs = study.outputs()
    made = {name for names in NOTEBOOKS.values() for name in names}
    assert {f"figures/whole/{name}" for name in made} <= set(outputs)
    assert {"build/whole/predictions.csv", "figures/whole/run.json", "figures/whole/report.html"} <= set(outputs)
    assert leaks(outputs, out, error, *predicted[1:]) == []
