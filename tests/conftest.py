"""Small CT series and masks whose truth is known, and the optional real data beside the checkout."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import analysis_lib  # noqa: F401  first, since it pins the kernels of NumPy

# isort: split
import nrrd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from analysis_lib.ct.geometry import Geometry

pytest_plugins = ["evidence"]

# Tests of one room use cases of another's, also where one file is run alone.
sys.path += [str(folder) for folder in Path(__file__).parent.iterdir() if folder.is_dir()]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


# How a message goes on after its cause.
REMEDY = re.compile(
    r"[;:.,] (or )?(allow|check|choose|close|convert|draw|exclude|export|give|keep|mend|merge|move|name|put|rename|save"
    r"|write) ",
    re.IGNORECASE,
)


# The files whose tests take longest, in the order of starting: no process then waits for one that began too late.
FIRST = (
    "test_study.py",
    "test_pins.py",
    "test_killed_runs.py",
    "test_study_faults.py",
    "test_identity.py",
    "test_fast_radiomics.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the others keep their order."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first test process that asks for it makes, while the others wait."""
    run = tmp_path_factory.getbasetemp()
    shared = run.parent if os.environ.get("PYTEST_XDIST_WORKER") else run  # of all processes of this run
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> None:
    """The library with its numba kernels compiled."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, root / "tests" / "compiled.py"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    made_once(tmp_path_factory, "compiled", lambda _: subprocess.run(command, env=environment, check=True))


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """Folder of the real L3 CT with its masks; skips where it is not there."""
    folder = SHARED / "ct-l3" / "CRLM-CT-1006"
    if not folder.is_dir():
        pytest.skip("real CT not available beside the checkout")
    return folder


def write_dicom_slice(path: Path, stored: np.ndarray, position, spacing=(0.8, 0.7), number=1, **tags) -> None:
    """One uncompressed CT slice; ``spacing`` is (row, column) in mm as in PixelSpacing."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path), str(number)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.SeriesInstanceUID = "CT", "1.2.3.4"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [float(v) for v in position]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = list(spacing)
    dataset.SliceThickness = 5
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = stored.astype("<i2").tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def write_series(folder: Path, hounsfield: np.ndarray, origin=(-20.0, -30.0, -100.0), step=5.0, **tags) -> Geometry:
    """A series of HU (z, y, x), caudal slice first, written in scrambled file order."""
    spacing = tags.get("spacing", (0.8, 0.7))
    for k, hu in enumerate(hounsfield):
        name = f"IM{(7 * k) % 101:03d}.dcm"
        position = (origin[0], origin[1], origin[2] + k * step)
        write_dicom_slice(folder / name, hu + 1024, position, number=k + 1, **tags)
    size = hounsfield.shape[::-1]
    return Geometry(size, origin, (spacing[1], spacing[0], step), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def write_seg(path: Path, segments: dict[str, np.ndarray], geometry: Geometry, **extra) -> None:
    """A 3D Slicer segmentation with one layer a segment; masks are (z, y, x) of bool."""
    layers = np.stack([mask.transpose(2, 1, 0).astype(np.uint8) for mask in segments.values()])
    affine = geometry.affine
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), affine[:3, :3].T]),
        "space origin": affine[:3, 3],
        "encoding": "gzip",
    }
    for number, name in enumerate(segments):
        header |= {
            f"Segment{number}_ID": f"Segment_{number + 1}",
            f"Segment{number}_Name": name,
            f"Segment{number}_Layer": str(number),
            f"Segment{number}_LabelValue": "1",
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), layers, header | extra)


@pytest.fixture
def patient(tmp_path):
    """A small patient on disk: (ct folder, mask file, HU, SM, PM, geometry); rows and columns differ."""
    rng = np.random.default_rng(5)
    hounsfield = rng.integers(-120, 200, size=(6, 40, 50)).astype(np.int16)
    sm, pm = np.zeros((6, 40, 50), bool), np.zeros((6, 40, 50), bool)
    sm[3, 10:30, 8:40] = True
    pm[3, 15:22, 12:24] = True
    geometry = write_series(tmp_path / "ct", hounsfield)
    write_seg(tmp_path / "mask.seg.nrrd", {"SM": sm, "PM": pm}, geometry)
    return tmp_path / "ct", tmp_path / "mask.seg.nrrd", hounsfield, sm, pm, geometry


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """The folder of a small finished study."""
    from finished import finish_study, toy_study  # here, because few tests need it

    return made_once(tmp_path_factory, "template", lambda root: finish_study(toy_study(root)))


@pytest.fixture
def finished(template, tmp_path):
    """A copy of it that a test may change."""
    from finished import toy_study

    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return toy_study(tmp_path)
