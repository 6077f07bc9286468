"""Masks in image files: 3D Slicer's .seg.nrrd, and label maps (NRRD, NIfTI, MHA) with their label table."""

from __future__ import annotations

import re
from pathlib import Path

import nrrd
import numpy as np
import SimpleITK as sitk

from analysis_lib.ct.data_paths import named_for_itk
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.label_table import find_label_table, read_label_table
from analysis_lib.ct.mask_segments import VoxelSegment
from analysis_lib.ct.nifti_check import check_nifti

TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
_SUFFIX = re.compile(r"(\.seg)?\.(nrrd|nhdr|nii|mha)(\.gz)?$", re.IGNORECASE)


def stem(path: Path) -> str:
    """Name of a mask file without the suffix of its format."""
    return _SUFFIX.sub("", path.name)


def read(path: Path, kind: str, label_table: Path | None, one_of_many: bool = False) -> list[VoxelSegment]:
    """Segments of one file; ``kind`` is nrrd, nifti or mha. ImageError where it is damaged or no mask.

    ``one_of_many``: the file is one segment of a folder, which a segmenter writes for structures it did not find too.
    """
    if kind == "nrrd":
        array, grid, header = _read_nrrd(path)
        segments = _slicer_segments(array, grid, header)
        if segments:
            return segments
        if array.shape[0] != 1:
            raise ImageError("the mask has layers but names no segments; save it from 3D Slicer as a segmentation")
        return _labels(array[0], grid, path, label_table, one_of_many)
    array, grid = _read_itk(path, kind)
    return _labels(array, grid, path, label_table, one_of_many)


def _labels(
    array: np.ndarray, grid: Geometry, path: Path, label_table: Path | None, may_be_empty: bool
) -> list[VoxelSegment]:
    """One segment a label: named by the table, by the file where there is one label only, else by its number."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or not (array == np.rint(array)).all():
            raise ImageError("the mask holds values that are no whole numbers; save it as a label map")
        array = array.astype(np.int64)
    values = [int(v) for v in np.unique(array) if v != 0]
    if not values and may_be_empty:
        return [VoxelSegment(stem(path), array, 1, grid, named_by_file=True)]
    if not values:
        raise ImageError("the mask is empty; draw the segments or exclude the patient")
    table = label_table or find_label_table(path)
    if table is None and len(values) == 1:
        return [VoxelSegment(stem(path), array, values[0], grid, named_by_file=True)]
    names = {} if table is None else read_label_table(table)
    return [VoxelSegment(names.get(value, f"label {value}"), array, value, grid) for value in values]


def _read_itk(path: Path, kind: str) -> tuple[np.ndarray, Geometry]:
    if kind == "nifti":
        try:
            check_nifti(path)
        except ImageError as error:
            raise ImageError(str(error).replace("CT", "mask")) from None
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK's warnings show the path, which may hold a name
    try:
        image = _read_by_content(path, kind)
    except RuntimeError:
        raise ImageError("the mask file cannot be read as an image (damaged?); save it again") from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError("the mask file is not a 3-D image of one channel; save it as a label map")
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), Geometry.of(image)


def _read_by_content(path: Path, kind: str) -> sitk.Image:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    fitting = (".mha",) if kind == "mha" else (".nii.gz",) if packed else (".nii",)
    with named_for_itk(path, fitting) as name:
        return sitk.ReadImage(name)


def _read_nrrd(path: Path) -> tuple[np.ndarray, Geometry, dict]:
    """Array (layer, x, y, z), its grid and the header."""
    try:
        data, header = nrrd.read(str(path))
    except Exception as error:  # whatever a damaged header or stream makes pynrrd or its decoders raise
        kind = type(error).__name__
        raise ImageError(f"the mask file cannot be read: damaged or cut short ({kind}); save it again") from None
    if data.ndim == 3:
        data = data[np.newaxis]
    if data.ndim != 4:
        raise ImageError(
            f"the mask file has {data.ndim} dimensions and not 3, or 4 with layers; save it from 3D Slicer as a "
            "segmentation"
        )
    return data, _nrrd_geometry(header, data.shape[1:]), header


def _slicer_segments(data: np.ndarray, grid: Geometry, header: dict) -> list[VoxelSegment]:
    numbers = sorted(
        int(key[7:-3]) for key in header if key.startswith("Segment") and key.endswith("_ID") and key[7:-3].isdigit()
    )
    segments = []
    for number in numbers:
        name = str(header.get(f"Segment{number}_Name", "")).strip()
        try:
            # 3D Slicer before 4.11 writes neither: each segment has a layer of its own, in which its voxels are 1.
            layer = int(header.get(f"Segment{number}_Layer", number))
            value = int(header.get(f"Segment{number}_LabelValue", 1))
        except ValueError:
            raise ImageError(
                f"segment number {number + 1} has a layer or label that is no number; save it again in 3D Slicer"
            ) from None
        if not 0 <= layer < len(data):
            raise ImageError(
                f"segment number {number + 1} names layer {layer}, the file has {len(data)}; save it again in 3D Slicer"
            )
        segments.append(VoxelSegment(name, data[layer], value, grid))
    return segments


def _nrrd_geometry(header: dict, shape: tuple[int, ...]) -> Geometry:
    space = str(header.get("space", "")).lower()
    if space not in TO_LPS:
        raise ImageError("the mask file has no known patient space; save it from 3D Slicer")
    try:
        directions = np.array([row for row in header["space directions"] if row is not None], dtype=float)
        origin = np.array(header["space origin"], dtype=float)
    except (KeyError, TypeError, ValueError):
        raise ImageError("the mask file does not say where it lies in space; save it from 3D Slicer") from None
    directions = directions[np.isfinite(directions).all(axis=1)]  # the layer axis has no direction
    valid = directions.shape == (3, 3) and origin.shape == (3,) and np.isfinite(origin).all()
    if not valid or abs(np.linalg.det(directions)) < 1e-9:
        raise ImageError("the mask file has invalid space directions or origin; save it again from 3D Slicer")
    flip = np.array(TO_LPS[space], dtype=float)
    affine = np.eye(4)
    affine[:3, :3] = (directions * flip).T
    affine[:3, 3] = origin * flip
    return Geometry.from_affine(affine, tuple(int(n) for n in shape))
