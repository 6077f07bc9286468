"""Masks as they should not be: each is refused by one message with cause and fix, never by a traceback."""

import gzip
import os
import tempfile
from pathlib import Path

import nrrd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from conftest import REMEDY, write_seg, write_series
from mask_files import outlines, write_rtstruct, write_seg_dicom

from analysis_lib.core.parameters import load_params
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.indices import open_patient
from analysis_lib.ct.masks import find_mask

IMAGES = load_params("defaults").images
LABELS = IMAGES.model_copy(update={"sm": IMAGES.sm.model_copy(update={"labels": [1]})})


class Case:
    """A CT on disk, its masks, and where the broken mask goes."""

    def __init__(self, folder):
        rng = np.random.default_rng(5)
        self.folder, self.ct = folder, folder / "ct"
        self.grid = write_series(self.ct, rng.integers(-120, 200, size=(6, 40, 50)).astype(np.int16))
        self.sm, self.pm = np.zeros((6, 40, 50), bool), np.zeros((6, 40, 50), bool)
        self.sm[3, 10:30, 8:40], self.pm[3, 15:22, 12:24] = True, True
        self.both = {"SM": self.sm, "PM": self.pm}

    def seg(self, segments=None, grid=None, **header):
        path = self.folder / "m.seg.nrrd"
        write_seg(path, segments or self.both, grid or self.grid, **header)
        return path

    def image(self, array, suffix=".nii.gz", grid=None):
        path = self.folder / f"m{suffix}"
        sitk.WriteImage((grid or self.grid).image_of(array), str(path))
        return path

    def shifted(self, x_mm=0.0, y_mm=0.0, z_mm=0.0, spacing=None):
        x, y, z = self.grid.origin
        return Geometry(
            self.grid.size, (x + x_mm, y + y_mm, z + z_mm), spacing or self.grid.spacing, self.grid.direction
        )


def write(case, name, content):
    (case.folder / name).write_bytes(content)
    return case.folder / name


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    return path


def looping_link(case):
    (case.folder / "m.seg.nrrd").symlink_to(case.folder / "n.seg.nrrd")
    (case.folder / "n.seg.nrrd").symlink_to(case.folder / "m.seg.nrrd")
    return case.folder / "m.seg.nrrd"


def table_beside(case, text, name="m.csv"):
    write(case, name, text)
    return case.image(case.sm.astype(np.uint8) + case.pm)


def folder_of(case, *names):
    for name in names:
        path = case.folder / "m" / name
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(case.grid.image_of(case.sm.astype(np.uint8)), str(path))
    return case.folder / "m"


def seg_dicom(case, **changes):
    path = case.folder / "m.dcm"
    write_seg_dicom(path, case.ct, case.both)
    dataset = pydicom.dcmread(path)
    for tag, value in changes.items():
        setattr(dataset, tag, value)
    dataset.save_as(path)
    return path


def rtstruct(case, regions=None, **changes):
    path = case.folder / "m.dcm"
    write_rtstruct(path, regions or {"SM": outlines(case.sm, case.grid)}, **changes)
    return path


def odd_points(case):
    path = rtstruct(case)
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2", "3", "4"]
    dataset.save_as(path)
    return path


def five_dimensions(case):
    nrrd.write(str(case.folder / "m.nrrd"), np.zeros((1, 2, 2, 2, 2), np.uint8))
    return case.folder / "m.nrrd"


def one_pixel(case):
    mask = np.zeros_like(case.sm)
    mask[3, 20, 20] = True
    return mask


