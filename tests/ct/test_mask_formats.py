"""The same mask in every format gives the same pixels, and the numbers of the real data."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import REMEDY, SHARED, write_seg
from ct_files import change, change_all
from mask_files import outlines, write_rtstruct, write_seg_dicom

from analysis_lib.core.parameters import load_params
from analysis_lib.ct import masks
from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.indices import load_images, measure, open_patient
from analysis_lib.ct.label_table import read_label_table
from analysis_lib.ct.mask_rtstruct import ContourSegment
from analysis_lib.ct.settings import SegmentParams

IMAGES = load_params("defaults").images
SM, PM = IMAGES.sm, IMAGES.pm


def label_map(path, geometry, *parts):
    """Label map with label k + 1 for the k-th mask (z, y, x)."""
    array = np.zeros(parts[0].shape, np.uint8)
    for label, part in enumerate(parts, start=1):
        array[part] = label
    sitk.WriteImage(geometry.image_of(array), str(path))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
def test_label_map_with_a_table_beside_it(patient, tmp_path, suffix):
    ct, _, _, sm, pm, geometry = patient
    label_map(tmp_path / f"m{suffix}", geometry, sm & ~pm, pm)
    (tmp_path / "m.csv").write_text("label,name\n1,muscle without psoas\n2,Psoas\n")
    settings = SM.model_copy(update={"parts": [["muscle without psoas", "psoas"]]})
    images = IMAGES.model_copy(update={"sm": settings})
    opened = open_patient(ct, tmp_path / f"m{suffix}", images)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


def test_the_folder_of_nnunet_as_it_comes(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    folder = tmp_path / "predicted"
    folder.mkdir()
    label_map(folder / "case_001.nii.gz", geometry, sm & ~pm, pm)
    labels = {"background": 0, "wall": 1, "PM": 2}
    (folder / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 9}))
    (folder / "plans.json").write_text("{}")
    images = IMAGES.model_copy(update={"sm": SM.model_copy(update={"parts": [["wall", "PM"]]})})
    opened = open_patient(ct, folder, images)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
def test_names_of_mask_files_need_not_be_utf8(patient, tmp_path, suffix):
    ct, _, _, sm, pm, geometry = patient
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    for name, mask in (("SM", sm), ("PM", pm)):
        label_map(tmp_path / f"{name}{suffix}", geometry, mask)
        (tmp_path / f"{name}{suffix}").rename(folder / f"{name}{suffix}")
    label_map(tmp_path / f"other{suffix}", geometry, sm)
    (tmp_path / f"other{suffix}").rename(folder / os.fsdecode(b"M\xfcller" + suffix.encode()))
    opened = open_patient(ct, folder, IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


def test_label_numbers_without_a_table(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    label_map(tmp_path / "m.nii.gz", geometry, sm & ~pm, pm)
    images = IMAGES.model_copy(
        update={"sm": SM.model_copy(update={"labels": [1, 2]}), "pm": PM.model_copy(update={"labels": [2]})}
    )
    opened = open_patient(ct, tmp_path / "m.nii.gz", images)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


def test_a_segmenters_folder_with_structures_that_it_did_not_find(patient, tmp_path):
    """TotalSegmentator writes a file for each of a hundred classes, empty where there is none."""
    ct, _, _, sm, pm, geometry = patient
    (tmp_path / "m").mkdir()
    label_map(tmp_path / "m" / "skeletal_muscle.nii.gz", geometry, sm)
    for side, half in (("left", np.arange(50) < 18), ("right", np.arange(50) >= 18)):
        label_map(tmp_path / "m" / f"psoas_major_{side}.nii.gz", geometry, pm & half)
    label_map(tmp_path / "m" / "brain.nii.gz", geometry, sm & False)
    (tmp_path / "m" / "skull.nii.gz").write_bytes((tmp_path / "m" / "brain.nii.gz").read_bytes()[:-20])  # not read
    opened = open_patient(ct, tmp_path / "m", IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)
    (tmp_path / "m" / "skull.nii.gz").unlink()
    (tmp_path / "m" / "psoas_major_left.nii.gz").rename(tmp_path / "m" / "muscle_of_the_left.nii.gz")
    assert "pm" not in open_patient(ct, tmp_path / "m", IMAGES).masks
    label_map(tmp_path / "m" / "skeletal_muscle.nii.gz", geometry, sm & False)
    with pytest.raises(ImageError, match="'skeletal_muscle' is empty; draw it"):
        open_patient(ct, tmp_path / "m", IMAGES)


def test_folder_with_one_file_a_segment(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    (tmp_path / "m").mkdir()
    label_map(tmp_path / "m" / "sm.nrrd", geometry, sm)
    label_map(tmp_path / "m" / "psoas_left.nii.gz", geometry, pm & (np.arange(50) < 18))
    label_map(tmp_path / "m" / "psoas_right.nii.gz", geometry, pm & (np.arange(50) >= 18))
    opened = open_patient(ct, tmp_path / "m", IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_dicom_seg(patient, tmp_path, kind):
    ct, _, _, sm, pm, _ = patient
    write_seg_dicom(tmp_path / "m.dcm", ct, {"PM": pm, "SM": sm}, kind)
    opened = open_patient(ct, tmp_path / "m.dcm", IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.ctbl", "# Slicer\n0 Background 0 0 0 0\n1 SM 255 0 0 255\n2 psoas muscle 0 255 0 255\n"),
        ("t.txt", '# ITK-SnAP\n 0  0  0  0  0  0  0  "Clear"\n 1  255  0  0  1  1  1  "SM"\n'
                  ' 2  0  255  0  1  1  1  "psoas muscle"\n'),
        ("t.csv", "name,label\nSM,1\npsoas muscle,2\n"),
        ("t.csv", "\ufefflabel;name\n1;SM\n2;psoas muscle\n"),
        ("t.tsv", "1\tSM\n2\tpsoas muscle\n"),
        ("t.json", '{"1": "SM", "2": "psoas muscle"}'),
        ("t.json", '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "SM": 1, "psoas muscle": 2}}'),
    ],
)  # fmt: skip
def test_label_tables_of_the_usual_tools(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = read_label_table(tmp_path / name)
    assert {k: v for k, v in table.items() if k} == {1: "SM", 2: "psoas muscle"}


# ---- RTSTRUCT: closed forms, brute force, round trip -----------------------------------------------------

GRID = Geometry((60, 50, 4), (-20.0, -15.0, -30.0), (0.7, 0.9, 5.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def circle(centre, radius_mm, k, n=720):
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    z = GRID.origin[2] + 5.0 * k
    return np.column_stack(
        [centre[0] + radius_mm * np.cos(angle), centre[1] + radius_mm * np.sin(angle), 0 * angle + z]
    )


def region(*contours, kind="CLOSED_PLANAR"):
    return ContourSegment("SM", tuple(contours), (kind,) * len(contours))


def centres():
    y, x = np.mgrid[:50, :60]
    return GRID.origin[0] + 0.7 * x, GRID.origin[1] + 0.9 * y


def test_circle_holds_the_pixels_whose_centres_lie_in_it():
    mask = region(circle((1.3, 6.1), 11.0, 2)).on_grid(GRID)
    x, y = centres()
    np.testing.assert_array_equal(mask[2], (x - 1.3) ** 2 + (y - 6.1) ** 2 < 11.0**2)
    assert not mask[[0, 1, 3]].any()
    assert mask.sum() * GRID.pixel_area_cm2 == pytest.approx(np.pi * 1.1**2, rel=0.02)


def test_ring_as_hole_or_keyhole_is_the_same():
    outer, inner = circle((0, 6), 12.0, 1), circle((0, 6), 5.0, 1)[::-1]
    as_hole = region(outer, inner).on_grid(GRID)
    keyhole = np.vstack([outer, outer[:1], inner, inner[:1]])
    np.testing.assert_array_equal(as_hole, region(keyhole).on_grid(GRID))
    x, y = centres()
    radius = np.hypot(x, y - 6)
    np.testing.assert_array_equal(as_hole[1], (radius < 12) & (radius >= 5))


def test_any_polygon_equals_brute_force():
    rng = np.random.default_rng(11)
    for _ in range(20):
        corners = np.column_stack([rng.uniform(-18, 20, 9), rng.uniform(-14, 28, 9), np.full(9, GRID.origin[2])])
        x, y = centres()
        inside = np.zeros(x.shape, bool)
        for (x1, y1, _), (x2, y2, _) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        np.testing.assert_array_equal(region(corners).on_grid(GRID)[0], inside)


def test_two_islands_and_a_doubled_contour():
    first, second = circle((-8, 5), 5.0, 3), circle((8, 5), 5.0, 3)
    mask = region(first, second, first).on_grid(GRID)
    np.testing.assert_array_equal(mask, region(first).on_grid(GRID) | region(second).on_grid(GRID))


@pytest.mark.parametrize(
    ("contours", "kind", "reason"),
    [
        ([circle((0, 5), 8.0, 1)], "OPEN_PLANAR", "open contours"),
        ([circle((0, 5), 8.0, 1)[:1]], "POINT", "open contours or points"),
        ([circle((0, 5), 8.0, 1) + [0, 0, 1.2]], "CLOSED_PLANAR", "1.2 mm off the nearest CT slice"),
        (
            [circle((0, 5), 8.0, 1) * [1, 1, 1] + np.linspace(0, 6, 720)[:, None] * [0, 0, 1]],
            "CLOSED_PLANAR",
            "oblique",
        ),
        ([circle((0, 5), 8.0, 9)], "CLOSED_PLANAR", "outside the CT"),
        ([circle((-4, 5), 8.0, 1), circle((4, 5), 8.0, 1)], "CLOSED_PLANAR", "cross on one slice"),
    ],
)
def test_contours_that_cannot_be_filled_are_refused(contours, kind, reason):
    with pytest.raises(ImageError, match=reason):
        region(*contours, kind=kind).on_grid(GRID)


def test_rtstruct_round_trip(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    write_rtstruct(tmp_path / "m.dcm", {"SM": outlines(sm, geometry), "PM": outlines(pm, geometry)})
    opened = open_patient(ct, tmp_path / "m.dcm", IMAGES)
    np.testing.assert_array_equal(opened.masks["sm"], sm)
    np.testing.assert_array_equal(opened.masks["pm"], pm)


def test_a_mask_as_a_pacs_exports_it(patient, tmp_path):
    """In nested folders, without a suffix, with an index beside it."""
    ct, _, _, sm, _, geometry = patient
    folder = tmp_path / "m" / "DICOM" / "S0001"
    folder.mkdir(parents=True)
    write_rtstruct(folder / "I0001", {"SM": outlines(sm, geometry)})
    (tmp_path / "m" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    np.testing.assert_array_equal(open_patient(ct, tmp_path / "m", IMAGES).masks["sm"], sm)


def test_left_and_right_regions_of_a_structure_set_make_the_muscle(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    left, right = pm.copy(), pm.copy()
    left[:, :, 18:], right[:, :, :18] = False, False
    regions = {"SM": sm, "Psoas_Left": left, "psoas right": right}
    write_rtstruct(tmp_path / "m.dcm", {name: outlines(mask, geometry) for name, mask in regions.items()})
    opened = open_patient(ct, tmp_path / "m.dcm", IMAGES)
    np.testing.assert_array_equal(opened.masks["pm"], pm)
    write_rtstruct(
        tmp_path / "m.dcm", {"SM": outlines(sm, geometry), "psoas left": outlines(left, geometry), "psoas right": []}
    )
    with pytest.raises(ImageError, match="'psoas right' is empty; draw it"):
        open_patient(ct, tmp_path / "m.dcm", IMAGES)


def test_the_series_that_the_mask_refers_to_is_taken(patient, tmp_path):
    """Of a thick and a thin series over the same body, by DICOM SEG and RTSTRUCT; others go by the most slices."""
    from conftest import write_series

    ct, _, hounsfield, sm, _, geometry = patient
    frame = {"FrameOfReferenceUID": "1.2.3.9"}
    for file in ct.iterdir():
        change(file, **frame)
    write_seg_dicom(tmp_path / "m.seg.dcm", ct, {"SM": sm})
    thin = write_series(
        ct / "thin", np.repeat(hounsfield, 5, axis=0), (-20.0, -30.0, -102.0), 1.0, SeriesInstanceUID="1.1", **frame
    )
    assert thin.size[2] == 30
    write_rtstruct(tmp_path / "m.dcm", {"SM": outlines(sm, geometry)}, frame="1.2.3.9")
    assert measure(ct, tmp_path / "m.dcm", IMAGES)["n_slices"] == 30
    write_rtstruct(tmp_path / "m.dcm", {"SM": outlines(sm, geometry)}, frame="1.2.3.9", series="1.2.3.4")
    for name in ("m.dcm", "m.seg.dcm"):
        assert measure(ct, tmp_path / name, IMAGES)["n_slices"] == 6
    assert measure(ct, tmp_path / "m.dcm", IMAGES, series_uid="1.1")["n_slices"] == 30  # the table comes first
    next(ct.glob("*.dcm")).unlink()
    with pytest.raises(ImageError, match="slice is missing|no CT series contains"):
        measure(ct, tmp_path / "m.dcm", IMAGES)  # never another in its place


def test_rtstruct_of_another_frame_of_reference_is_refused(tmp_path):
    from conftest import write_series

    geometry = write_series(
        tmp_path / "ct", np.random.default_rng(0).integers(0, 99, (4, 30, 30)), FrameOfReferenceUID="1.2"
    )
    mask = np.zeros((4, 30, 30), bool)
    mask[1, 5:20, 5:20] = True
    write_rtstruct(tmp_path / "m.dcm", {"SM": outlines(mask, geometry)}, frame="1.2")
    assert open_patient(tmp_path / "ct", tmp_path / "m.dcm", IMAGES).masks["sm"].sum() == 225
    write_rtstruct(tmp_path / "m.dcm", {"SM": outlines(mask, geometry)}, frame="1.9")
    with pytest.raises(ImageError, match="another frame of reference"):
        open_patient(tmp_path / "ct", tmp_path / "m.dcm", IMAGES)
    write_seg_dicom(tmp_path / "m.dcm", tmp_path / "ct", {"SM": mask})
    assert open_patient(tmp_path / "ct", tmp_path / "m.dcm", IMAGES).masks["sm"].sum() == 225
    change_all(tmp_path / "ct", FrameOfReferenceUID="1.9")  # another patient of the same scanner
    with pytest.raises(ImageError, match="another frame of reference"):
        open_patient(tmp_path / "ct", tmp_path / "m.dcm", IMAGES)


# ---- which slice counts ------------------------------------------------------------------------------------


@pytest.fixture
def three_slices(patient, tmp_path):
    ct, _, hounsfield, sm, pm, geometry = patient
    for mask in (sm, pm):
        mask[2], mask[4] = mask[3], mask[3]
    sm[4, 10, :] = False
    vertebra = np.zeros_like(sm)
    vertebra[2:6, 30:34, 20:30] = True
    write_seg(tmp_path / "three.seg.nrrd", {"SM": sm, "PM": pm, "vertebrae_L3": vertebra}, geometry)
    return ct, tmp_path / "three.seg.nrrd", sm


def test_sides_and_slices_that_do_not_fit_are_noted(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    write_seg(tmp_path / "m.seg.nrrd", {"SM": sm, "psoas left": pm}, geometry)
    assert measure(ct, tmp_path / "m.seg.nrrd", IMAGES)["ct_notes"] == (
        "no PM segment, only psoas left without its other side"
    )
    write_seg(tmp_path / "m.seg.nrrd", {"SM": sm, "PM": np.roll(pm, 1, axis=0)}, geometry)
    assert measure(ct, tmp_path / "m.seg.nrrd", IMAGES)["ct_notes"] == (
        "SM and PM are drawn on different slices (SM 3; PM 4; 0 = most caudal)"
    )


@pytest.mark.parametrize(
    ("rule", "where", "slices"),
    [
        ("all", {}, [2, 3, 4]),
        ("middle", {}, [3]),
        ("vertebra", {}, [3]),
        ("z_mm", {"l3_z_mm": -81.0}, [4]),
    ],
)
def test_slices_that_count(three_slices, rule, where, slices):
    ct, mask, sm = three_slices
    images = IMAGES.model_copy(update={"l3_slice": rule})
    row = measure(ct, mask, images, **where)
    assert row["sm_slices"] == row["pm_slices"] == slices
    assert row["ct_notes"] == ""
    other = measure(ct, mask, images, l3_sop_uid="1.2", **where)["ct_notes"]
    assert (
        other
        == f"l3_sop_instance_uid of the table is not used, since images.l3_slice is {rule} and not sop_instance_uid"
    )
    _, on_ct = load_images(ct, mask, images, **where)
    kept = sitk.GetArrayFromImage(on_ct["sm"]).astype(bool)
    np.testing.assert_array_equal(np.flatnonzero(kept.any(axis=(1, 2))), slices)
    np.testing.assert_array_equal(kept[slices], sm[slices])


def test_middle_of_an_even_number_of_slices_is_the_lower_one(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    for mask in (sm, pm):
        mask[2] = mask[3]
    write_seg(tmp_path / "two.seg.nrrd", {"SM": sm, "PM": pm}, geometry)
    row = measure(ct, tmp_path / "two.seg.nrrd", IMAGES.model_copy(update={"l3_slice": "middle"}))
    assert row["sm_slices"] == row["pm_slices"] == [2]


def test_slice_by_sop_instance_uid(three_slices):
    ct, mask, _ = three_slices
    images = IMAGES.model_copy(update={"l3_slice": "sop_instance_uid"})
    uid = read_ct(ct).sop_uids[2]
    assert measure(ct, mask, images, l3_sop_uid=uid)["sm_slices"] == [2]
    with pytest.raises(ImageError, match="names no slice"):
        measure(ct, mask, images, l3_sop_uid="1.2.3.4.5")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({}, "l3_z_mm is missing"),
        ({"l3_z_mm": 400.0}, "outside the CT"),
        ({"l3_z_mm": -100.0}, "does not reach slice 0"),
        ({"l3_z_mm": -72.6}, "does not reach slice 5"),  # half a slice of 5 mm from the last
        ({"l3_z_mm": -72.4}, "outside the CT"),
    ],
)
def test_a_slice_that_cannot_be_had_is_refused(three_slices, where, reason):
    ct, mask, _ = three_slices
    with pytest.raises(ImageError, match=reason) as caught:
        measure(ct, mask, IMAGES.model_copy(update={"l3_slice": "z_mm"}), **where)
    assert REMEDY.search(str(caught.value))


def test_a_vertebra_that_was_not_drawn_is_refused(patient):
    ct, mask, *_ = patient
    with pytest.raises(ImageError, match="no segment named vertebrae_L3 or") as caught:
        measure(ct, mask, IMAGES.model_copy(update={"l3_slice": "vertebra"}))
    assert REMEDY.search(str(caught.value))


def test_without_psoas_the_skeletal_muscle_is_measured(patient, tmp_path):
    ct, mask, _, sm, _, geometry = patient
    both = measure(ct, mask, IMAGES)
    write_seg(tmp_path / "sm.seg.nrrd", {"SM": sm}, geometry)
    row = measure(ct, tmp_path / "sm.seg.nrrd", IMAGES)
    assert row["sm_area_cm2"] == both["sm_area_cm2"] and row["sm_mean_hu"] == both["sm_mean_hu"]
    assert np.isnan(row["pm_area_cm2"]) and np.isnan(row["pm_mean_hu"]) and row["pm_slices"] == []
    assert row["ct_notes"] == "no PM segment"
    write_seg(tmp_path / "sm.seg.nrrd", {"SM": sm, "Psoas muscles": sm}, geometry)  # under a name that is not accepted
    row = measure(ct, tmp_path / "sm.seg.nrrd", IMAGES)
    assert row["ct_notes"] == "no PM segment; the mask has 2 segments ('SM', 'Psoas muscles')"


def test_psoas_outside_skeletal_muscle_is_noted(patient, tmp_path):
    ct, _, _, sm, pm, geometry = patient
    write_seg(tmp_path / "m.seg.nrrd", {"SM": sm & ~pm, "PM": pm}, geometry)
    row = measure(ct, tmp_path / "m.seg.nrrd", IMAGES)
    assert f"{pm.sum()} pixels of PM (100%) lie outside SM" in row["ct_notes"]


# ---- real data ---------------------------------------------------------------------------------------------

FORMATS = [["muscle.seg.nrrd"], ["muscle.seg.dcm"], ["sm.nrrd", "pm.nrrd"], ["sm.nii.gz", "pm.nii.gz"]]


@pytest.mark.parametrize("names", FORMATS, ids=lambda names: names[0])
def test_real_masks_in_each_format(real_ct, names):
    truth = json.loads((real_ct / "masks" / "truth.json").read_text())["slices"][0]
    row = measure(real_ct / "ct", [real_ct / "masks" / name for name in names], IMAGES)
    for key in ("sm", "pm"):
        assert row[f"{key}_area_cm2"] == pytest.approx(truth[key.upper()]["area_cm2"], rel=1e-6)
        assert row[f"{key}_mean_hu"] == pytest.approx(truth[key.upper()]["mean_hu"], rel=1e-6)
        assert row[f"{key}_slices"] == [truth["slice_index"]]


def test_real_masks_on_two_slices_as_dicom_seg_and_slicer(real_ct):
    folder = real_ct / "masks-two-slices"
    rows = [measure(real_ct / "ct", folder / name, IMAGES) for name in ("muscle.seg.nrrd", "muscle.seg.dcm")]
    assert rows[0] == rows[1] and len(rows[0]["sm_slices"]) == 2


def test_real_masks_as_rtstruct_within_the_rim(real_ct, tmp_path):
    opened = open_patient(real_ct / "ct", real_ct / "masks" / "muscle.seg.nrrd", IMAGES)
    regions = {key.upper(): outlines(mask, opened.series.geometry) for key, mask in opened.masks.items()}
    write_rtstruct(tmp_path / "m.dcm", regions)
    again = open_patient(real_ct / "ct", tmp_path / "m.dcm", IMAGES)
    for key, mask in opened.masks.items():
        different = (mask ^ again.masks[key]).any(axis=0)
        rim = np.zeros_like(different)
        flat = mask.any(axis=0)
        for axis in (0, 1):
            for step in (-1, 1):
                rim |= flat ^ np.roll(flat, step, axis=axis)
        assert not (different & ~rim).any()
        assert different.sum() <= 0.001 * flat.sum()


def test_real_label_map_of_a_segmenter(tmp_path):
    folder = SHARED / "totalsegmentator-example"
    if not folder.is_dir():
        pytest.skip("real label map not available beside the checkout")
    (tmp_path / "labels.csv").write_text("29,vertebrae_L3\n88,iliopsoas_left\n89,iliopsoas_right\n")
    image = sitk.ReadImage(str(folder / "example_ct.nii.gz"))
    z_mm = image.TransformIndexToPhysicalPoint((0, 0, 70))[2]
    arguments = ["--ct", folder / "example_ct.nii.gz", "--mask", folder / "example_seg_fast_force_split.nii.gz",
                 "--label-table", tmp_path / "labels.csv", "--l3-z-mm", z_mm, "--json"]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "analysis_lib", "indices", *map(str, arguments)], capture_output=True, text=True
    )
    values = json.loads(run.stdout)
    assert round(values["pm_area_cm2"], 1) == 14.0 and round(values["pm_mean_hu"]) == 32
    assert values["sm_area_cm2"] is None and values["slices"]["pm"] == [70]


def test_real_dicom_seg_equals_its_label_maps():
    folder = SHARED / "dicom-seg"
    if not folder.is_dir():
        pytest.skip("DICOM SEG examples not available beside the checkout")
    grid = read_ct(folder / "ct-3slice").geometry
    liver = masks.read_segments(folder / "liver.dcm")[0].on_grid(grid)
    np.testing.assert_array_equal(liver, masks.read_segments(folder / "liver_seg.nrrd")[0].on_grid(grid))
    maps = [s for n in (1, 2, 3) for s in masks.read_segments(folder / f"partial_overlaps-{n}.nrrd")]
    parts = masks.read_segments(folder / "partial_overlaps.dcm")
    assert len(parts) == len(maps) == 5
    as_bytes = [sorted(s.on_grid(grid).tobytes() for s in group) for group in (parts, maps)]
    assert as_bytes[0] == as_bytes[1]


def test_choice_needs_every_part():
    one = SegmentParams(names=["PM"], parts=[["left", "right"]])
    assert masks.choose([], one) is None
