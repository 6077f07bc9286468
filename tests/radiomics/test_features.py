"""The feature stage: what is kept, what is recomputed, what a failing patient does to the others."""

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from analysis_lib.common.errors import ParameterError
from analysis_lib.radiomics.cluster import ClusterError
from analysis_lib.radiomics.features import (
    FeatureCountError,
    Task,
    feature_names,
    feature_table,
    region_folder,
)
from analysis_lib.radiomics.parameter_files import check_parameter_files
from analysis_lib.radiomics.workers import run_here

ROOT = Path(__file__).resolve().parents[2]
FILES = {"sm": ROOT / "params" / "features_sm.yaml", "pm": ROOT / "params" / "features_pm.yaml"}


def load(patient_id: str, folder: Path | None = None, calls: list | None = None):
    """A small patient made from its number; some are made to fail."""
    if calls is not None:
        calls.append(patient_id)
    if patient_id.startswith("unreadable"):
        raise FileNotFoundError("ct/unreadable: no DICOM files")
    if patient_id.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if patient_id.startswith("once") and folder is not None and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    rng = np.random.default_rng(int(patient_id[-1]))
    image = sitk.GetImageFromArray(rng.normal(40, 30, (6, 24, 24)).astype(np.int16))
    sm, pm = np.zeros((2, 6, 24, 24), np.uint8)
    sm[3, 4:12, 5:20] = 1
    pm[3, 14:20, 6:11] = 1
    if patient_id.startswith("empty"):
        pm[:] = 0
    return image, {"sm": sitk.GetImageFromArray(sm), "pm": sitk.GetImageFromArray(pm)}


def fingerprint(patient_id: str, changed: tuple[str, ...] = ()) -> str:
    return patient_id + ("*" if patient_id in changed else "")


def run(ids, folder, calls=None, changed=(), files=FILES, **options):
    return feature_table(
        ids,
        functools.partial(load, calls=calls),
        functools.partial(fingerprint, changed=changed),
        files,
        folder / "features",
        quiet=True,
        executor=run_here,
        **options,
    )


def kept_of(folder: Path, roi: str, patient_id: str) -> Path:
    return folder / "features" / region_folder(roi, FILES[roi].read_text()) / f"{patient_id}.json"


def test_table_and_failures(tmp_path: Path) -> None:
    table, failures = run(["P2", "unreadable1", "P1", "empty3"], tmp_path, expected_count=1343)
    assert table.index.tolist() == ["P1", "P2"]
    assert table.index.name == "patient_id"
    assert table.shape == (2, 1343)
    assert list(table.columns) == feature_names(FILES)
    assert table.columns[0] == "sm_original_shape_Elongation"
    assert np.isfinite(table.to_numpy()).all()
    assert failures.to_dict("records") == [
        {
            "patient_id": "empty3",
            "stage": "features",
            "reason": "PM: No labels found in this mask (i.e. nothing is segmented)!",
        },
        {
            "patient_id": "unreadable1",
            "stage": "features",
            "reason": "the features cannot be computed: ct/unreadable: no DICOM files",
        },
    ]


def test_only_what_changed_is_recomputed(tmp_path: Path) -> None:
    ids, calls = ["P1", "P2", "P3"], []
    first, _ = run(ids, tmp_path, calls)
    assert sorted(calls) == ids
    calls.clear()
    again, _ = run(ids, tmp_path, calls)
    assert calls == []
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    run(ids, tmp_path, calls, changed=("P2",))
    assert calls == ["P2"]
    calls.clear()
    other = tmp_path / "pm.yaml"
    other.write_text(FILES["pm"].read_text().replace("binWidth: 25", "binWidth: 10"))
    changed, _ = run(ids, tmp_path, calls, changed=("P2",), files={**FILES, "pm": other})
    assert calls == ids
    unchanged = [c for c in first if c.startswith("sm_")]
    pd.testing.assert_frame_equal(first[unchanged], changed[unchanged], check_exact=True)
    calls.clear()
    alone, _ = run(ids, tmp_path, calls, changed=("P2",), files={"sm": FILES["sm"]})  # a region less extracts nothing
    assert calls == []
    pd.testing.assert_frame_equal(first[unchanged], alone, check_exact=True)
    assert (changed["pm_original_firstorder_Entropy"] > first["pm_original_firstorder_Entropy"]).all()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', '{"key": "x", "features": {}}'])
def test_a_damaged_file_is_recomputed(content: str, tmp_path: Path) -> None:
    first, _ = run(["P1"], tmp_path)
    kept_of(tmp_path, "sm", "P1").write_text(content)
    calls = []
    again, failures = run(["P1"], tmp_path, calls)
    assert calls == ["P1"]
    assert failures.empty
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_a_value_that_was_changed_on_disk_is_recomputed(tmp_path: Path) -> None:
    first, _ = run(["P1"], tmp_path)
    path = kept_of(tmp_path, "sm", "P1")
    stored = json.loads(path.read_text())
    stored["features"][first.columns[0]] += 1e-9
    path.write_text(json.dumps(stored))
    again, _ = run(["P1"], tmp_path, calls := [])
    assert calls == ["P1"]
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_another_number_of_features_stops_before_any_work(tmp_path: Path) -> None:
    calls = []
    with pytest.raises(FeatureCountError, match=r"expected_count is 1300.*give 1343 \(sm_shape 14, .*pm_shape2D 9"):
        run(["P1"], tmp_path, calls, expected_count=1300)
    assert calls == []


