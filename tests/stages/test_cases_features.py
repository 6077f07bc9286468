"""Extraction alone, of series and masks however they lie: the values are those of the stored voxels.

The truth is numpy on the arrays that were written, and PyRadiomics' own reading (SimpleITK) of the same files.
"""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import write_dicom_slice, write_seg
from mask_files import outlines, write_rtstruct, write_seg_dicom

from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.radiomics.workers import run_here
from analysis_lib.stages.cases import CaseError, extract_one, extract_table, load_case
from analysis_lib.ui.command_line import main

PARAMETERS = """
imageType: {Original: {}, Wavelet: {}}
featureClass: {firstorder: [Mean, Skewness, Energy], shape: [MeshVolume], glcm: [Contrast]}
setting: {binWidth: 25}
"""
# Rows and columns of a series in the patient (LPS): on the back, on the face, on either side, feet first, mirrored.
POSES = {
    "supine": ((1, 0, 0), (0, 1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "left side": ((0, 1, 0), (-1, 0, 0)),
    "right side": ((0, -1, 0), (1, 0, 0)),
    "mirrored": ((-1, 0, 0), (0, 1, 0)),
    "upside down": ((1, 0, 0), (0, -1, 0)),
}
RNG = np.random.default_rng(8)
STORED = RNG.integers(-120, 200, size=(6, 40, 50)).astype(np.int16)  # in the order of the slices along their normal
INSIDE = np.zeros(STORED.shape, bool)
INSIDE[2:4, 8:30, 5:41], INSIDE[3, 25:30, 5:20] = True, False


@pytest.fixture(params=POSES)
def series(request, tmp_path):
    """A DICOM series whose stored voxels are STORED, its own grid, and parameters."""
    along_row, along_column = (np.array(v, float) for v in POSES[request.param])
    normal = np.cross(along_row, along_column)
    origin = np.array([-20.0, -30.0, -100.0])
    for k, hu in enumerate(STORED):
        position = origin + normal * 5 * k
        write_dicom_slice(
            tmp_path / "ct" / f"IM{(7 * k) % 101:03d}.dcm", hu + 1024, position, number=k + 1,
            ImageOrientationPatient=[*along_row, *along_column],
        )  # fmt: skip
    (tmp_path / "p.yaml").write_text(PARAMETERS)
    direction = tuple(np.column_stack([along_row, along_column, normal]).ravel())
    return tmp_path, Geometry((50, 40, 6), tuple(origin), (0.7, 0.8, 5.0), direction)


def test_a_folder_is_read_as_simpleitk_reads_it(series):
    folder, grid = series
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nrrd"))
    image, mask = load_case({"Image": str(folder / "ct"), "Mask": str(folder / "m.nrrd")})
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "ct")))
    theirs = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(theirs))
    for of in ("GetOrigin", "GetSpacing", "GetDirection", "GetSize"):
        np.testing.assert_allclose(getattr(image, of)(), getattr(theirs, of)(), atol=1e-9)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), INSIDE)


def masks_of(folder, grid):
    """The same region in every form, with what the command needs to name it."""
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nrrd"))
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nii.gz"))
    turned = sitk.DICOMOrient(grid.image_of(INSIDE.astype(np.uint8)), "LPS")
    sitk.WriteImage(turned, str(folder / "turned.nrrd"))
    write_seg(folder / "m.seg.nrrd", {"SM": INSIDE}, grid)
    write_rtstruct(folder / "rs.dcm", {"SM": outlines(INSIDE, grid)})
    return {
        "m.nrrd": {}, "m.nii.gz": {"label": 1}, "turned.nrrd": {}, "m.seg.nrrd": {"segment": "SM"},
        "rs.dcm": {}, "rs.dcm by name": {"segment": "SM"},
    }  # fmt: skip


def test_every_form_of_a_region_gives_the_same_values(series):
    folder, grid = series
    found = {}
    for name, how in masks_of(folder, grid).items():
        found[name] = extract_one(folder / "ct", folder / name.split()[0], folder / "p.yaml", **how)
    first = found.pop("m.nrrd")
    assert first["original_firstorder_Mean"] == pytest.approx(STORED[INSIDE].mean(dtype=float), rel=1e-12)
    for name, values in found.items():
        assert values == first, name


