"""Whether the pixels of a DICOM file are as many as its header says, seen without reading them.

A transfer that broke off leaves a file whose header is whole. Its pixels are decoded only when they are needed, so that
the check of a study would not notice.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

PIXEL_DATA = (0x7FE0, 0x0010)
ITEM, END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
BLOCK = 512
UNDEFINED = 0xFFFFFFFF  # length of encapsulated pixels, which are a sequence of items (DICOM PS3.5, A.4)


def pixels_are(stream: BinaryIO, header: pydicom.Dataset) -> str:
    """'short' where the file of a grey image ends before its pixels do, or has none; 'long' where it has more than rows
    and columns say, or bytes behind them, so that no pixel's place is sure; else ''.

    ``stream`` stands where ``pydicom.dcmread(stream, stop_before_pixels=True)`` left it. '' where nobody can tell
    without decoding, as of a deflated file.
    """
    if header.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return ""
    implicit, little = header.original_encoding
    order = "<" if little else ">"
    start = stream.read(8 if implicit else 12)
    if len(start) < 8:
        return "short"
    if struct.unpack(order + "HH", start[:4]) != PIXEL_DATA:
        return ""
    size = os.fstat(stream.fileno()).st_size
    (length,) = struct.unpack(order + "I", start[-4:])
    if length == UNDEFINED:
        end = _items_end(stream, size)
        return "short" if end > size else _behind(stream, end, size, order, implicit)
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    bits = int(header.get("BitsAllocated") or 0)
    expected, begin = rows * columns * int(header.get("NumberOfFrames") or 1) * bits // 8, stream.tell()
    if size - begin < expected:
        return "short"
    # Less than a row or a column is padding at the end; more means that rows or columns are others.
    too_long = length - expected >= max(2, min(rows, columns) * bits // 8)
    return "long" if too_long else _behind(stream, begin + length, size, order, implicit)


def _items_end(stream: BinaryIO, size: int) -> int:
    """Where the last item that begins before ``size`` says that it ends, or the mark of the end behind it."""
    end, start = stream.tell(), b""
    while end < size and start[2:4] != b"\xdd\xe0":
        stream.seek(end)
        start = stream.read(8)
        if len(start) < 8 or struct.unpack("<HH", start[:4]) not in (ITEM, END):
            break
        end += 8 + struct.unpack("<I", start[4:])[0]
    return end


def _behind(stream: BinaryIO, end: int, size: int, order: str, implicit: bool | None) -> str:
    """'long' where what follows the pixels is neither an element nor zeros up to a full block, as on tapes."""
    stream.seek(end)
    rest = stream.read(size - end)
    if not rest or (not any(rest) and size % BLOCK == 0):
        return ""
    if len(rest) < 8 or struct.unpack(order + "HH", rest[:4]) < PIXEL_DATA:
        return "long"
    length = struct.unpack(order + "I", rest[4:8])[0]
    fits = (length == UNDEFINED or length < len(rest)) if implicit else rest[4:6].isupper()
    return "" if fits else "long"
