"""Headers of every DICOM file in a folder: which are CT slices, of which series, and what lies beside them."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import uid

from analysis_lib.ct.contrast import phase_of_header
from analysis_lib.ct.data_paths import files_below
from analysis_lib.ct.dicom_complete import pixels_are
from analysis_lib.ct.dicom_identity import IDENTITY_TAGS, carries_identity
from analysis_lib.ct.dicom_multiframe import frame_getters
from analysis_lib.ct.dicom_stream import BARE, LARGEST_SIDE

MULTI_FRAME = {uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage}
CT_CLASSES = {uid.CTImageStorage, *MULTI_FRAME}
# What tells apart volumes that lie at the same positions; read in this order.
SPLIT_BY = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "StackID",
    "NominalPercentageOfCardiacPhase",
    "KVP",
    "ConvolutionKernel",
)
SCOUT = {"LOCALIZER", "SCOUT"}
PROJECTION = {"MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM INTENSITY", "PROJECTION IMAGE", "VOLUME RENDERING"}
# Of dual-energy and photon-counting CT: maps whose values are a concentration, an atomic number or a density.
OTHER_QUANTITY = re.compile(r"IODINE|Z_?EFF|EFF(ECTIVE)?_?Z|RHO_?Z|ELECTRON|URIC_?ACID|CALCIUM_MAP|FAT_MAP")
OTHER_FILES = "other files"  # no DICOM
DICOM_SUFFIXES = {".dcm", ".dicom", ".dic", ".ima", ".img"}
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "ImageType",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows", "Columns",
    "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "GantryDetectorTilt",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "LossyImageCompression", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "PatientIdentityRemoved", "SeriesDescription", "ContrastBolusAgent",
    *SPLIT_BY, *IDENTITY_TAGS,
]  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """One CT slice as its header describes it; pixels stay in the file."""

    file: Path
    place: str  # how a message names the file: its name may be a patient's
    frame: int | None  # within a multi-frame file, from 0
    sop_uid: str
    series_number: str
    shape: tuple[int, int] = (0, 0)  # rows, columns
    position_mm: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    spacing_mm: tuple[float, ...] = ()  # between rows, between columns
    thickness_mm: float | None = None  # counts only where a slice has no neighbour
    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[int, int] | None = None  # lowest and highest stored value that is no image
    tilt_degrees: float = 0.0
    lossy: bool = False
    cut_short: bool = False  # the file ends before its pixels do
    splits: dict[str, str] = field(default_factory=dict)
    phase: str = "unknown"  # of contrast medium
    fault: str = ""  # why the slice cannot be used


@dataclass
class Scan:
    """What a folder holds."""

    series: dict[str, list[Slice]]
    passed_over: Counter  # files that are no CT slices, by kind
    damaged: list[Path]
    identity: bool  # a header names or traces a person
    packed: bool = False  # there are archives, which are not opened

    def describe_rest(self) -> str:
        """Counts of the files that are no CT slices, for an error message."""
        parts = [f"{n} {kind}" for kind, n in sorted(self.passed_over.items())]
        if self.damaged:
            parts.append(f"{len(self.damaged)} files could not be read as DICOM")
        return f" ({', '.join(parts)})" if parts else ""


def scan_folder(folder: Path) -> Scan:
    """Read the headers of all files below ``folder`` (or of one file)."""
    files = [folder] if folder.is_file() else files_below(folder)
    scan = Scan(defaultdict(list), Counter(), [], False)
    for number, file in enumerate(files, start=1):
        if file.name.upper() == "DICOMDIR":
            continue
        read = _read_header(file)
        if read is None:
            scan.packed |= _is_packed(file)
            if _should_be_dicom(file):
                scan.damaged.append(file)
            else:
                scan.passed_over[OTHER_FILES] += 1
            continue
        header, pixels = read
        place = f"file {number} of {len(files)} in the CT folder, sorted by name"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as below
                identity, kind = carries_identity(header), _other_kind(header)
                slices = [] if kind else [_with_pixels(one, pixels) for one in _slices(header, file, place)]
                uid_text = str(header.get("SeriesInstanceUID") or "")
        except MemoryError:
            raise
        except Exception:  # pydicom converts values when they are looked at, and a damaged one may raise anything
            scan.damaged.append(file)
            continue
        scan.identity |= identity
        if kind:
            scan.passed_over[kind] += 1
        if slices:
            scan.series[uid_text].extend(slices)
    return scan


def _read_header(file: Path) -> tuple[pydicom.Dataset, str] | None:
    """Header of a DICOM file and how its pixels are, see ``pixels_are``; None where it is no DICOM, or damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd headers are judged below; pydicom's warnings quote them
        try:
            with file.open("rb") as stream:
                # Old archives write no preamble: such a file starts with an element of group 0002 or 0008.
                bare = stream.read(2) in BARE
                stream.seek(0)
                header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_TAGS, force=bare)
                if bare and not (header.get("Modality") or header.get("SOPClassUID")):
                    return None
                return header, "" if _other_kind(header) else pixels_are(stream, header)
        except MemoryError:
            raise
        except Exception:  # whatever a damaged stream makes the parser raise
            return None


