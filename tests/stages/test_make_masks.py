"""make masks with a stand-in for TotalSegmentator: its own example output, a failing patient, an interruption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import conftest
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from made import as_a_user

from analysis_lib.core.project import Project
from analysis_lib.ct import indices
from analysis_lib.ct.ct import read_ct
from analysis_lib.stages import StageError
from analysis_lib.stages.masks import segment_patients

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r"^totalsegmentator==(\S+)", (ROOT / "requirements/masks.lock").read_text(), re.MULTILINE)[1]
LABELS = {"vertebrae_L3": 29, "iliopsoas_left": 88, "iliopsoas_right": 89}  # of the example, version 2
# Gives the classes that lie in a folder, as TotalSegmentator would; what it does beside that stands in plan.json.
PROGRAM = f"""#!{sys.executable} -SE
import json, os, shutil, sys, time
if sys.argv[1:] == ["--version"]:
    sys.exit(print({VERSION!r}))
words = sys.argv[1:]
option = {{name: words[words.index(name) + 1] for name in ("-i", "-o", "--task", "--device")}}
subset = words[words.index("--roi_subset") + 1 :] if "--roi_subset" in words else []
here, task, given = os.path.dirname(__file__), option["--task"], option["-i"]
assert os.path.getsize(given) > 100
plan = json.load(open(os.path.join(here, "plan.json")))
patient = os.path.basename(os.path.dirname(given)).split("-")[-1]
with open(os.path.join(here, "runs.log"), "a") as log:
    print(task, patient, option["--device"], *subset, file=log)
todo = plan[patient].get(task, "")
if todo == "no licence":
    print("In contrast to the other tasks this task is not openly available.\\nIt requires a license. For\\n")
    sys.exit(1)
if todo == "no memory":
    sys.exit("Traceback\\nout of memory")
os.mkdir(option["-o"])
for name in subset or ["skeletal_muscle", "torso_fat"]:
    source, target = os.path.join(here, "classes"), os.path.join(option["-o"], name + ".nii.gz")
    if name == "iliopsoas_right" and todo in ("wait", "no file"):
        if todo == "no file":
            continue
        time.sleep(60)
    wrong = os.path.join(source, f"{{name}}.{{todo}}.nii.gz")
    shutil.copy(wrong if os.path.exists(wrong) else os.path.join(source, name + ".nii.gz"), target)
"""


def write_classes(folder: Path, labels: sitk.Image, ct: Path) -> None:
    """The classes of a label map on the grid of the CT as the study reads it, and what goes wrong with one of them."""
    folder.mkdir(exist_ok=True)
    on_grid = sitk.Resample(labels, read_ct(ct).image(), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    for name, label in (LABELS | {"skeletal_muscle": 88, "torso_fat": 89}).items():
        sitk.WriteImage(sitk.Cast(on_grid == label, sitk.sitkUInt8), str(folder / f"{name}.nii.gz"))
    first = folder / "vertebrae_L3.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(first)) * 0, str(folder / "vertebrae_L3.empty.nii.gz"))
    sitk.WriteImage(sitk.ReadImage(str(first))[:, :, 1:], str(folder / "vertebrae_L3.another grid.nii.gz"))
    (folder / "vertebrae_L3.damaged.nii.gz").write_bytes(first.read_bytes()[:-20])


@pytest.fixture
def site(tmp_path):
    """A study with one small NIfTI CT a patient, and the stand-in; a function that says what it does wrong for whom."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    lines = "base: defaults\ncohort: {sets: {external: null, lt: null}}\nimages: {l3_slice: vertebra}\n"
    (tmp_path / "params" / "site.yaml").write_text(lines)
    program = tmp_path / "TotalSegmentator"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    ct = tmp_path / "data" / "site" / "ct"
    ct.mkdir(parents=True)
    rng = np.random.default_rng(1)
    hu = rng.integers(-100, 100, (12, 30, 40)).astype(np.int16)
    hu[:, :3] = -1000
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((0.8, 0.7, 3.0))
    image.SetOrigin((-16.0, -10.0, 5.0))
    labels = np.zeros((12, 30, 40), np.uint8)
    labels[4:9, 10:20, 15:25], labels[2:10, 10:20, 5:12], labels[2:10, 10:20, 28:35] = 29, 88, 89
    marked = sitk.GetImageFromArray(labels)
    marked.CopyInformation(image)
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    write_classes(tmp_path / "classes", marked, tmp_path / "ct.nii.gz")

    def write(patients: dict[str, dict[str, str]]) -> Project:
        columns = {"set": "discovery", "sex": "M", "age": 60, "height_m": 1.7, "bmi": 24.0, "os_months": 12.0}
        table = pd.DataFrame([{"patient_id": name, **columns} for name in patients])
        table["os_event"] = [k % 2 for k in range(len(table))]
        table.to_csv(tmp_path / "data" / "site" / "patients.csv", index=False)
        for name in patients:
            if not (ct / f"{name}.nii.gz").exists():
                shutil.copy(tmp_path / "ct.nii.gz", ct / f"{name}.nii.gz")
        (tmp_path / "plan.json").write_text(json.dumps(patients))
        return Project(tmp_path)

    return write


