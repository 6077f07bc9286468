"""What the NIfTI reader mends in silence: a file cut short is filled with zeros, a spacing of zero becomes
1 mm, a NaN becomes 0 HU, of two positions one is taken. Each is found here, in the file itself, before the reader
sees it.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from analysis_lib.ct.geometry import ImageError

HEADER_BYTES = 348
SAME_PLACE = 0.5  # of a voxel: more than rounding of the quaternion moves the far corner
SPACING_TOLERANCE = 1e-3  # of the spacing: single precision and rounding of converters
_CHUNK = 1 << 22
OTHER_UNITS = {1: "metres", 3: "micrometres"}  # of the lowest three bits of xyzt_units; 2 is mm, 0 says nothing
SKEW_DEGREES = 0.5  # by which axes may miss a right angle, as of converters that add up rounding or a table's sag
EXACT_DEGREES = 1e-3
# The environment variable by which ITK reads axes that are not quite at right angles, as the nearest that are.
_PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"
# Offsets and types of NIfTI-1 (nifti1.h, Cox et al. 2004).
_FIELDS = np.dtype({
    "names": ["dim", "datatype", "bitpix", "pixdim", "vox_offset", "xyzt_units", "qform_code", "sform_code",
              "quaternion", "srow"],
    "formats": ["8i2", "i2", "i2", "8f4", "f4", "u1", "i2", "i2", "6f4", "(3,4)f4"],
    "offsets": [40, 70, 72, 76, 108, 123, 252, 254, 256, 280],
    "itemsize": HEADER_BYTES,
})  # fmt: skip
_FLOATS = {16: "f4", 64: "f8"}


def check_nifti(path: Path) -> bool:
    """Raise ImageError for a NIfTI-1 file that is cut short or too long, has no position, a wrong spacing, lengths that
    are not in mm, axes that are not at right angles, or NaN voxels.

    Returns whether the axes miss the right angle by so little that it does not count; see ``reading_axes``.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            return _check(stream)
    except (OSError, EOFError, zlib.error):
        raise ImageError("the CT file cannot be read as an image (damaged or cut short); convert it again") from None


_BYTE_ORDERS: dict[bytes, Literal["<", ">"]] = {
    HEADER_BYTES.to_bytes(4, "little"): "<",
    HEADER_BYTES.to_bytes(4, "big"): ">",
}


def _check(stream: io.BufferedIOBase) -> bool:
    start = stream.read(HEADER_BYTES)
    order = _BYTE_ORDERS.get(start[:4])
    if order is None or len(start) < HEADER_BYTES:
        raise ImageError("the CT file cannot be read as an image: it is no NIfTI-1 file; convert it again")
    header = np.frombuffer(start, _FIELDS.newbyteorder(order))[0]
    count = int(header["dim"][0])
    spacing = header["pixdim"][1:4].astype(float)
    if not 1 <= count <= 7 or (header["dim"][1 : count + 1] < 1).any():
        raise ImageError("the CT file cannot be read as an image: its header names no size; convert it again")
    if header["qform_code"] <= 0 and header["sform_code"] <= 0:
        raise ImageError("the CT file does not say where it lies in the patient; convert the CT again from DICOM")
    if unit := OTHER_UNITS.get(int(header["xyzt_units"]) & 7):
        raise ImageError(
            f"the CT file says that its lengths are in {unit}, while CT has mm: areas would be wrong by a million; "
            "convert the CT again from DICOM, or write mm into the header if the numbers are mm"
        )
    if not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise ImageError("the CT file has a spacing or position that is not a valid number; convert it again")
    known = [*header["srow"].ravel()] if header["sform_code"] > 0 else []
    known += [*header["quaternion"]] if header["qform_code"] > 0 else []
    if not np.isfinite([*known, header["vox_offset"]]).all() or not 0 <= header["vox_offset"] < 1 << 30:
        raise ImageError("the CT file has a spacing or position that is not a valid number; convert it again")
    scales = np.linalg.norm(header["srow"][:, :3].astype(float), axis=0)
    if header["sform_code"] > 0 and not np.allclose(scales, spacing, rtol=SPACING_TOLERANCE):
        raise ImageError("the CT file names two different spacings (pixdim and sform); convert the CT again from DICOM")
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        corners = np.array(list(np.ndindex(2, 2, 2))) * (header["dim"][1:4].astype(int) - 1)
        apart = np.linalg.norm(_at(header["srow"].astype(float), corners) - _at(_qform(header), corners), axis=1)
        if not apart.max() <= SAME_PLACE * spacing.min():
            raise ImageError(
                f"the CT file names two different positions (qform and sform, up to {apart.max():.1f} mm apart); "
                "convert the CT again from DICOM"
            )
    _check_voxels(stream, header, order)
    skew = skew_degrees(header["srow"][:, :3].astype(float)) if header["sform_code"] > 0 else 0.0
    if skew > SKEW_DEGREES:
        raise ImageError(
            f"the axes of the CT file are not at right angles (off by {skew:.1f} degrees), as of a gantry tilt or a "
            "sheared image; convert an untilted series"
        )
    return skew > EXACT_DEGREES


def skew_degrees(axes: np.ndarray) -> float:
    """By how much the columns of a matrix (3, 3) miss a right angle to each other."""
    unit = axes / np.linalg.norm(axes, axis=0)
    cosines = np.abs(unit.T @ unit - np.eye(3))
    return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))


@contextmanager
def reading_axes(skewed: bool) -> Iterator[None]:
    """Let ITK read a file whose axes ``check_nifti`` found not quite at right angles."""
    if not skewed:
        yield
        return
    before = os.environ.get(_PERMISSIVE)
    os.environ[_PERMISSIVE] = "1"
    try:
        yield
    finally:
        del os.environ[_PERMISSIVE]
        if before is not None:
            os.environ[_PERMISSIVE] = before


def _at(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    return index @ affine[:, :3].T + affine[:, 3]


def _qform(header: np.void) -> np.ndarray:
    """Matrix (3, 4) from voxel index to mm of the header's quaternion (nifti1.h, method 2)."""
    b, c, d, *offset = header["quaternion"].astype(float)
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    spacing = header["pixdim"][1:4].astype(float) * [1, 1, -1 if header["pixdim"][0] < 0 else 1]
    return np.column_stack([turn * spacing, offset])


def _check_voxels(stream, header: np.void, order: str) -> None:
    expected = int(np.prod(header["dim"][1 : int(header["dim"][0]) + 1], dtype=np.int64)) * int(header["bitpix"]) // 8
    stream.seek(int(header["vox_offset"]))
    kind = _FLOATS.get(int(header["datatype"]))
    found = 0
    while found <= expected and (chunk := stream.read(_CHUNK)):
        found += len(chunk)
        if kind and not np.isfinite(np.frombuffer(chunk[: len(chunk) // 8 * 8], order + kind)).all():
            raise ImageError("the CT file holds values that are no numbers (NaN or infinite); convert the CT again")
    if found < expected:
        raise ImageError("the CT file cannot be read as an image: it is cut short; convert it again")
    if found > expected:
        raise ImageError(
            "the CT file holds more bytes than its header says, so that no voxel's place is sure; convert it again"
        )
