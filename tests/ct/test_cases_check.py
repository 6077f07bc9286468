"""make check on a folder with the faults and habits of other people's images, a patient each: all have their line and
their picture, and whatever is only another convention is measured to the pixel."""

import gzip
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nrrd
import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series
from mask_files import outlines, write_rtstruct, write_seg_dicom
from test_cases_dicom_seg import bare, both, changed, drop, packed, spacing
from test_cases_files import layered, stray_byte
from test_cases_rtstruct import region, through_centres
from test_cases_values import DOUBTFUL, GRID, HU, NORMAL, PM, SM, on

from analysis_lib.core.parameters import Params, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.ct.geometry import Geometry
from analysis_lib.review.check import check_study

LEFT, WHOLE = np.arange(50) < 25, HU.astype(np.int16)
BOTH = {"SM": SM, "PM": PM}


class Patient:
    """A patient's images below the data folder, a NIfTI of HU and a 3D Slicer mask unless a test says otherwise."""

    def __init__(self, data: Path, name: str):
        self.ct, self.masks, self.uid = data / "ct" / name, data / "masks" / name, f"1.2.{name[1:]}"
        self.volume, self.mask = data / "ct" / f"{name}.nii", data / "masks" / f"{name}.seg.nrrd"
        self.dicom, self.rtstruct = self.ct, data / "masks" / f"{name}.dcm"

    def write(self, hu=HU, masks=BOTH, grid=GRID, mask_grid=GRID) -> None:
        sitk.WriteImage(grid.image_of(np.asarray(hu, np.float32)), str(self.volume))
        write_seg(self.mask, masks, mask_grid)

    def contours(self, more=(), through: bool = False) -> None:
        """The masks as an RTSTRUCT, of contours between the pixels or through their centres."""
        write_series(self.dicom, WHOLE, SeriesInstanceUID=self.uid)
        drawn = {
            name: [*(region(through_centres(mask[3]), GRID, 3).contours if through else outlines(mask, GRID)), *more]
            for name, mask in BOTH.items()
        }
        write_rtstruct(self.rtstruct, drawn)

    def seg(self, change: Callable = lambda dataset: None, masks=BOTH, kind: str = "BINARY") -> None:
        write_series(self.dicom, WHOLE, SeriesInstanceUID=self.uid)
        write_seg_dicom(self.rtstruct, self.dicom, masks, kind)
        changed(self.rtstruct, change)


def two_phases(patient: Patient, extent: slice) -> None:
    """Of phases of 6 and 8 slices on one grid, with a mask of the grid of one or of neither."""
    write_series(patient.dicom / "plain", WHOLE, SeriesInstanceUID=patient.uid + ".1", SeriesNumber=1)
    more = np.concatenate([WHOLE, WHOLE[:2]]) + np.int16(20)
    write_series(patient.dicom / "venous", more, SeriesInstanceUID=patient.uid + ".2", SeriesNumber=2)
    origin = (*GRID.origin[:2], GRID.origin[2] + GRID.spacing[2] * extent.start)
    grid = Geometry((50, 40, extent.stop - extent.start), origin, GRID.spacing, GRID.direction)
    write_seg(patient.mask, {name: mask[extent] for name, mask in BOTH.items()}, grid)


def as_bytes(dataset) -> None:
    for item in dataset.ROIContourSequence:
        for contour in item.ContourSequence:
            text = "\\".join(str(v) for v in contour.ContourData).encode()
            contour[0x30060050] = pydicom.DataElement(0x30060050, "UN", text)


def ones_of_255(dataset) -> None:
    values = np.frombuffer(dataset.PixelData, np.uint8)
    dataset.PixelData = (values > 0).astype(np.uint8).tobytes()


def in_unit(path: Path, code: int) -> None:
    content = bytearray(path.read_bytes())
    content[123] = code
    path.write_bytes(content)


