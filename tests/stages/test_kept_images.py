"""What is measured and extracted is kept for every study on the same data, and goes when anything of it changes."""

from __future__ import annotations

import os
from dataclasses import replace

import pandas as pd
import pytest
from tiny_study import ONE_WORKER, TinyStudy, project  # noqa: F401  the fixture

from analysis_lib.core.project import Project, Study
from analysis_lib.ct import indices
from analysis_lib.radiomics import RADIOMICS_STAGE
from analysis_lib.stages import features
from analysis_lib.stages.features import extract_features
from analysis_lib.stages.measure import measure_patients

IDS = ["K01", "K02", "K03"]


@pytest.fixture(scope="module")
def tiny(project):  # noqa: F811
    study = TinyStudy(project, "kept", ONE_WORKER)
    for patient_id in IDS:
        study.add_patient(patient_id)
    study.write_table(IDS)
    other = "base: kept\ndata_dir: data/kept\ndefinitions: {PMI: {men: 5.0, women: 3.0}}\n"
    (project / "params" / "whatif.yaml").write_text(other)
    return study


@pytest.fixture
def measured(monkeypatch):
    """Patients whose images are opened, in order."""
    opened, measure = [], indices.measure

    def counted(ct, *args, **kwargs):
        opened.append(ct.name)
        return measure(ct, *args, **kwargs)

    monkeypatch.setattr(indices, "measure", counted)
    return opened


def opened_by(study: Study, measured: list[str]) -> list[str]:
    measured.clear()
    measure_patients(study, quiet=True)
    return measured


def with_images(study: Study, **changed) -> Study:
    images = study.params.images.model_copy(update=changed)
    return replace(study, params=study.params.model_copy(update={"images": images}))


def test_another_study_on_the_same_patients_opens_no_image(tiny, measured):
    kept, whatif = (Project(tiny.project).study(name) for name in ("kept", "whatif"))
    assert opened_by(kept, measured) == IDS
    assert opened_by(whatif, measured) == []
    pd.testing.assert_frame_equal(whatif.measured(), kept.measured(), check_exact=True)
    assert opened_by(with_images(kept, memory_gb=3.0), measured) == []  # changes no result


def changed(content: bytes) -> bytes:
    """A comment of a NRRD file, or the last pixel of a DICOM file, otherwise."""
    at = content.index(b"\nspace") + 1 if content.startswith(b"NRRD") else len(content) - 2
    return content[:at] + bytes([content[at] ^ (32 if content.startswith(b"NRRD") else 1)]) + content[at + 1 :]


@pytest.mark.parametrize("place", ["ct/K02", "masks/K02.seg.nrrd"])
def test_other_bytes_of_the_same_size_and_time_are_measured(tiny, measured, place):
    study = Project(tiny.project).study("kept")
    opened_by(study, measured)
    path = tiny.data / place
    path = sorted(path.iterdir())[0] if path.is_dir() else path
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(changed(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert opened_by(study, measured) == ["K02"]
    path.write_bytes(content)
    assert opened_by(study, measured) == []


@pytest.mark.parametrize("changed", [{"min_mask_pixels": 21}, {"l3_slice": "middle"}, {"flags": {}}, {"nama": None}])
def test_another_setting_of_the_images_measures_all(tiny, measured, changed):
    assert opened_by(with_images(Project(tiny.project).study("kept"), **changed), measured) == IDS


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-9] + b"x" + b[-8:], lambda b: b""])
def test_a_damaged_or_older_row_is_measured_again(tiny, measured, damage):
    study = Project(tiny.project).study("kept")
    opened_by(study, measured)
    before, files = study.measured(), sorted((study.cache / "measured").rglob("*.pickle"))
    files[0].write_bytes(damage(files[0].read_bytes()))
    head, _, rest = files[1].read_bytes().partition(b"\n")
    files[1].write_bytes(head.replace(head[10:42], b"0" * 32) + b"\n" + rest)  # of other code
    for path in files[2:]:
        path.unlink()
    assert opened_by(study, measured) == IDS
    pd.testing.assert_frame_equal(study.measured(), before, check_exact=True)


def test_an_interrupted_measurement_goes_on_where_it_stopped(tiny, measured, monkeypatch):
    study, measure = with_images(Project(tiny.project).study("kept"), min_mask_pixels=22), indices.measure

    def interrupted(ct, *args, **kwargs):
        if ct.name == "K03":
            raise KeyboardInterrupt
        return measure(ct, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(indices, "measure", interrupted)
        measure_patients(study, quiet=True)
    assert opened_by(study, measured) == ["K03"]


def test_who_cannot_be_measured_is_not_kept(tiny, measured):
    study = Project(tiny.project).study("kept")
    path = tiny.data / "masks" / "K01.seg.nrrd"
    content = path.read_bytes()
    path.write_bytes(b"no mask")
    assert [opened_by(study, measured) for _ in range(2)] == [["K01"], ["K01"]]
    path.unlink()
    opened_by(study, measured)
    assert study.measured_exclusions()["patient_id"].tolist() == ["K01"]
    path.write_bytes(content)
    assert opened_by(study, measured) == [] and len(study.measured()) == 3


@pytest.fixture
def extracted(tiny, monkeypatch, measured):
    """A run of the stage with a stand-in for the extraction, whose features are the length of the id."""
    study, asked = Project(tiny.project).study("kept"), []
    measure_patients(study, quiet=True)

    def table(ids, *, failing, **_):
        asked.append(list(ids))
        index = pd.Index([i for i in ids if i != failing[0]], name="patient_id")
        failures = [(i, failing[1], "a reason") for i in ids if i == failing[0]]
        return pd.DataFrame({"f": index.str.len()}, index), pd.DataFrame(
            failures, columns=["patient_id", "stage", "reason"]
        )

    def run(name: str, failing=("", "")) -> list[list[str]]:
        asked.clear()
        monkeypatch.setattr(features, "feature_table", lambda ids, **how: table(ids, failing=failing, **how))
        study = Project(tiny.project).study(name)
        measure_patients(study, quiet=True)
        extract_features(study, quiet=True)
        return asked

    return run


def test_features_of_the_same_images_are_one_file(tiny, extracted):
    assert extracted("kept") == [IDS]
    assert extracted("whatif") == [] and len(Project(tiny.project).study("whatif").features_exclusions()) == 0
    path = sorted((tiny.data / "ct" / "K03").iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(changed(content))
    assert extracted("whatif") == [IDS]
    path.write_bytes(content)
    assert extracted("whatif") == []
    parameters = tiny.project / "params" / "features_pm.yaml"
    text = parameters.read_text()
    parameters.write_text(text + "\n# another\n")
    assert extracted("kept") == [IDS]
    parameters.write_text(text)


@pytest.mark.parametrize(("stage", "kept"), [(RADIOMICS_STAGE, True), ("features", False)])
def test_features_are_kept_with_failures_that_are_of_the_images_alone(tiny, extracted, stage, kept):
    path = tiny.data / "masks" / "K01.seg.nrrd"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\n", f"\n# {stage}\n".encode(), 1))  # images that no test has kept
    assert extracted("kept", ("K02", stage)) == [IDS]
    assert extracted("whatif", ("K02", stage)) == ([] if kept else [IDS])
    path.write_bytes(content)
