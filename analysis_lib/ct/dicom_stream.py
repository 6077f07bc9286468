"""DICOM files that are packed, or lack the preamble, and the limits within which any is believed."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pydicom

from analysis_lib.ct.geometry import ImageError

LARGEST_SIDE = 8192  # rows or columns; CT has up to 2048
LARGEST_UNPACKED = 1 << 31  # bytes of a DICOM file within gzip
LONGEST_FIRST = 1024  # bytes of the first element, such as an image type
BARE = (b"\x02\x00", b"\x08\x00")  # first bytes of a file without preamble: an element of group 0002 or 0008


def starts_as_dicom(start: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM, with its preamble or, from old archives, without."""
    if start[128:132] == b"DICM":
        return True
    if start[:2] not in BARE or len(start) < 8 or start[3] != 0:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()  # the value representation, else a length that is short
    return explicit or int.from_bytes(start[4:8], "little") <= LONGEST_FIRST


def read_dicom(path: Path, **options: Any) -> pydicom.Dataset:
    """Dataset of a file, unpacked if it is gzip; ``options`` of pydicom.dcmread. Raises what pydicom raises."""
    with path.open("rb") as stream:
        start = stream.read(2)
    if start != b"\x1f\x8b":
        return pydicom.dcmread(path, force=start in BARE, **options)
    try:
        with gzip.open(path) as stream:
            content = stream.read(LARGEST_UNPACKED)
    except (OSError, EOFError, zlib.error):
        raise ImageError("the mask file is damaged or cut short; save it again") from None
    if len(content) >= LARGEST_UNPACKED:
        raise ImageError("the packed DICOM file unpacks to more than 2 GB; unpack it and give the part that is needed")
    return pydicom.dcmread(io.BytesIO(content), force=content[:2] in BARE, **options)


def declared_shape(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream declares, by which its decoder takes memory.

    None where it is another stream, or does not say. ISO/IEC 15444-1, A.5.1 and 10918-1, B.2.2.
    """
    size = stream.find(b"\xff\x4f\xff\x51", 0, 1024)
    if size >= 0 and len(stream) >= size + 24:
        right, bottom, left, top = struct.unpack(">4I", stream[size + 8 : size + 24])
        return bottom - top, right - left
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack(">2H", stream[at + 5 : at + 9])
            return (rows, columns) if rows else None
        at += 2 + struct.unpack(">H", stream[at + 2 : at + 4])[0]
    return None