def _with_pixels(one: Slice, pixels: str) -> Slice:
    if pixels == "long" and not one.fault:
        return replace(
            one,
            fault="slices hold more bytes than their rows and columns say, so that no pixel's place is sure; export "
            "the series again",
        )
    return replace(one, cut_short=pixels == "short")


def _should_be_dicom(file: Path) -> bool:
    """Whether a file that cannot be read is a lost slice rather than a letter or a viewer beside the images."""
    try:
        with file.open("rb") as stream:
            start = stream.read(512)
    except OSError:
        return True
    if file.suffix.lower() in DICOM_SUFFIXES or not start or start[128:132] == b"DICM":
        return True
    nameless = not file.suffix or file.suffix[1:].isdigit()
    return nameless and b"\0" in start


def _is_packed(file: Path) -> bool:
    if file.name.lower().endswith((".nii.gz", ".nrrd.gz")):
        return False  # a volume in its usual wrapping, no archive of DICOM
    try:
        with file.open("rb") as stream:
            return stream.read(4).startswith((b"PK\3\4", b"\x1f\x8b"))
    except OSError:
        return False


def _other_kind(header: pydicom.Dataset) -> str:
    """What a file is that is no CT slice, in words; empty for a CT slice."""
    sop_class, modality = str(header.get("SOPClassUID") or ""), str(header.get("Modality") or "")
    if modality not in ("CT", ""):
        return "files of another modality"
    if sop_class not in CT_CLASSES and (sop_class or modality != "CT"):
        return "secondary captures, reports or other objects"
    value = header.get("ImageType") or []
    kind = {part.strip().upper() for part in ([value] if isinstance(value, str) else map(str, value))}
    if kind & SCOUT:
        return "scouts"
    if kind & PROJECTION:
        return "projections (MIP and the like)"
    if OTHER_QUANTITY.search(" ".join(kind)):
        return "maps of a dual-energy CT that are no HU"
    return "colour images" if header.get("SamplesPerPixel", 1) != 1 else ""


def _slices(header: pydicom.Dataset, file: Path, place: str) -> list[Slice]:
    if header.get("SOPClassUID") in MULTI_FRAME:
        getters = frame_getters(header)
        if not getters:
            return [_slice(header.get, header, file, place, None, "the multi-frame CT does not describe its frames")]
        frames = [
            _slice(get, header, file, f"frame {k + 1} of {place}", k)
            for k, get in enumerate(getters)
            if not SCOUT & {str(part).upper() for part in get("FrameType") or []}
        ]
        return frames
    fault = "a file of single-frame CT holds several frames; export the series as single slices"
    return [_slice(header.get, header, file, place, None, fault * (int(header.get("NumberOfFrames") or 1) > 1))]