def sheared(path: Path, degrees: float) -> None:
    affine = np.diag([-0.7, -0.8, 5.0, 1.0])
    affine[0, 1], affine[:3, 3] = -0.8 * np.tan(np.radians(degrees)), [20, 30, -100]
    header = bytearray(path.read_bytes())
    header[80:92] = np.linalg.norm(affine[:3, :3], axis=0).astype("<f4").tobytes()
    header[252:256], header[280:328] = np.array([0, 1], "<i2").tobytes(), affine[:3].astype("<f4").tobytes()
    path.write_bytes(header)


def label_map(patient: Patient, image: sitk.Image) -> Path:
    patient.mask.unlink()
    path = patient.masks.with_suffix(".nii")
    sitk.WriteImage(image, str(path))
    patient.masks.with_suffix(".csv").write_text("1,SM\n2,PM\n")
    return path


NUMBERED = np.where(PM, 2, SM.astype(np.uint8)).astype(np.uint8)


# ---- another convention: right, and nothing to say -----------------------------------------------------------
def prone(p: Patient) -> None:
    turned = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    write_series(p.dicom, WHOLE, SeriesInstanceUID=p.uid, ImageOrientationPatient=[-1, 0, 0, 0, -1, 0])
    write_seg(p.mask, BOTH, Geometry(GRID.size, GRID.origin, GRID.spacing, turned))


def bzip2(p: Patient) -> None:
    p.write()
    p.volume.unlink()
    header = {"space": "left-posterior-superior", "space directions": np.diag(GRID.spacing), "encoding": "bzip2"}
    nrrd.write(str(p.volume.with_suffix(".nrrd")), WHOLE.transpose(2, 1, 0), header | {"space origin": GRID.origin})


def separate(p: Patient, suffix: str, beside: dict[str, str] | None = None) -> list[Path]:
    """A CT, and a folder of a mask file a muscle, perhaps with a JSON beside each."""
    p.write()
    p.mask.unlink()
    p.masks.mkdir()
    for name, mask in BOTH.items():
        sitk.WriteImage(GRID.image_of(mask.astype(np.uint8)), str(p.masks / f"{name}{suffix}"))
        if beside:
            (p.masks / f"{name}.json").write_text(json.dumps(beside))
    return sorted(p.masks.iterdir())


def oblique(p: Patient) -> None:
    for path in [*separate(p, ".nii"), p.volume]:
        sheared(path, 0.15)


def dicomdir(p: Patient) -> None:
    write_series(p.dicom, WHOLE, SeriesInstanceUID=p.uid)
    write_seg(p.mask, BOTH, GRID)
    (p.dicom / "DICOMDIR").write_bytes(bytes(128) + b"DICM")


def layers_last(p: Patient, last: bool) -> None:
    p.write()
    layered(p.mask, last, **BOTH)


POINT = GRID.affine[:3, :3] @ [24.0, 20.0, 3.0] + GRID.affine[:3, 3]
RIGHT = {
    "hu": lambda p: p.write(),
    "contours through pixel centres": lambda p: p.contours(through=True),
    "a contour of one point": lambda p: p.contours([np.array([POINT])]),
    "a contour of two points": lambda p: p.contours([np.array([POINT, POINT + [3, 0, 0]])]),
    "contours as UN": lambda p: (p.contours(), changed(p.rtstruct, as_bytes)),
    "RTSTRUCT without preamble": lambda p: (p.contours(), bare(p.rtstruct)),
    "the phase of the mask": lambda p: two_phases(p, slice(0, 6)),
    "SEG frames two slices apart": lambda p: p.seg(
        spacing(7.3), {name: on(1, 3, 5, of=mask) for name, mask in BOTH.items()}
    ),
    "SEG of one slice": lambda p: p.seg(
        both(
            drop("SpacingBetweenSlices", "SliceThickness", "FrameOfReferenceUID"),
            drop("DimensionIndexSequence", "DimensionOrganizationSequence"),
        )
    ),
    "SEG of 1 under 255": lambda p: p.seg(ones_of_255, {n: m.astype(float) for n, m in BOTH.items()}, "FRACTIONAL"),
    "SEG without preamble": lambda p: (p.seg(), bare(p.rtstruct)),
    "SEG within gzip": lambda p: (p.seg(), packed(p.rtstruct)),
    "layers on the last axis": lambda p: layers_last(p, True),
    "layers on the first axis": lambda p: layers_last(p, False),
    "CT in bzip2": bzip2,
    "axes off by 0.15 degrees": oblique,
    "mask of mhd and raw": lambda p: separate(p, ".mhd"),
    "DICOMDIR": dicomdir,
    "dcm2niix": lambda p: separate(p, ".nii.gz", {"Modality": "SEG", "ConversionSoftware": "dcm2niix"}),
    "prone": prone,
}


