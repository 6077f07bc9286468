"""A file that lost its content and kept its time, as after a loss of power, is seen and made again."""

import os
import time

import pytest

from analysis_lib.core.parameters import load_params
from analysis_lib.core.prepare import prepare
from analysis_lib.core.project import Project, Study
from analysis_lib.core.written import damaged_files, note_written
from analysis_lib.review.verify import verify

FILES = {"measure": "build/smoke/measured.parquet", "features": "build/smoke/features.parquet",
         "02_sarcopenia": "figures/smoke/table2.csv", "04_autoencoder_deepsurv": "build/smoke/model/ensemble.npz",
         "05_risk_groups": "build/smoke/notebooks/05_risk_groups.ipynb", "optimism": "build/smoke/optimism.csv",
         "cohort": "data/smoke/ct/D0001/IM0001.dcm"}  # fmt: skip


@pytest.fixture
def written(tmp_path) -> Study:
    """A project whose stages each wrote one file, prepared once."""
    for path in Project().params_dir.iterdir():
        (tmp_path / "params").mkdir(exist_ok=True)
        (tmp_path / "params" / path.name).write_bytes(path.read_bytes())
    study = Study(load_params("smoke"), Project(tmp_path))
    for number, (stage, name) in enumerate(FILES.items()):
        when_ns = time.time_ns() + (number - len(FILES)) * 10**10  # given, for a file system's clock lags
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"written by " + stage.encode())
        os.utime(path, ns=(when_ns, when_ns))
        note_written(study, stage, when_ns)
    prepare(study)
    return study


def spoil(path, content: bytes) -> None:
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def stamps(study) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (study.build / "again").iterdir()}


@pytest.mark.parametrize("stage", FILES)
@pytest.mark.parametrize("content", [b"", b"-"])
def test_its_stage_is_asked_again_and_no_other(written, stage, content, capsys):
    path = written.project.root / FILES[stage]
    if content and stage == "cohort":
        content = b"cut"  # of the many images the size alone is noted
    spoil(path, content if not content or stage == "cohort" else content * path.stat().st_size)
    assert damaged_files(written)[stage] == {FILES[stage]}
    before = stamps(written)
    prepare(written)
    again = {name for name, stamp in stamps(written).items() if stamp != before[name]}
    missing = {name for name in again if name.startswith(("0", "1"))} - set(FILES)  # their figures were never there
    assert stage in again and not (again - missing - {stage}) & {"measure", "features", "optimism", "cohort"}
    assert not path.exists()
    assert f"{FILES[stage]} is not as it was written" in capsys.readouterr().err


def test_what_is_whole_or_was_written_by_somebody_else_since_is_left_alone(written):
    path = written.project.root / FILES["optimism"]
    path.write_bytes(b"by hand")
    os.utime(path, (time.time() + 5, time.time() + 5))
    assert damaged_files(written) == {}
    prepare(written)
    assert path.read_bytes() == b"by hand"


def test_a_record_that_is_damaged_itself_asks_for_its_stage(written):
    (written.build / "stages" / "measure.written").write_text("")
    before = stamps(written)
    prepare(written)
    assert stamps(written)["measure"] != before["measure"]
    (written.build / "run.json").write_text("")
    prepare(written)
    assert not (written.build / "run.json").exists()


@pytest.mark.parametrize("name", ["risk.csv", "patients.parquet", "exclusions.parquet", "model/model.json"])
def test_verify_sees_it_too(finished, name):
    spoil(finished.build / name, b"")
    assert finished.project.name_of(finished.build / name) in verify(finished).changed


def test_a_table_that_its_stage_left_alone_stays_noted(written):
    note_written(written, "measure", time.time_ns() + 10**10)  # a run that found nothing to change
    spoil(written.project.root / FILES["measure"], b"")
    assert damaged_files(written) == {"measure": {FILES["measure"]}}
    note_written(written, "inputs", time.time_ns() + 10**10)
    assert set(damaged_files(written)) == {"measure"}, "a stage that writes nothing is whole"