@pytest.mark.parametrize("tolerance", [0.001, 1000])
def test_a_wide_tolerance_makes_no_other_numbers(series, tolerance):
    folder, grid = series
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nrrd"))
    (folder / "p.yaml").write_text(PARAMETERS.replace("binWidth", f"geometryTolerance: {tolerance}, binWidth"))
    values = extract_one(folder / "ct", folder / "m.nrrd", folder / "p.yaml")
    assert values["original_firstorder_Mean"] == pytest.approx(STORED[INSIDE].mean(dtype=float), rel=1e-12)


@pytest.mark.parametrize("pose", POSES)
def test_a_file_gives_the_same_by_segment_and_by_label(tmp_path, pose):
    along_row, along_column = (np.array(v, float) for v in POSES[pose])
    direction = tuple(np.column_stack([along_row, along_column, np.cross(along_row, along_column)]).ravel())
    grid = Geometry((50, 40, 6), (-20.0, -30.0, -100.0), (0.7, 0.8, 5.0), direction)
    sitk.WriteImage(grid.image_of(STORED), str(tmp_path / "image.nrrd"))
    write_seg(tmp_path / "m.seg.nrrd", {"SM": INSIDE}, grid)
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(tmp_path / "m.nrrd"))
    (tmp_path / "p.yaml").write_text(PARAMETERS)
    by_label = extract_one(tmp_path / "image.nrrd", tmp_path / "m.nrrd", tmp_path / "p.yaml", label=1)
    by_segment = extract_one(tmp_path / "image.nrrd", tmp_path / "m.seg.nrrd", tmp_path / "p.yaml", segment="SM")
    assert by_segment == by_label


@pytest.fixture
def pair(tmp_path):
    grid = Geometry((50, 40, 6), (-20.0, -30.0, -100.0), (0.7, 0.8, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    sitk.WriteImage(grid.image_of(STORED), str(tmp_path / "image.nrrd"))
    for k, hu in enumerate(STORED):
        write_dicom_slice(tmp_path / "ct" / f"{k}.dcm", hu + 1024, (-20.0, -30.0, -100.0 + 5 * k), number=k + 1)
    (tmp_path / "p.yaml").write_text("imageType: {Original: {}}\nfeatureClass: {firstorder: [Mean]}\n")
    return tmp_path, grid


MEAN = "original_firstorder_Mean"
OTHER = np.roll(INSIDE, 1, axis=0)


def test_a_mask_of_four_dimensions_is_named_by_channel(pair):
    folder, grid = pair
    both = sitk.JoinSeries([grid.image_of(m.astype(np.uint8)) for m in (INSIDE, OTHER)])
    sitk.WriteImage(both, str(folder / "m.nii.gz"))
    with pytest.raises(CaseError, match=r"four dimensions \(2 volumes\); name one in the column Label_channel"):
        extract_one(folder / "image.nrrd", folder / "m.nii.gz", folder / "p.yaml")
    (folder / "t.csv").write_text(
        "ID,Image,Mask,Label_channel\n0,image.nrrd,m.nii.gz,0\n1,image.nrrd,m.nii.gz,1\n2,image.nrrd,m.nii.gz,2\n"
        "3,image.nrrd,m.nii.gz,\n"
    )
    done, failed = extract_table(folder / "t.csv", folder / "p.yaml", folder / "o.csv", quiet=True, executor=run_here)
    expected = [STORED[m].mean(dtype=float) for m in (INSIDE, OTHER)]
    assert done[MEAN].tolist() == pytest.approx(expected, rel=1e-12)
    assert failed["reason"].str.contains("Label_channel").tolist() == [True, True]


@pytest.mark.parametrize("what", ["mask", "image"])
def test_a_fourth_dimension_of_one_is_none(pair, what):
    folder, grid = pair
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nrrd"))
    name = "m.nrrd" if what == "mask" else "image.nrrd"
    sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(folder / name))]), str(folder / "four.nii.gz"))
    given = {"mask": ("image.nrrd", "four.nii.gz"), "image": ("four.nii.gz", "m.nrrd")}[what]
    values = extract_one(folder / given[0], folder / given[1], folder / "p.yaml")
    assert values[MEAN] == pytest.approx(STORED[INSIDE].mean(dtype=float), rel=1e-12)