def runs(root: Path) -> list[str]:
    return (root / "runs.log").read_text().splitlines()


def test_masks_are_made_once_and_one_failure_stops_nobody_else(site):
    faults = {"P2": "no memory", "P3": "no file", "P4": "another grid", "P5": "damaged", "P6": "empty"}
    tasks = dict.fromkeys(faults, "total") | {"P2": "tissue_types"}
    project = site({"P1": {}, **{name: {tasks[name]: fault} for name, fault in faults.items()}, "P7": {}})
    study, root = project.study("site"), project.root
    (study.data / "ct" / "P7.nii.gz").write_bytes(b"no CT")
    text, failed = segment_patients(study, "TotalSegmentator", "cpu", quiet=True)
    assert failed == 5 and "masks of 2 patients made, 0 were there, 5 failed" in text
    assert "in 1 of them no vertebrae_L3 was found" in text
    table = pd.read_csv(study.build / "masks.csv", keep_default_na=False).set_index("patient_id")
    said = {"P2": "out of memory", "P3": "wrote no iliopsoas_right", "P4": "another grid", "P5": "damaged"}
    assert all(text in table.at[name, "reason"] for name, text in said.items()) and table.at["P7", "reason"]
    made = {path.relative_to(study.data / "masks").as_posix() for path in (study.data / "masks").rglob("*")}
    classes = [f"{name}.nii.gz" for name in (*LABELS, "skeletal_muscle")]
    assert made == {"P1", "P6", *(f"{p}/{name}" for p in ("P1", "P6") for name in classes)}
    log = runs(root)
    assert log[0] == f"total P1 cpu {' '.join(LABELS)}" and log[1] == "tissue_types P1 cpu"

    shutil.copy(root / "ct.nii.gz", study.data / "ct" / "P7.nii.gz")  # all is mended but P2
    site({"P1": {}, **{name: {} for name in faults}, "P2": {"tissue_types": "no memory"}, "P7": {}})
    text, failed = segment_patients(study, "TotalSegmentator", quiet=True)
    assert failed == 1 and "masks of 4 patients made, 2 were there, 1 failed" in text and "no CT" not in text
    assert not [line for line in runs(root)[len(log) :] if " P1 " in line or " P6 " in line]
    measured = indices.measure(study.data / "ct/P1.nii.gz", study.data / "masks/P1", study.params.images)
    assert measured["pm_slices"] == [6] and measured["pm_area_cm2"] == pytest.approx(2 * 70 * 0.56 / 100)


def test_who_has_no_ct_is_no_failure(site):
    """As those of a collection of whom make fetch found no series."""
    study = site({"P1": {}, "P2": {}}).study("site")
    (study.data / "ct" / "P2.nii.gz").unlink()
    text, failed = segment_patients(study, "TotalSegmentator", quiet=True)
    assert "masks of 1 patients made, 0 were there, 0 failed\n1 patients have no CT" in text and not failed


def test_a_licence_that_nobody_has_stops_the_run_and_says_where_it_is(site):
    project = site({"P1": {}, "P2": {"tissue_types": "no licence"}, "P3": {}})
    study = project.study("site")
    with pytest.raises(StageError, match=r"tissue_types needs a licence.*license-academic.*masks.tasks"):
        segment_patients(study, "TotalSegmentator", quiet=True)
    assert [path.name for path in (study.data / "masks").iterdir()] == ["P1"]


