"""CT in a single NIfTI or NRRD file, turned to run left, back and up without resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from analysis_lib.ct.data_paths import files_below, named_for_itk
from analysis_lib.ct.dicom_headers import OTHER_FILES, Scan
from analysis_lib.ct.dicom_pixels import AIR_HU, HIGHEST_HU
from analysis_lib.ct.dicom_series import AXIAL_TOLERANCE
from analysis_lib.ct.file_length import check_length
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.nifti_check import SKEW_DEGREES, check_nifti, reading_axes, skew_degrees
from analysis_lib.ct.nrrd_files import is_bzip2, read_nrrd

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def is_volume_file(path: Path) -> bool:
    """Whether a file is a NIfTI, NRRD or MetaImage volume, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def volume_instead_of_dicom(folder: Path, scan: Scan) -> Path | None:
    """The one volume file of a folder that holds no DICOM at all; None where there is none, or DICOM beside it.

    Raises ImageError where there are several.
    """
    if scan.series or set(scan.passed_over) - {OTHER_FILES}:
        return None
    files = [file for file in files_below(folder) if is_volume_file(file)]
    if not files or set(scan.damaged) - set(files):
        return None
    if len(files) > 1:
        kinds = ", ".join(next(s for s in SUFFIXES if file.name.lower().endswith(s)) for file in files[:8])
        raise ImageError(
            f"the folder of the CT holds no DICOM but {len(files)} volume files ({kinds}); keep one, or name it in the "
            "column ct_path"
        )
    return files[0]


def read_volume(path: Path) -> sitk.Image:
    """Image in HU on an axial grid, int16 where all HU are whole numbers, else float32.

    Raises ImageError where the file is damaged, not 3-D, not in patient space, not axial or holds no HU.
    """
    image = _read(path)
    array = sitk.GetArrayFromImage(image)
    if not np.isfinite(array).all():
        raise ImageError("the CT file holds values that are no numbers (NaN or infinite); convert the CT again")
    values = np.maximum(array, AIR_HU) if array.dtype.kind != "u" else array
    if (highest := float(values.max())) > HIGHEST_HU:
        raise ImageError(f"the CT file holds {highest:.0f} HU, which no CT has; convert the CT again from DICOM")
    whole = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    if whole:
        result = sitk.GetImageFromArray(values.astype(np.int16))
    else:
        result = sitk.GetImageFromArray(values.astype(np.float32))
    result.CopyInformation(image)
    return result


def _read(path: Path) -> sitk.Image:
    name = path.name.lower()
    skewed = name.endswith((".nii", ".nii.gz")) and check_nifti(path)
    kind = "nrrd" if name.endswith((".nrrd", ".nhdr")) else "mha" if name.endswith((".mha", ".mhd")) else "nifti"
    check_length(path, kind)
    if kind == "nrrd" and is_bzip2(path):  # which ITK does not read
        layers, grid, _ = read_nrrd(path)
        if len(layers) != 1:
            raise ImageError("the CT file is not a 3-D image of one channel; export the CT as a single volume")
        return _turned(grid.image_of(np.ascontiguousarray(layers[0].transpose(2, 1, 0))))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()  # ITK's warnings show the path, which may hold a name
    try:
        fitting = next((end,) for end in SUFFIXES if name.endswith(end))
        with named_for_itk(path, fitting) as readable, reading_axes(skewed):
            reader = sitk.ImageFileReader()
            reader.SetFileName(readable)
            reader.ReadImageInformation()
            placed = reader.HasMetaDataKey("NRRD_space") and reader.GetMetaData("NRRD_space")
            size = reader.GetSize()
            if len(size) == 4 and size[3] == 1:
                reader.SetExtractSize([*size[:3], 0])
            image = reader.Execute()
    except RuntimeError:
        raise ImageError(
            "the CT file cannot be read as an image (damaged, or not the format that its name says); convert it again"
        ) from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError("the CT file is not a 3-D image of one channel; export the CT as a single volume")
    if name.endswith((".nrrd", ".nhdr")) and not placed:
        raise ImageError("the CT file does not say where it lies in the patient; convert the CT again from DICOM")
    if not np.isfinite([*image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]).all():
        raise ImageError("the CT file has a spacing or position that is not a valid number; convert it again")
    return _turned(image)


def _turned(image: sitk.Image) -> sitk.Image:
    """The image with its axes permuted and flipped to left, back and up; no value changes."""
    skew = skew_degrees(np.reshape(image.GetDirection(), (3, 3)))
    if skew > SKEW_DEGREES:
        raise ImageError(
            f"the axes of the CT file are not at right angles (off by {skew:.1f} degrees), as of a gantry tilt or a "
            "sheared image; convert an untilted series"
        )
    turned = sitk.DICOMOrient(image, "LPS")
    if min(turned.GetSize()[:2]) < 2:
        raise ImageError("the CT file is one voxel wide in an axial slice; convert the original axial series")
    up = turned.GetDirection()[8]
    if abs(up - 1) > AXIAL_TOLERANCE:
        degrees = float(np.degrees(np.arccos(min(1.0, up))))
        raise ImageError(f"the CT file is not axial: its slices are turned by {degrees:.1f} degrees; "
                         "convert the original axial series")  # fmt: skip
    return turned