def test_label_0_is_no_region(pair):
    folder, grid = pair
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nrrd"))
    with pytest.raises(CaseError, match="label 0 is the background"):
        extract_one(folder / "image.nrrd", folder / "m.nrrd", folder / "p.yaml", label=0)


@pytest.mark.parametrize("kind", ["rtstruct", "seg", "seg in a folder"])
@pytest.mark.parametrize("image", ["ct", "image.nrrd"])
def test_the_only_region_of_a_dicom_mask_needs_no_name(pair, kind, image):
    folder, grid = pair
    path = folder / ("masks/m.dcm" if kind.endswith("folder") else "m.dcm")
    path.parent.mkdir(exist_ok=True)
    if kind == "rtstruct":
        write_rtstruct(path, {"GTV_Mass_CT": outlines(INSIDE, grid), "empty": []})
    else:
        write_seg_dicom(path, folder / "ct", {"GTV_Mass_CT": INSIDE})
    values = extract_one(folder / image, path.parent if kind.endswith("folder") else path, folder / "p.yaml")
    assert values[MEAN] == pytest.approx(STORED[INSIDE].mean(dtype=float), rel=1e-12)


def test_several_regions_are_listed_at_the_terminal_and_counted_elsewhere(pair, capsys):
    folder, grid = pair
    write_rtstruct(folder / "m.dcm", {"Zwetschgenberger": outlines(INSIDE, grid), "Liver": outlines(OTHER, grid)})
    command = ["features", "--image", str(folder / "ct"), "--mask", str(folder / "m.dcm"), "--params"]
    assert main([*command, str(folder / "p.yaml")]) == 2
    out, error = capsys.readouterr()
    assert "2 segments: 'Zwetschgenberger', 'Liver'; name one with --segment" in error and len(error.splitlines()) == 1
    assert main([*command, str(folder / "p.yaml"), "--segment", "Zwetschgenberg"]) == 2
    assert "did you mean 'Zwetschgenberger'?" in capsys.readouterr().err
    (folder / "t.csv").write_text("ID,Image,Mask,Segment\n1,ct,m.dcm,\n2,ct,m.dcm,Zwetschgenber\n3,ct,m.dcm,liver\n")
    done, failed = extract_table(folder / "t.csv", folder / "p.yaml", folder / "o.csv", quiet=True, executor=run_here)
    assert len(done) == 1 and len(failed) == 2
    reasons = " ".join(failed["reason"])
    assert "Zwetschgenberger" not in reasons and "1 not shown" in reasons
    assert "Zwetschgenberger" not in (folder / "o.failures.csv").read_text()


def test_of_two_phases_the_folder_gives_the_one_that_the_mask_has(pair):
    folder, grid = pair
    longer = np.concatenate([STORED[:1], STORED + 30, STORED[-1:] + 30])
    for k, hu in enumerate(longer):
        write_dicom_slice(
            folder / "ct" / "venous" / f"{k}.dcm", hu + 1024, (-20.0, -30.0, -105.0 + 5 * k), number=k + 1,
            SeriesInstanceUID="1.9",
        )  # fmt: skip
    sitk.WriteImage(grid.image_of(INSIDE.astype(np.uint8)), str(folder / "m.nrrd"))
    values = extract_one(folder / "ct", folder / "m.nrrd", folder / "p.yaml")
    assert values[MEAN] == pytest.approx(STORED[INSIDE].mean(dtype=float), rel=1e-12)
    part = Geometry((50, 40, 3), (-20.0, -30.0, -95.0), grid.spacing, grid.direction)
    sitk.WriteImage(part.image_of(INSIDE[1:4].astype(np.uint8)), str(folder / "m.nrrd"))
    with pytest.raises(ImageError, match="2 CT series of 6 and 8 slices lie on one grid"):
        extract_one(folder / "ct", folder / "m.nrrd", folder / "p.yaml")
    assert pydicom.dcmread(folder / "ct" / "0.dcm").SeriesInstanceUID == "1.2.3.4"