def test_the_default_features_are_listed_and_missing_ones_are_named(tmp_path: Path) -> None:
    usual = (FILES["sm"].parent / "feature_names.txt").read_text().split()
    assert usual == feature_names(FILES, 1343)
    fewer = tmp_path / "features_pm.yaml"
    fewer.write_text(FILES["pm"].read_text().replace("  firstorder:\n", "  firstorder: [Mean, Energy]\n"))
    with pytest.raises(FeatureCountError, match=r"give 1327 .*\. 16 missing: pm_original_firstorder_10Perc") as error:
        feature_names(FILES | {"pm": fewer}, 1343, usual)
    named = str(error.value).split("16 missing: ")[1].split(", ")
    assert set(named) == set(feature_names({"pm": FILES["pm"]})) - set(feature_names({"pm": fewer}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  glszm:", "  glzsm:", "features_sm.yaml is not valid: .*glzsm.*did you mean 'glszm'"),
        ("binWidth", "binwidth", "Key 'binwidth' was not defined.*did you mean 'binWidth'"),
        ("  Wavelet:", "  Wavlet:", "Image Type Wavlet.*did you mean 'Wavelet'"),
        ("  glcm:", "  glcm: [Contrst]", "did you mean 'Contrast'"),
        ("sigma:", "sgima:", "did you mean 'sigma'"),
        ("label: 1", "label: one", "'one' is not of type 'int'.*; mend it"),
    ],
)
def test_a_misspelt_parameter_file_stops_with_a_suggestion(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "features_sm.yaml"
    path.write_text(FILES["sm"].read_text().replace(old, new))
    with pytest.raises(ParameterError, match=message):
        check_parameter_files({"sm": path}, 1316)


def test_a_parameter_file_that_is_not_there_stops_with_a_suggestion() -> None:
    with pytest.raises(ParameterError, match="no parameter file params/features_smm.yaml; did you mean 'features_sm.y"):
        check_parameter_files({"sm": FILES["sm"].with_name("features_smm.yaml")}, 1316)


def test_odd_patient_names_stay_inside_the_folder(tmp_path: Path) -> None:
    table, _ = run(["../a/b 1"], tmp_path)
    assert table.index.tolist() == ["../a/b 1"]
    kept = sorted(p.relative_to(tmp_path / "features") for p in (tmp_path / "features").rglob("*.json"))
    assert [(p.parts[0][:3], *p.parts[1:]) for p in kept] == [(roi, "..%2Fa%2Fb%201.json") for roi in ("pm-", "sm-")]


def test_workers_give_the_same_and_survive_a_death(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    ids = ["P1", "deadly2", "P3", "once4", "P5"]
    table, failures = feature_table(
        ids, functools.partial(load, folder=tmp_path), fingerprint, FILES, tmp_path / "features", workers=2
    )
    assert failures["patient_id"].tolist() == ["deadly2"]
    assert "died 2 times" in failures["reason"][0]
    here, _ = run(["P1", "P3", "once4", "P5"], tmp_path / "here")
    pd.testing.assert_frame_equal(table, here, check_exact=True)
    assert "1 failed" in capfd.readouterr().err


def test_a_killed_run_resumes(tmp_path: Path) -> None:
    script = (
        f"import sys, time; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests' / 'radiomics')!r}]\n"
        "import test_features as t; from pathlib import Path\n"
        "def slow(p):\n    if p == 'P2': time.sleep(60)\n    return t.load(p)\n"
        "t.feature_table(['P1', 'P2'], slow, t.fingerprint, t.FILES, Path(sys.argv[1]), quiet=True,\n"
        "                executor=t.run_here)\n"
    )
    folder = tmp_path / "features"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder)])
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("P1.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert all(json.loads(path.read_text())["features"] for path in folder.rglob("P1.json"))
    calls = []
    table, _ = run(["P1", "P2"], tmp_path, calls)
    assert calls == ["P2"]
    untouched, _ = run(["P1", "P2"], tmp_path / "untouched")
    pd.testing.assert_frame_equal(table, untouched, check_exact=True)
    for roi, name in itertools.product(FILES, ("P1", "P2")):
        assert kept_of(tmp_path, roi, name).read_bytes() == kept_of(tmp_path / "untouched", roi, name).read_bytes()
    assert sorted(p.name for p in folder.rglob("*.json")) == ["P1.json", "P1.json", "P2.json", "P2.json"]


def test_a_worker_of_another_environment_stops_the_run(tmp_path: Path) -> None:
    task = Task(load, fingerprint, FILES, tmp_path, code=("numpy=1.0",))
    with pytest.raises(ClusterError, match=r"has .*numpy=.*; start it from the environment of this run"):
        task("P1")
