"""Masks in image files: 3D Slicer's .seg.nrrd, and label maps (NRRD, NIfTI, MHA) with their label table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from analysis_lib.ct.data_paths import named_for_itk
from analysis_lib.ct.file_length import check_length
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.label_table import find_label_table, read_label_table, stem
from analysis_lib.ct.mask_segments import VoxelSegment
from analysis_lib.ct.nifti_check import check_nifti, reading_axes
from analysis_lib.ct.nrrd_files import read_nrrd


def read(path: Path, kind: str, label_table: Path | None, one_of_many: bool = False) -> list[VoxelSegment]:
    """Segments of one file; ``kind`` is nrrd, nifti or mha. ImageError where it is damaged or no mask.

    ``one_of_many``: the file is one segment of a folder, which a segmenter writes for structures it did not find too.
    """
    if kind == "nrrd":
        array, grid, header = read_nrrd(path)
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
        numbered = not may_be_empty  # of a folder with one file a segment, every file may have the label 1
        return [VoxelSegment(stem(path), array, values[0], grid, named_by_file=True, numbered=numbered)]
    names = {} if table is None else read_label_table(table)
    return [
        VoxelSegment(names.get(value, f"label {value}"), array, value, grid, numbered=table is None) for value in values
    ]


def _read_itk(path: Path, kind: str) -> tuple[np.ndarray, Geometry]:
    skewed = False
    if kind == "nifti":
        try:
            skewed = check_nifti(path)
        except ImageError as error:
            raise ImageError(str(error).replace("CT", "mask")) from None
    check_length(path, kind)
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK's warnings show the path, which may hold a name
    try:
        with reading_axes(skewed):
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
    fitting = (".mha", ".mhd") if kind == "mha" else (".nii.gz",) if packed else (".nii",)
    with named_for_itk(path, fitting) as name:
        return sitk.ReadImage(name)


def _slicer_segments(data: np.ndarray, grid: Geometry, header: dict) -> list[VoxelSegment]:
    numbers = sorted(
        int(key[7:-3]) for key in header if key.startswith("Segment") and key.endswith("_ID") and key[7:-3].isdigit()
    )
    segments, layered = [], len(data) > 1
    for place, number in enumerate(numbers):
        name = str(header.get(f"Segment{number}_Name", "")).strip()
        try:
            # 3D Slicer before 4.11 writes neither: each segment has a layer of its own, in which its voxels are 1. In
            # a file of one layer they can only be told apart by their values.
            layer = int(header.get(f"Segment{number}_Layer", number if layered else 0))
            value = int(header.get(f"Segment{number}_LabelValue", 1 if layered else place + 1))
        except ValueError:
            raise ImageError(
                f"segment number {number + 1} has a layer or label that is no number; save it again in 3D Slicer"
            ) from None
        if value == 0:
            raise ImageError(
                f"segment number {number + 1} has the label 0, which is the background; save it again in 3D Slicer"
            )
        if not 0 <= layer < len(data):
            raise ImageError(
                f"segment number {number + 1} names layer {layer}, the file has {len(data)}; save it again in 3D Slicer"
            )
        segments.append(VoxelSegment(name, data[layer], value, grid))
    return segments
