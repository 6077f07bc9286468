"""What the NIfTI reader mends in silence: a file cut short is filled with zeros, a spacing of zero becomes
1 mm, a NaN becomes 0 HU. Each is found here, in the file itself, before the reader sees it."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from analysis_lib.imaging.geometry import ImageError

HEADER_BYTES = 348
SPACING_TOLERANCE = 1e-3  # of the spacing: single precision and rounding of converters
_CHUNK = 1 << 22
# Offsets and types of NIfTI-1 (nifti1.h, Cox et al. 2004).
_FIELDS = np.dtype(
    {
        "names": ["dim", "datatype", "bitpix", "pixdim", "vox_offset", "qform_code", "sform_code", "srow"],
        "formats": ["8i2", "i2", "i2", "8f4", "f4", "i2", "i2", "(3,4)f4"],
        "offsets": [40, 70, 72, 76, 108, 252, 254, 280],
        "itemsize": HEADER_BYTES,
    }
)
_FLOATS = {16: "f4", 64: "f8"}


def check_nifti(path: Path) -> None:
    """Raise ImageError for a NIfTI-1 file that is cut short, has no position, a wrong spacing or NaN voxels."""
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            _check(stream)
    except (OSError, EOFError, zlib.error):
        raise ImageError("the CT file cannot be read as an image (damaged or cut short); convert it again") from None


def _check(stream) -> None:
    start = stream.read(HEADER_BYTES)
    order = {HEADER_BYTES.to_bytes(4, "little"): "<", HEADER_BYTES.to_bytes(4, "big"): ">"}.get(start[:4])
    if order is None or len(start) < HEADER_BYTES:
        raise ImageError("the CT file cannot be read as an image: it is no NIfTI-1 file; convert it again")
    header = np.frombuffer(start, _FIELDS.newbyteorder(order))[0]
    count = int(header["dim"][0])
    spacing = header["pixdim"][1:4].astype(float)
    if not 1 <= count <= 7 or (header["dim"][1 : count + 1] < 1).any():
        raise ImageError("the CT file cannot be read as an image: its header names no size; convert it again")
    if header["qform_code"] <= 0 and header["sform_code"] <= 0:
        raise ImageError("the CT file does not say where it lies in the patient; convert the CT again from DICOM")
    if not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise ImageError("the CT file has a spacing or position that is not a valid number; convert it again")
    scales = np.linalg.norm(header["srow"][:, :3].astype(float), axis=0)
    if header["sform_code"] > 0 and not np.allclose(scales, spacing, rtol=SPACING_TOLERANCE):
        raise ImageError("the CT file names two different spacings (pixdim and sform); convert the CT again from DICOM")
    _check_voxels(stream, header, order)


def _check_voxels(stream, header: np.void, order: str) -> None:
    expected = int(np.prod(header["dim"][1 : int(header["dim"][0]) + 1], dtype=np.int64)) * int(header["bitpix"]) // 8
    stream.seek(int(header["vox_offset"]))
    kind = _FLOATS.get(int(header["datatype"]))
    found = 0
    while chunk := stream.read(_CHUNK):
        found += len(chunk)
        if kind and not np.isfinite(np.frombuffer(chunk[: len(chunk) // 8 * 8], order + kind)).all():
            raise ImageError("the CT file holds values that are no numbers (NaN or infinite); convert the CT again")
    if found < expected:
        raise ImageError("the CT file cannot be read as an image: it is cut short; convert it again")
