"""Pixels of one CT slice as HU."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from analysis_lib.ct.dicom_headers import Slice
from analysis_lib.ct.dicom_stream import declared_shape
from analysis_lib.ct.geometry import ImageError

AIR_HU = -1024  # the darkest value CT scanners store for air; what lies below is padding
_FASTEST = dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "pyjpegls")  # a quarter of pylibjpeg's time, same pixels
DECLARE_SIZE = {*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes}
HIGHEST_HU = np.iinfo(np.int16).max  # beyond the extended scale of metal, 30710
LONGER_RLE = re.compile(r"RLE segment contains non-conformant padding - (\d+) vs. (\d+) bytes")
TISSUE_HU = -900  # padding that reads as more than this cannot be told from tissue


def stored_values(one: Slice) -> np.ndarray:
    """Stored values (row, column) of a slice, before rescaling.

    Raises ImageError where the pixels are missing, truncated, or of another form than the header says.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if one.frame is not None:
                _refuse_other_size(_frame_of(one), one)
                stored = pixel_array(one.file, index=one.frame)
            else:
                header = pydicom.dcmread(one.file, force=True)
                if "PixelData" not in header:
                    raise ImageError(f"a CT slice has no pixels or is cut short ({one.place}); export the series again")
                if "TransferSyntaxUID" not in header.file_meta:  # a file without preamble
                    implicit, _ = header.original_encoding
                    header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
                if header.file_meta.TransferSyntaxUID in DECLARE_SIZE:
                    _refuse_other_size(get_frame(header.PixelData, 0, number_of_frames=1), one)
                stored = pixel_array(header, decoding_plugin=_FASTEST.get(header.file_meta.TransferSyntaxUID, ""))
            if any(int(n) > int(m) + 2 for n, m in LONGER_RLE.findall(" ".join(str(w.message) for w in said))):
                raise ValueError("a changed length of a run moves all pixels behind it; writers pad by less")
        except (ImageError, MemoryError):
            raise
        except Exception:  # each decoder raises its own errors, down to zlib's; their texts may quote the header
            raise ImageError(
                f"pixels of a CT slice cannot be decoded ({one.place}): it is damaged, cut short or not in the "
                "transfer syntax that it names; export the series again"
            ) from None
    if stored.shape != one.shape:
        raise ImageError(f"a CT slice is not a single grey image ({one.place}); export a plain axial series")
    return stored


def _frame_of(one: Slice) -> bytes:
    """The packed frame of a multi-frame file; empty where it is packed in no way that declares a size."""
    with one.file.open("rb") as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["NumberOfFrames"])
        if header.file_meta.get("TransferSyntaxUID") not in DECLARE_SIZE:
            return b""
        stream.seek(12, 1)  # tag, VR and length of the element, of explicit VR as all packed files are
        return get_frame(stream, one.frame or 0, number_of_frames=int(header.NumberOfFrames))


def _refuse_other_size(packed: bytes, one: Slice) -> None:
    """Before a decoder takes memory for what a stream of a few kB declares."""
    if (declared := declared_shape(packed)) and declared != one.shape:
        raise ImageError(
            f"the packed pixels of a CT slice declare {declared[0]} rows and {declared[1]} columns, its header "
            f"{one.shape[0]} and {one.shape[1]} ({one.place}); export the series again"
        )


def hounsfield(one: Slice) -> np.ndarray:
    """HU (row, column) of a slice: int16 where slope and intercept are whole numbers, else float32.

    Padding (declared in the header, or any value below AIR_HU) becomes air, so that statistics and filters
    meet no value that no tissue has.
    """
    stored = stored_values(one)
    values = stored * one.slope + one.intercept
    if one.padding is not None:
        padded = (stored >= one.padding[0]) & (stored <= one.padding[1])
        if padded.any():
            highest = float(values[padded].max())
            if highest > TISSUE_HU:
                raise ImageError(
                    f"the header declares {highest:g} HU to be padding, which tissue can have too ({one.place}); "
                    "export the series again from the PACS"
                )
            values[padded] = AIR_HU
    values = np.maximum(values, AIR_HU)
    if (highest := float(values.max())) > HIGHEST_HU:
        raise ImageError(
            f"a CT slice holds {highest:.0f} HU, which no CT has: negative values are stored and the header calls them "
            f"unsigned, or they are no HU ({one.place}); export the original series"
        )
    if float(one.slope).is_integer() and float(one.intercept).is_integer():
        return values.astype(np.int16)
    return values.astype(np.float32)