def test_masks_by_hand_are_left_alone_and_halves_are_named(site):
    project = site({"P1": {}, "P2": {}, "P3": {}})
    study = project.study("site")
    masks = study.data / "masks"
    for name in ("P1", "P2"):
        (masks / name).mkdir(parents=True)
    (masks / "P1" / "psoas.nii.gz").write_bytes(b"drawn")
    (masks / "P2" / "iliopsoas_left.nii.gz").write_bytes(b"half")
    (masks / "P3.seg.nrrd").write_bytes(b"drawn")
    text, failed = segment_patients(study, "TotalSegmentator", quiet=True)
    assert "0 patients made, 2 were there, 1 failed" in text and failed == 1
    reason = pd.read_csv(study.build / "masks.csv").set_index("patient_id").at["P2", "reason"]
    assert reason.startswith("the folder of masks lacks iliopsoas_right") and not (project.root / "runs.log").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [("2.4.0", "--version says 2.4.0"), ("", "says it says nothing"), (None, "is not installed; run it by make masks")],
)
def test_another_version_or_none_is_refused(site, version, said):
    project = site({"P1": {}})
    program = project.root / "TotalSegmentator"
    if version is None:
        program.rename(project.root / "other")
    else:
        program.write_text(f"#!/bin/sh\necho '{version}'\n")
    with pytest.raises(StageError, match=said):
        segment_patients(project.study("site"), "TotalSegmentator", quiet=True)


def test_an_interrupted_run_goes_on(site):
    project = site({"P1": {}, "P2": {"total": "wait"}, "P3": {}})
    study, root = project.study("site"), project.root
    run = "import sys; from pathlib import Path; from analysis_lib.core.project import Project; "
    run += "from analysis_lib.ui.command_line import main; "
    run += (
        f"sys.exit(main(['masks', '--study', 'site', '--program', 'TotalSegmentator'], Project(Path({str(root)!r}))))"
    )
    environment = as_a_user() | {"PYTHONPATH": str(ROOT)}
    begun = subprocess.Popen([sys.executable, "-c", run], env=environment, start_new_session=True)
    while not list(study.data.glob("masks/.writing-*P2/total/iliopsoas_left.nii.gz")):
        assert begun.poll() is None
        time.sleep(0.05)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    assert [path.name for path in study.data.glob("masks/[!.]*")] == ["P1"]
    site({"P1": {}, "P2": {}, "P3": {}})
    before = len(runs(root))
    text, failed = segment_patients(study, "TotalSegmentator", quiet=True)
    assert "masks of 2 patients made, 1 were there, 0 failed" in text and not failed
    assert sorted(path.name for path in (study.data / "masks").iterdir()) == ["P1", "P2", "P3"]
    assert [line.split()[:2] for line in runs(root)[before:]] == [
        [task, name] for name in ("P2", "P3") for task in ("total", "tissue_types")
    ]


def test_the_segmenters_own_example_gives_its_psoas(site):
    example = conftest.SHARED / "totalsegmentator-example"
    if not example.is_dir():
        pytest.skip("TotalSegmentator's example not available beside the checkout")
    labels = example / "example_seg_fast_force_split.nii.gz"
    project = site({"P1": {}})
    study = project.study("site")
    ct = study.data / "ct" / "P1.nii.gz"
    shutil.copy(example / "example_ct.nii.gz", ct)
    write_classes(project.root / "classes", sitk.ReadImage(str(labels)), ct)
    assert segment_patients(study, "TotalSegmentator", quiet=True)[1] == 0
    measured = indices.measure(ct, study.data / "masks" / "P1", study.params.images)
    marked, hu = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (labels, ct))
    level = np.flatnonzero((marked == 29).any(axis=(1, 2)))
    middle = np.isin(marked[(level[0] + level[-1]) // 2], [88, 89])
    assert level[[0, -1]].tolist() == [65, 79] and len(measured["pm_slices"]) == 1
    assert measured["pm_area_cm2"] == pytest.approx(middle.sum() * 0.09, rel=1e-3)
    assert measured["pm_mean_hu"] == pytest.approx(hu[72][middle].mean(), abs=0.01)