FAULTS = {
    "missing": (lambda c: c.folder / "no.seg.nrrd", "is missing"),
    "zero bytes": (lambda c: write(c, "m.seg.nrrd", b""), "is empty"),
    "text": (lambda c: write(c, "m.seg.nrrd", b"no mask at all, only words" * 30), "none of NRRD, NIfTI"),
    "nrrd cut in the header": (lambda c: cut(c.seg(), 100), "damaged or cut short"),
    "nrrd cut in the data": (lambda c: cut(c.seg(), -20), "damaged or cut short"),
    "nifti cut": (lambda c: cut(c.image(c.sm.astype(np.uint8), ".nii"), 4000), "cut short"),
    "gzip cut": (lambda c: cut(c.image(c.sm.astype(np.uint8)), 60), "damaged or cut short"),
    "gzip of nothing": (lambda c: write(c, "m.nii.gz", gzip.compress(b"")), "none of NRRD"),
    "empty folder": (lambda c: (c.folder / "m").mkdir() or c.folder / "m", "folder holds no mask"),
    "link in a circle": (looping_link, "is missing|cannot be opened"),
    "unknown space": (lambda c: c.seg(space="scanner-xyz"), "no known patient space"),
    "NaN origin": (lambda c: c.seg(**{"space origin": [np.nan, 0, 0]}), "invalid space directions or origin"),
    "all segments empty": (lambda c: c.seg({"SM": c.sm & False, "PM": c.pm & False}), "'SM' is empty"),
    "psoas empty": (lambda c: c.seg({"SM": c.sm, "PM": c.pm & False}), "'PM' is empty"),
    "one pixel": (lambda c: c.seg({"SM": one_pixel(c)}), "only 1 pixels"),
    "no muscle among the segments": (lambda c: c.seg({"liver": c.sm}), "no segment named SM.*'liver'.*rename"),
    "two segments of one name": (lambda c: c.seg({"SM": c.sm, "skeletal_muscle": c.sm}), "2 segments are named SM"),
    "name of 10,000 characters": (lambda c: c.seg({"x" * 10_000: c.sm}), "no segment named SM"),
    "no names": (lambda c: c.seg({"": c.sm}), "no segment named SM"),
    "layer that is not there": (lambda c: c.seg(Segment0_Layer="7"), "names layer 7"),
    "layer that is no number": (lambda c: c.seg(Segment0_Layer="first"), "no number"),
    "mask of another patient": (lambda c: c.seg(grid=c.shifted(x_mm=0.3)), "does not fit the CT.*mask: size.*CT: size"),
    "other pixel size": (lambda c: c.seg(grid=c.shifted(spacing=(0.71, 0.8, 5.0))), "does not fit the CT"),
    "other slice spacing": (
        lambda c: c.seg(grid=c.shifted(spacing=(0.7, 0.8, 4.0))),
        "does not fit|no CT series contains",
    ),
    "every other pixel": (
        lambda c: c.seg(grid=c.shifted(spacing=(1.4, 1.6, 5.0))),
        "does not fit|no CT series contains",
    ),
    "beside the CT": (lambda c: c.seg(grid=c.shifted(x_mm=70.0)), "no CT series contains the mask"),
    "label map of nothing": (lambda c: c.image(c.sm.astype(np.uint8) * 0), "the mask is empty"),
    "label map of fractions": (lambda c: c.image(c.sm.astype(np.float32) * 0.4), "no whole numbers"),
    "label map with NaN": (lambda c: c.image(np.where(c.sm, np.nan, 0).astype(np.float32)), "NaN"),
    "label map without names": (lambda c: c.image(c.sm.astype(np.uint8) + 2 * c.pm), "no segment named SM.*'label 1'"),
    "table without the name": (lambda c: table_beside(c, b"1,liver\n2,spleen\n"), "no segment named SM.*'liver'"),
    "table with two names": (lambda c: table_beside(c, b"1,SM\n1,PM\n"), "label 1 two names"),
    "table of prose": (lambda c: table_beside(c, b"the first is the muscle\n"), "no label numbers"),
    "table in another encoding": (lambda c: table_beside(c, "1,Müsküläre".encode("utf-16")), "UTF-8"),
    "broken JSON table": (lambda c: table_beside(c, b'{"1": ', "m.json"), "no label numbers"),
    "two files of one muscle": (lambda c: folder_of(c, "sm.nrrd", "SM.nii.gz"), "2 segments are named SM"),
    "five dimensions": (five_dimensions, "has 5 dimensions"),
    "colour image": (
        lambda c: rgb(c),
        "layers but names no segments",
    ),
    "CT in place of the mask": (lambda c: sorted(c.ct.iterdir())[0], "modality CT; export a SEG or RTSTRUCT"),
    "DICOM cut": (lambda c: cut(seg_dicom(c), 900), "DICOM|SEG"),
    "SEG without segments": (lambda c: seg_dicom(c, SegmentSequence=[]), "holds no segments"),
    "SEG without geometry": (lambda c: seg_dicom(c, PerFrameFunctionalGroupsSequence=[]), "DICOM SEG"),
    "RTSTRUCT without regions": (lambda c: rtstruct(c, no_rois=True), "names no regions"),
    "RTSTRUCT without the muscle": (lambda c: rtstruct(c, {"liver": outlines(c.sm, c.grid)}), "no segment named SM"),
    "region without contours": (lambda c: rtstruct(c, {"SM": []}), "'SM' is empty"),
    "open contours": (lambda c: rtstruct(c, kind="OPEN_PLANAR"), "open contours"),
    "contour with odd points": (odd_points, "damaged points"),
    "contours off the slices": (
        lambda c: rtstruct(c, {"SM": [o + [0, 0, 1.9] for o in outlines(c.sm, c.grid)]}),
        "off the nearest CT slice",
    ),
}


def rgb(case):
    image = sitk.GetImageFromArray(np.stack([case.sm.astype(np.uint8)] * 3, axis=-1), isVector=True)
    path = case.folder / "m.nrrd"
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_fault_is_refused_with_its_reason(tmp_path, fault):
    make, reason = FAULTS[fault]
    case = Case(tmp_path)
    mask = make(case)
    with pytest.raises(ImageError, match=reason) as caught:
        open_patient(case.ct, mask, LABELS if "cut" in fault else IMAGES)
    message = str(caught.value)
    assert REMEDY.search(message), message
    assert len(message) < 1200 and "Traceback" not in message and str(tmp_path) not in message


def test_unreadable_mask():
    """As another user where the tests run as root, whom nothing keeps from reading."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        case = Case(Path(name))
        path = case.seg()
        path.chmod(0)
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(ImageError, match="cannot be opened; allow this user"):
                open_patient(case.ct, path, IMAGES)
        finally:
            os.seteuid(user)


def test_two_masks_of_one_patient_are_refused_by_ending(tmp_path):
    for name in ("P1.seg.nrrd", "P1.nii.gz"):
        (tmp_path / name).touch()
    with pytest.raises(ImageError, match=r"2 masks of this patient \(\.seg\.nrrd, \.nii\.gz\)"):
        find_mask(tmp_path, "P1")


@pytest.mark.parametrize("patient_id", ["P2", "x" * 10_000])
def test_no_mask_says_where_it_should_be(tmp_path, patient_id):
    with pytest.raises(ImageError, match="mask of this patient is missing; put it into masks/"):
        find_mask(tmp_path, patient_id)
