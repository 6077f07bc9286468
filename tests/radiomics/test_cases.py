"""Extraction without a study: the table and the one pair, by the library and by the command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series

from analysis_lib.ct.geometry import ImageError
from analysis_lib.radiomics.plan import expected_names
from analysis_lib.radiomics.workers import run_here
from analysis_lib.stages.cases import CaseError, extract_one, extract_table
from analysis_lib.ui.command_line import main

PARAMETERS = """
imageType: {Original: {}, Wavelet: {}, LoG: {sigma: [2.0]}}
featureClass: {shape: , firstorder: , glcm: , gldm: }
setting: {binWidth: 25, label: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images; the mask of each has label 2, and 5 in a corner; and a parameter file."""
    for seed, name in enumerate(("a", "b")):
        rng = np.random.default_rng(seed)
        image = sitk.GetImageFromArray(rng.normal(40, 30, (6, 30, 32)).astype(np.int16))
        mask = np.zeros((6, 30, 32), np.uint8)
        mask[3, 4:14, 5:24] = 2
        mask[3, 20:28, 6:14] = 5
        labels = sitk.GetImageFromArray(mask)
        for one, kind in ((image, "ct"), (labels, "mask")):
            one.SetSpacing((0.7, 0.9, 5.0))
            sitk.WriteImage(one, str(tmp_path / f"{name}-{kind}.nrrd"))
    (tmp_path / "p.yaml").write_text(PARAMETERS)
    return tmp_path


def table(folder: Path, *rows: str, head: str = "ID,Image,Mask,Label,Site") -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


ROWS = ("1,a-ct.nrrd,a-mask.nrrd,2,north", "1,a-ct.nrrd,a-mask.nrrd,5,north", "2,b-ct.nrrd,b-mask.nrrd,2,south")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_same_columns_and_values_as_pyradiomics_batch(folder: Path) -> None:
    cases = table(folder, *ROWS)
    done, failures = extract_table(cases, folder / "p.yaml", folder / "ours.csv", quiet=True, executor=run_here)
    assert failures.empty
    assert not (folder / "ours.failures.csv").exists()
    command = [sys.executable, "-W", "ignore", "-c", "from radiomics.scripts import parse_args; parse_args()"]
    command += [str(cases), "--param", str(folder / "p.yaml"), "--out", str(folder / "theirs.csv"), "--format", "csv"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    theirs = pd.read_csv(folder / "theirs.csv").filter(regex="^(?!diagnostics_)")
    ours = pd.read_csv(folder / "ours.csv")
    assert sorted(ours.columns) == sorted(theirs.columns)  # its command sorts them by name, its library by class
    pd.testing.assert_frame_equal(ours, theirs[ours.columns], rtol=1e-6, atol=1e-9)
    parquet, _ = extract_table(cases, folder / "p.yaml", folder / "ours.parquet", quiet=True, executor=run_here)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "ours.parquet"), done)
    pd.testing.assert_frame_equal(parquet, done)


def test_what_fails_is_listed_and_the_rest_goes_on(folder: Path, capsys: pytest.CaptureFixture) -> None:
    cases = table(
        folder,
        ROWS[2],
        "3,missing.nrrd,a-mask.nrrd,,x",
        "4,a-ct.nrrd,a-mask.nrrd,7,x",
        "5,p.yaml,a-mask.nrrd,,x",
        "6,a-ct.nrrd,,,x",
        "7,a-ct.nrrd,a-mask.nrrd,two,x",
        "8,a-ct.nrrd,a-mask.nrrd,2.5,x",
    )
    out = folder / "out.csv"
    command = ["features", "--table", str(cases), "--params", str(folder / "p.yaml"), "--out", str(out), "--quiet"]
    assert main([*command, "--workers", "1"]) == 1
    assert pd.read_csv(out)["ID"].tolist() == [2]
    failures = pd.read_csv(folder / "out.failures.csv", dtype=str).set_index("ID")["reason"]
    assert failures.index.tolist() == ["3", "4", "5", "6", "7", "8"]
    assert "missing.nrrd does not exist" in failures["3"]
    assert failures["4"] == "no voxel of the mask has label 7; it holds 0, 2, 5"
    assert "cannot be read as an image" in failures["5"]
    assert failures["6"] == "Mask (empty) does not exist"
    assert failures["7"] == "Label 'two' is no whole number; write one"
    assert failures["8"] == "Label '2.5' is no whole number; write one"
    assert "failed: 4: no voxel" in capsys.readouterr().err
    table(folder, *ROWS)
    assert main([*command, "--workers", "1"]) == 0
    assert not (folder / "out.failures.csv").exists()


def test_only_the_changed_case_is_computed_again(folder: Path) -> None:
    cases, out = table(folder, *ROWS), folder / "o.csv"
    extract_table(cases, folder / "p.yaml", out, quiet=True, executor=run_here)
    first, times = out.read_bytes(), {p.name: p.stat().st_mtime_ns for p in (folder / "o.cases").rglob("*.json")}
    mask = sitk.ReadImage(str(folder / "b-mask.nrrd"))
    mask[10, 10, 3] = 0
    sitk.WriteImage(mask, str(folder / "b-mask.nrrd"))
    extract_table(cases, folder / "p.yaml", out, quiet=True, executor=run_here)
    assert out.read_bytes() != first
    changed = [p.name for p in (folder / "o.cases").rglob("*.json") if p.stat().st_mtime_ns != times[p.name]]
    assert len(changed) == 1
    assert changed[0].startswith("2-")


def test_channel_and_label_of_the_parameter_file(folder: Path) -> None:
    """A mask of several channels: the table's Label_channel, else the parameter file's, as in PyRadiomics."""
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "a-mask.nrrd")))
    both = sitk.GetImageFromArray(np.stack([mask, 2 * (mask == 5)], axis=-1).astype(np.uint8), isVector=True)
    both.CopyInformation(sitk.ReadImage(str(folder / "a-mask.nrrd")))
    sitk.WriteImage(both, str(folder / "both.nrrd"))
    (folder / "p.yaml").write_text("featureClass: {shape: [VoxelVolume]}\nsetting: {label: 2, label_channel: 1}\n")
    done, _ = extract_table(
        table(folder, "1,a-ct.nrrd,both.nrrd,", "2,a-ct.nrrd,both.nrrd,0", head="ID,Image,Mask,Label_channel"),
        folder / "p.yaml",
        folder / "o.csv",
        quiet=True,
        executor=run_here,
    )
    assert done["original_shape_VoxelVolume"].tolist() == pytest.approx([64 * 3.15, 190 * 3.15])


def test_bad_tables_and_names_are_refused(folder: Path, capsys: pytest.CaptureFixture) -> None:
    parameters = folder / "p.yaml"
    with pytest.raises(CaseError, match="has no column Mask; it has ID, Image"):
        extract_table(table(folder, "1,a-ct.nrrd", head="ID,Image"), parameters, folder / "o.csv")
    with pytest.raises(CaseError, match="has no rows"):
        extract_table(table(folder), parameters, folder / "o.csv")
    with pytest.raises(CaseError, match=r"ends in .csv or .parquet"):
        extract_table(table(folder, *ROWS), parameters, folder / "o.xlsx")
    (folder / "bad.yaml").write_text("imageType: {Origin: {}}\n")
    with pytest.raises(CaseError, match="is not valid: .*Origin"):
        extract_table(table(folder, *ROWS), folder / "bad.yaml", folder / "o.csv")
    common = ["features", "--params", str(folder / "nowhere.yaml")]
    assert main([*common, "--table", str(table(folder, *ROWS)), "--out", str(folder / "o.csv")]) == 2
    assert "nowhere.yaml does not exist" in capsys.readouterr().err


def test_one_pair_on_the_command_line(folder: Path, capsys: pytest.CaptureFixture) -> None:
    pair = ["--image", str(folder / "a-ct.nrrd"), "--mask", str(folder / "a-mask.nrrd")]
    command = ["features", *pair, "--params", str(folder / "p.yaml")]
    assert main([*command, "--label", "5", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert list(values) == expected_names(folder / "p.yaml")
    assert values["original_shape_VoxelVolume"] == pytest.approx(64 * 0.7 * 0.9 * 5)
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(values)
    assert float(lines[list(values).index("original_shape_VoxelVolume")].split(": ")[1]) == pytest.approx(190 * 3.15)
    assert main([*command, "--label", "9"]) == 2
    assert capsys.readouterr().err == "error: no voxel of the mask has label 9; it holds 0, 2, 5\n"


def test_a_region_that_pyradiomics_refuses_is_an_error_and_no_traceback(folder: Path, capsys) -> None:
    image = sitk.ReadImage(str(folder / "a-ct.nrrd"))
    mask = np.zeros((6, 30, 32), np.uint8)
    mask[3, 4, 5] = 2
    mask[3, 20, 25:28] = 3
    label = sitk.GetImageFromArray(mask)
    label.CopyInformation(image)
    sitk.WriteImage(label, str(folder / "dot.nrrd"))
    label.SetOrigin((500.0, 0.0, 0.0))
    sitk.WriteImage(label, str(folder / "elsewhere.nrrd"))
    (folder / "p.yaml").write_text(PARAMETERS + "  minimumROISize: 10\n")
    for name, region in (("dot", 2), ("dot", 3), ("elsewhere", 2)):
        pair = ["--image", str(folder / "a-ct.nrrd"), "--mask", str(folder / f"{name}.nrrd"), "--label", str(region)]
        assert main(["features", *pair, "--params", str(folder / "p.yaml")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "Traceback" not in error and error.count("\n") == 1, error


@pytest.mark.parametrize("suffix", ["mhd", "nhdr"])
def test_voxels_in_a_file_of_their_own_count(folder: Path, suffix: str) -> None:
    for name in ("a-ct", "a-mask"):
        sitk.WriteImage(sitk.ReadImage(str(folder / f"{name}.nrrd")), str(folder / f"{name}.{suffix}"))
    cases = table(folder, f"1,a-ct.{suffix},a-mask.{suffix},2,north")
    before, _ = extract_table(cases, folder / "p.yaml", folder / "o.csv", quiet=True, executor=run_here)
    header = (folder / f"a-ct.{suffix}").read_bytes()
    sitk.WriteImage(sitk.ReadImage(str(folder / "b-ct.nrrd")), str(folder / f"a-ct.{suffix}"))
    assert (folder / f"a-ct.{suffix}").read_bytes() == header  # other voxels alone
    after, _ = extract_table(cases, folder / "p.yaml", folder / "o.csv", quiet=True, executor=run_here)
    mean = "original_firstorder_Mean"
    assert after[mean].iloc[0] != before[mean].iloc[0]


def test_a_dicom_folder_and_a_named_segment(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    hounsfield = rng.integers(-120, 200, size=(6, 40, 50)).astype(np.int16)
    mask = np.zeros((6, 40, 50), bool)
    mask[3, 10:30, 8:40] = True
    geometry = write_series(tmp_path / "ct", hounsfield)
    write_seg(tmp_path / "m.seg.nrrd", {"PM": ~mask, "SM": mask}, geometry)
    (tmp_path / "p.yaml").write_text("featureClass: {firstorder: }\nimageType: {Original: {}}\n")
    values = extract_one(tmp_path / "ct", tmp_path / "m.seg.nrrd", tmp_path / "p.yaml", segment="SM")
    assert values["original_firstorder_Mean"] == pytest.approx(hounsfield[mask].mean())
    with pytest.raises(ImageError, match="no segment named psoas; the mask has 2 segments .'PM', 'SM'"):
        extract_one(tmp_path / "ct", tmp_path / "m.seg.nrrd", tmp_path / "p.yaml", segment="psoas")


@pytest.mark.slow
def test_two_runs_at_once_do_not_harm_each_other(folder: Path) -> None:
    """Two processes on the same cases and the same kept results; both tables are whole and equal."""
    cases = table(folder, *ROWS)
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "analysis_lib", "features", "--table", str(cases), "--workers", "1", "--quiet"]
    command += ["--params", str(folder / "p.yaml"), "--out", str(folder / "both.csv")]
    running = [
        subprocess.Popen(command, cwd=root, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in running:
        assert process.communicate()[1] == b""
        assert process.returncode == 0
    extract_table(cases, folder / "p.yaml", folder / "alone.csv", quiet=True, executor=run_here)
    assert (folder / "both.csv").read_bytes() == (folder / "alone.csv").read_bytes()
    kept = {p.name: p.read_bytes() for p in (folder / "both.cases").rglob("*.json")}
    assert kept == {p.name: p.read_bytes() for p in (folder / "alone.cases").rglob("*.json")}
    with (folder / "both.csv").open() as stream:
        assert sum(1 for _ in csv.reader(stream)) == 4
