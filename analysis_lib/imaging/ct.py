"""CT series from DICOM folders, or from one NIfTI or NRRD file, as HU on a regular grid.

A series is read rightly or refused with the reason; nothing is guessed. Headers are read first, pixels
only for the slices that are asked for, because the indices need one slice of a series and decoding is
what costs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from analysis_lib.imaging.geometry import Geometry, ImageError

AIR_HU = -1024  # the darkest value CT scanners store for air; padding below it carries no attenuation
POSITION_TOLERANCE_MM = 0.02  # rounding of decimal strings in headers; a true gap is a slice, not this
AXIAL_TOLERANCE = 1e-3
_FASTEST = dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls")  # a quarter of pylibjpeg's time, same pixels
HEADER_ERRORS = (InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True)
class CtSeries:
    """A CT whose grid is known and whose pixels are decoded on request."""

    geometry: Geometry
    series_uid: str
    files: tuple[Path, ...]  # one a slice, caudal to cranial; a single file for NIfTI and NRRD
    sop_uids: tuple[str, ...] = ()

    def hounsfield(self, slices: list[int] | None = None) -> np.ndarray:
        """HU of the given slices (all without), array (slice, row, column), int16 where HU are whole."""
        if not self.sop_uids:
            volume = sitk.GetArrayFromImage(_read_volume(self.files[0]))
            return volume if slices is None else volume[slices]
        wanted = range(len(self.files)) if slices is None else slices
        return np.stack([_slice_hounsfield(self.files[k], k) for k in wanted])

    def image(self) -> sitk.Image:
        """The whole series as a SimpleITK image."""
        return self.geometry.image_of(self.hounsfield())


def read_ct(path: Path, covering: np.ndarray | None = None) -> CtSeries:
    """Find the CT series in a DICOM folder, or open one NIfTI or NRRD file.

    Parameters
    ----------
    path : folder (searched with its sub-folders) or file.
    covering : LPS points (n, 3) in mm that the series must contain, as of the mask; of several axial
        series the one with the most slices that contains them is taken.

    Raises ImageError where there is no usable series, naming the reason of the last one refused.
    """
    path = Path(path)
    if path.is_file() and path.name.lower().endswith((".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha")):
        image = _read_volume(path)
        return CtSeries(Geometry.of(image), "", (path,))
    if not path.exists():
        raise ImageError(f"CT '{path.name}' does not exist; put the patient's DICOM files there")
    series, unreadable = _headers_by_series(path)
    if not series:
        count = f" ({unreadable} files could not be read as DICOM)" if unreadable else ""
        raise ImageError(f"no CT slices in '{path.name}'{count}; export the series from the PACS again")
    refusals: list[str] = []
    usable: list[CtSeries] = []
    for uid in sorted(series):
        try:
            usable.append(_assemble(uid, series[uid]))
        except ImageError as error:
            refusals.append(str(error))
    if not usable:
        raise ImageError("; ".join(refusals))
    if unreadable and len(usable) == 1 and not refusals:
        # A damaged slice at the end of a series leaves no gap to notice, so it is refused here.
        raise ImageError(f"{unreadable} file(s) in the CT folder are damaged or no DICOM; export the series again")
    if covering is not None:
        covered = [s for s in usable if _contains(s.geometry, covering)]
        if not covered:
            grids = " | ".join(s.geometry.describe() for s in usable)
            low, high = covering.min(axis=0), covering.max(axis=0)
            raise ImageError(
                f"no CT series contains the mask, which spans {low.round(1).tolist()} to "
                f"{high.round(1).tolist()} mm; CT: {grids}. Export the segmentation again with the CT as reference"
            )
        usable = covered
    return max(usable, key=lambda s: (s.geometry.size[2], s.series_uid))


def _read_volume(path: Path) -> sitk.Image:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(f"'{path.name}' cannot be read as an image: {str(error).splitlines()[-1]}") from None
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError(f"'{path.name}' is not a 3-D image of one channel; export the CT as a single volume")
    return image


def _headers_by_series(folder: Path) -> tuple[dict[str, list[pydicom.Dataset]], int]:
    """Headers of the axial CT slices below ``folder`` by series, and how many files were no DICOM."""
    series: dict[str, list[pydicom.Dataset]] = defaultdict(list)
    unreadable = 0
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    for file in files:
        if file.name.startswith(".") or file.name.upper() == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except HEADER_ERRORS:
            unreadable += 1
            continue
        kind = [str(part).upper() for part in header.get("ImageType", [])]
        if header.get("Modality") == "CT" and "LOCALIZER" not in kind:
            header.filename = str(file)
            series[str(header.get("SeriesInstanceUID", ""))].append(header)
    return series, unreadable


def _assemble(uid: str, headers: list[pydicom.Dataset]) -> CtSeries:
    """Sort slices along their normal and check that they form a regular axial grid."""
    missing = {
        name
        for header in headers
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
        if header.get(name) is None
    }
    if missing:
        raise ImageError(f"CT headers lack {', '.join(sorted(missing))}; export the original series")
    first = headers[0]
    try:
        orientation = np.array(first.ImageOrientationPatient, dtype=float)
        row_mm, column_mm = (float(v) for v in first.PixelSpacing)
        positions = np.array([h.ImagePositionPatient for h in headers], dtype=float)
    except (ValueError, TypeError):
        raise ImageError("CT headers hold a position or spacing that is no number") from None
    if not (np.isfinite(orientation).all() and np.isfinite(positions).all() and row_mm > 0 and column_mm > 0):
        raise ImageError(f"pixel spacing {row_mm:g} x {column_mm:g} mm or a slice position is not a valid number")
    for header in headers:
        same = (header.Rows, header.Columns) == (first.Rows, first.Columns)
        same = same and np.allclose(np.array(header.PixelSpacing, dtype=float), [row_mm, column_mm], atol=1e-6)
        same = same and np.allclose(np.array(header.ImageOrientationPatient, dtype=float), orientation, atol=1e-4)
        if not same:
            raise ImageError("slices of one series differ in size, spacing or orientation; export one series")
    along_row, along_column = orientation[:3], orientation[3:]
    normal = np.cross(along_row, along_column)
    if abs(abs(normal[2]) - 1) > AXIAL_TOLERANCE:
        raise ImageError("the series is not axial (or was taken with gantry tilt); an untilted axial series is needed")
    if normal[2] < 0:
        raise ImageError("the series is mirrored (its slice normal points to the feet); export the original series")
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    steps = np.diff(depth[order])
    if len(headers) < 2:
        raise ImageError("the series has a single slice; at least two are needed to know the slice spacing")
    if (steps < POSITION_TOLERANCE_MM).any():
        raise ImageError(
            f"{int((steps < POSITION_TOLERANCE_MM).sum())} slice position(s) occur twice; remove duplicates"
        )
    step = float(np.median(steps))
    if np.abs(steps - step).max() > POSITION_TOLERANCE_MM:
        at = int(np.abs(steps - step).argmax())
        raise ImageError(
            f"slices are {step:.3f} mm apart but {steps[at]:.3f} mm at z = {depth[order][at]:.1f} mm: "
            "a slice is missing or the spacing changes; export the whole series"
        )
    drift = positions[order] - positions[order[0]] - np.outer(depth[order] - depth[order[0]], normal)
    if np.abs(drift).max() > POSITION_TOLERANCE_MM * len(headers):
        raise ImageError("slices are shifted against each other (gantry tilt); an untilted series is needed")
    geometry = Geometry(
        size=(int(first.Columns), int(first.Rows), len(headers)),
        origin=tuple(positions[order[0]]),
        spacing=(column_mm, row_mm, (depth[order[-1]] - depth[order[0]]) / (len(headers) - 1)),
        direction=tuple(np.column_stack([along_row, along_column, normal]).ravel()),
    )
    return CtSeries(
        geometry,
        uid,
        tuple(Path(headers[k].filename) for k in order),
        tuple(str(headers[k].get("SOPInstanceUID", "?")) for k in order),
    )


def _slice_hounsfield(file: Path, k: int) -> np.ndarray:
    try:
        dataset = pydicom.dcmread(file)
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        stored = pixel_array(dataset, decoding_plugin=_FASTEST.get(dataset.file_meta.TransferSyntaxUID, ""))
    except AttributeError as error:
        raise ImageError(f"CT slice {k} has no pixels or no rescale slope: {error}; export it again") from None
    except (
        InvalidDicomError,
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        NotImplementedError,
    ):
        raise ImageError(f"pixels of CT slice {k} cannot be decoded (file damaged?); export the series again") from None
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ImageError(f"CT slice {k} has rescale slope {slope:g}; HU cannot be computed")
    if stored.ndim != 2:
        raise ImageError(f"CT slice {k} is not a single grey frame; export a plain axial series")
    hounsfield = stored * slope + intercept
    hounsfield = np.maximum(hounsfield, AIR_HU)  # padding such as -3024 becomes air
    if slope.is_integer() and intercept.is_integer():
        return np.minimum(hounsfield, np.iinfo(np.int16).max).astype(np.int16)
    return hounsfield.astype(np.float32)


def _contains(geometry: Geometry, points: np.ndarray) -> bool:
    inverse = np.linalg.inv(geometry.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    return bool((index > -0.5).all() and (index < np.array(geometry.size) - 0.5).all())
