"""Nothing that says who a patient is reaches a file, a log or an error message of a run."""

from __future__ import annotations

import pandas as pd
import pydicom
import pytest
from ct_files import change
from tiny_study import STAGES, TinyStudy, project  # noqa: F401

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


@pytest.fixture(scope="module")
def run(project):  # noqa: F811
    """A study of patients whose headers name them, some of them broken, up to the first notebook."""
    study = TinyStudy(project, "secret")
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
    ids = [*HEALTHY, *BROKEN]
    study.write_table(ids, **{name: [text] * len(ids) for name, text in FREE_TEXT.items()})
    return study, study.run(*STAGES, "notebook 01_cohort")


def texts(name: str, data: bytes) -> list[str]:
    """A file's content in every form in which a name could be read from it."""
    found = [data.decode(code, errors="ignore") for code in ("utf-8", "latin-1", "utf-16-le", "utf-16-be")]
    found.append(data[1:].decode("utf-16-le", errors="ignore"))
    if name.endswith(".parquet"):
        import io

        found.append(pd.read_parquet(io.BytesIO(data)).reset_index().to_csv())
    if name.endswith(".pdf"):
        import re
        import zlib

        for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
            try:
                found.append(zlib.decompress(stream).decode("latin-1"))
            except zlib.error:
                continue
    return found


def test_the_search_itself_finds_what_is_there():
    table = pd.DataFrame({"note": ["Zwetschgenberger"]})
    assert any("Zwetschgenberger" in text for text in texts("a.parquet", table.to_parquet(compression="gzip")))
    for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-16"):
        assert any("Zwetschgenberger" in text for text in texts("a.bin", "x Zwetschgenberger".encode(code)))


def test_no_file_and_no_message_names_a_patient(run):
    study, (status, out, error) = run
    assert status == 0, error
    outputs = study.outputs()
    assert any(name.endswith("01_cohort.ipynb") for name in outputs)
    assert any(name.endswith("table1.csv") for name in outputs)
    shown = {"standard output": [out], "standard error": [error]}
    shown |= {name: texts(name, data) for name, data in outputs.items()}
    leaks = [(word, name) for name, forms in shown.items() for word in WORDS if any(word in form for form in forms)]
    assert leaks == []
    assert not [name for name in outputs if any(word in name for word in WORDS)]


def test_identity_is_warned_of_once_with_the_count(run):
    _, (_, _, error) = run
    lines = [line for line in error.splitlines() if "identity" in line]
    assert len(lines) == 1
    # The slice cut short is met when the features are taken, so its patient was measured.
    assert "warning: the DICOM headers of 7 of 7 measured patients carry identity" in lines[0]


def test_broken_patients_are_named_by_the_studys_own_id(run):
    study, _ = run
    exclusions = pd.read_csv(study.figures / "exclusions.csv")
    assert sorted(exclusions["patient_id"]) == BROKEN


def test_series_uids_stay_in_the_working_folder(run):
    """A PACS finds the patient by them: they may be kept beside the data, and never in what is published."""
    study, _ = run
    uids = set(pd.read_parquet(study.build / "measured.parquet")["series_uid"])
    assert len(uids) == 7
    published = [texts(p.name, p.read_bytes()) for p in study.figures.rglob("*") if p.is_file()]
    assert published
    assert not [uid for uid in uids for forms in published if any(uid in form for form in forms)]


def test_headers_without_identity_raise_no_warning(project):  # noqa: F811
    study = TinyStudy(project, "anonymous")
    study.add_patient("A01", PatientName="A01", PatientID="A01", PatientIdentityRemoved="YES")
    study.add_patient("A02")
    study.write_table(["A01", "A02"])
    status, out, error = study.run("measure")
    assert (status, out, error) == (0, "", "")