def _slice(
    get: Callable[[str], Any], header: pydicom.Dataset, file: Path, place: str, frame: int | None, fault: str = ""
) -> Slice:
    sop_uid = str(header.get("SOPInstanceUID") or "?") + ("" if frame is None else f"#{frame + 1}")
    bare = Slice(file, place, frame, sop_uid, str(header.get("SeriesNumber") or ""), fault=fault)
    if fault:
        return bare
    lacks = [name for name in ("SeriesInstanceUID", "Rows", "Columns") if not header.get(name)]
    lacks += [n for n in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing") if get(n) is None]
    if lacks:
        fault = f"CT headers lack {', '.join(sorted(lacks))}; export the original series"
        return replace(bare, fault=fault)
    if get("RescaleSlope") is None or get("RescaleIntercept") is None:
        fault = "CT slices have no rescale slope or intercept, so HU are not known; export the original series"
        return replace(bare, fault=fault)
    try:
        position, orientation = _numbers(get("ImagePositionPatient"), 3), _numbers(get("ImageOrientationPatient"), 6)
        spacing = _numbers(get("PixelSpacing"), 2)
        (slope,), (intercept,) = _numbers(get("RescaleSlope"), 1), _numbers(get("RescaleIntercept"), 1)
        tilt = float(get("GantryDetectorTilt") or 0)
    except (ValueError, TypeError):
        fault = "CT headers hold a position, spacing or rescale value that is no number; export the series again"
        return replace(bare, fault=fault)
    return replace(
        bare,
        shape=(int(header.Rows), int(header.Columns)),
        position_mm=position,
        orientation=orientation,
        spacing_mm=spacing,
        thickness_mm=_thickness(get("SliceThickness")),
        slope=slope,
        intercept=intercept,
        padding=_padding(header),
        tilt_degrees=tilt,
        lossy=str(header.get("LossyImageCompression") or "") == "01",
        splits={name: str(get(name)) for name in SPLIT_BY if get(name) is not None},
        phase=phase_of_header(str(header.get("SeriesDescription") or ""), str(header.get("ContrastBolusAgent") or "")),
        fault=_header_fault(header, get, slope, intercept, spacing, (*position, *orientation, tilt)),
    )


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    values = tuple(float(v) for v in np.atleast_1d(np.asarray(value, dtype=object)))
    if len(values) != count:
        raise ValueError("another number of values")
    return values


def _thickness(value: Any) -> float | None:
    try:
        (thickness,) = _numbers(value, 1)
    except (ValueError, TypeError):
        return None
    return thickness if np.isfinite(thickness) and thickness > 0 else None


def _header_fault(header, get, slope: float, intercept: float, spacing, others) -> str:
    if not np.isfinite([*spacing, *others]).all() or min(spacing) <= 0:
        return (
            f"pixel spacing {spacing[0]:g} x {spacing[1]:g} mm or a slice position is not a valid number; "
            "export the series again"
        )
    if not np.isfinite([slope, intercept]).all() or slope <= 0:
        return f"rescale slope {slope:g} and intercept {intercept:g} give no HU; export the original series"
    if str(get("RescaleType") or "HU").strip().upper() not in ("HU", "HU_MOD", "US"):
        return "the values are no HU (their rescale type is another, as of a dual-energy map); export the plain CT"
    if header.get("ModalityLUTSequence"):
        return "HU are given by a table (modality LUT), which is not read; export the original series"
    if max(int(header.Rows), int(header.Columns)) > LARGEST_SIDE:
        return (
            f"the header declares {header.Rows} rows and {header.Columns} columns, which no CT has; export the series "
            "again"
        )
    bits, high = int(header.get("BitsStored") or 16), header.get("HighBit")
    if bits <= 8:
        return f"slices have {bits} bits, as screenshots do; HU need 12 or 16: export the original series"
    if high is not None and int(high) != bits - 1:
        return "the header's HighBit does not fit its BitsStored; export the series again"
    return ""


def _padding(header: pydicom.Dataset) -> tuple[int, int] | None:
    """Stored values that are no image, lowest and highest, or None."""
    ends = []
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = header.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bytes):  # implicit VR leaves open whether it is signed
            value = int.from_bytes(value[:2], "little")
        # Many writers store a negative value under the unsigned VR.
        value = int(value)
        ends.append(value - 65536 if header.get("PixelRepresentation") == 1 and value > 32767 else value)
    return (min(ends), max(ends)) if ends else None