# ---- warned of or refused ------------------------------------------------------------------------------------
def on_other(mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The mask with ``part`` of its slice on the next one instead."""
    moved = mask & ~part
    moved[4] = (mask & part)[3]
    return moved


def stray(mask: np.ndarray) -> np.ndarray:
    found = mask.copy()
    found[4, 20, 20] = True
    return found


def of_pixels(p: Patient, x: float, y: float) -> None:
    grid = Geometry(GRID.size, GRID.origin, (x, y, 5.0), GRID.direction)
    p.write(grid=grid, mask_grid=grid)


def too_large(p: Patient) -> None:
    body = HU > -900
    grid = Geometry(GRID.size, GRID.origin, (7.0, 8.0, 5.0), GRID.direction)
    p.write(np.where(body & (HU < 300), 50, HU), {"SM": body & on(3, of=body)}, grid, grid)


def four_dimensions(p: Patient) -> None:
    p.write()
    label_map(p, sitk.JoinSeries([GRID.image_of(SM.astype(np.uint8)), GRID.image_of(PM.astype(np.uint8))]))


def zipped(p: Patient, path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    place = p.ct if path == p.volume else p.masks
    place.mkdir()
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        archive.writestr(path.name, content)


def slices_within_gzip(p: Patient) -> None:
    write_series(p.dicom, WHOLE, SeriesInstanceUID=p.uid)
    write_seg(p.mask, BOTH, GRID)
    for file in sorted(p.dicom.iterdir()):
        file.with_suffix(".dcm.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()


def map_of_dual_energy(p: Patient) -> None:
    write_series(p.dicom, WHOLE, SeriesInstanceUID=p.uid, ImageType=["DERIVED", "SECONDARY", "Z_EFFECTIVE"])
    write_seg(p.mask, BOTH, GRID)


AIR = HU.copy()
AIR.flat[np.flatnonzero(PM)[:30]] = -1000
SIDES = {"SM": SM, "psoas left": on_other(PM, LEFT) & LEFT, "psoas right": PM & ~LEFT}
FAULTS = {
    "two phases of the mask": (lambda p: two_phases(p, slice(2, 5)), "name the one that was segmented"),
    "a stray pixel": (lambda p: p.write(masks={"SM": stray(SM), "PM": PM}), "far fewer pixels on slice 4"),
    "halves": (lambda p: p.write(masks={"SM": SM, "PM": on_other(PM, LEFT)}), "have no part in common"),
    "sides by name": (lambda p: p.write(masks=SIDES), "is not drawn on slice"),
    **{
        name: (lambda p, values=values: p.write(values), "the values of the CT are no HU")
        for name, values in NORMAL.items()
    },
    **{name: (lambda p, values=values: p.write(values), "are these HU?") for name, values in DOUBTFUL.items()},
    "PM alone, stored": (lambda p: p.write(HU + 1024, {"PM": PM}), "no segment named SM"),
    "dual energy": (map_of_dual_energy, "maps of a dual-energy CT that are no HU"),
    "cut values": (lambda p: p.write(np.maximum(HU, -500)), "were they cut there"),
    "air": (lambda p: p.write(AIR), "of the PM is air or gas"),
    "metres": (lambda p: (p.write(), in_unit(p.volume, 1)), "its lengths are in metres"),
    "microns": (
        lambda p: (p.write(), in_unit(label_map(p, GRID.image_of(NUMBERED)), 3)),
        "lengths are in micrometres",
    ),
    "small pixels": (lambda p: of_pixels(p, 0.0007, 0.0008), "are no human CT's"),
    "large pixels": (lambda p: of_pixels(p, 70, 80), "are no human CT's"),
    "a large muscle": (too_large, "more than any human's"),
    "a long file": (lambda p: (p.write(), stray_byte(p.volume, False)), "more bytes than its header says"),
    "a tilt": (lambda p: (p.write(), sheared(p.volume, 12)), "not at right angles"),
    "a 4-D mask": (four_dimensions, "not a 3-D image of one channel"),
    "a zip of the mask": (lambda p: (p.write(), zipped(p, p.mask)), "unpack it"),
    "a zip of the CT": (lambda p: (p.write(), zipped(p, p.volume)), "unpack it"),
    "packed slices": (slices_within_gzip, "unpack it"),
    "another name": (lambda p: p.write(masks={"GTV_Mass_CT": SM}), "no segment named SM"),
    "another spacing": (
        lambda p: p.write(mask_grid=Geometry(GRID.size, GRID.origin, (0.72, 0.82, 5.0), GRID.direction)),
        "does not fit the CT",
    ),
    "far away": (
        lambda p: p.write(mask_grid=Geometry(GRID.size, (900.0, 900.0, -100.0), GRID.spacing, GRID.direction)),
        "no CT series contains the mask",
    ),
}
CASES = {**RIGHT, **{name: make for name, (make, _) in FAULTS.items()}}
IDS = {name: f"P{number}" for number, name in enumerate(CASES)}


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> tuple[pd.DataFrame, str]:
    """Table and page of make check."""
    root = tmp_path_factory.mktemp("check")
    data = root / "data" / "mine"
    for folder in ("ct", "masks"):
        (data / folder).mkdir(parents=True)
    for name, make in CASES.items():
        make(Patient(data, IDS[name]))
    n = len(CASES)
    rows = pd.DataFrame({"patient_id": [*IDS.values()], "set": "kiel", "sex": "M", "height_m": 1.7})
    rows.assign(os_event=np.arange(n) % 2, os_months=np.arange(n) + 20.5).to_csv(data / "patients.csv", index=False)
    shutil.copytree(Project().params_dir, root / "params")
    sets = {"kiel": {"label": "Kiel", "role": "train"}}
    content = load_params("defaults").model_dump() | {"study": "mine", "workers": 1, "cohort": {"sets": sets}}
    study = Study(Params.model_validate(content | {"features": {}}), Project(root))
    check_study(study, quiet=True)
    table = pd.read_csv(study.build / "check" / "check.csv").fillna("").set_index("patient_id")
    return table, (study.build / "check" / "check.html").read_text(encoding="utf-8")


def tile(page: str, name: str) -> tuple[str, str] | None:
    """Identifier and status of a patient's slice on the page, None without one."""
    tiles = json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    return next(((t["id"], t["status"]) for t in tiles if t["id"] == IDS[name]), None)


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_only_another_convention_is_measured_to_the_pixel(checked, name):
    table, page = checked
    row = table.loc[IDS[name]]
    assert (row["status"], row["reason"], row["warnings"]) == ("ok", "", "")
    counts = [int(n) for n in re.findall(r"(\d+) pixels", row["segments"])]
    slices = 3 if name == "SEG frames two slices apart" else 1
    assert counts == [slices * int(SM.sum()), slices * int(PM.sum())]
    assert tile(page, name)[1] == "ok"


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_line_and_its_picture(checked, name):
    table, page = checked
    row = table.loc[IDS[name]]
    assert FAULTS[name][1] in row["reason"] + row["warnings"]
    assert row["status"] in ("refused", "warning") and tile(page, name)[1] == row["status"]
