"""Masks in DICOM Segmentation objects (SEG): every frame is placed by its own position (DICOM PS3.3, A.51 and A.86).

The distance of the slices is not asked for: Spacing Between Slices is optional, and wrong in many files, while the
positions of the frames are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from analysis_lib.ct.dicom_identity import carries_identity
from analysis_lib.ct.dicom_stream import LARGEST_SIDE, declared_shape, read_dicom
from analysis_lib.ct.geometry import Geometry, ImageError
from analysis_lib.ct.mask_segments import VoxelSegment

HALF = 0.5  # of full occupancy or probability: a voxel of a fractional segment belongs where it has at least half
SAME_DEPTH_MM = 0.01
AGAIN = "export the segmentation again with the CT as reference"


@dataclass(frozen=True)
class Frame:
    """The pixels of one segment on one slice."""

    affine: np.ndarray  # 4 x 4, from (column, row, 0) to LPS mm
    size: tuple[int, int]  # columns, rows
    pixels: np.ndarray  # (n, 2) of (column, row)


@dataclass(frozen=True)
class FrameSegment:
    """One segment as frames, each laid on the CT where its own position says."""

    name: str
    frames: tuple[Frame, ...]
    step_mm: float | None = None  # distance of the slices as the header has it, which may be wrong
    frame_of_reference_uid: str = ""
    series_uid: str = ""
    named_by_file: bool = False
    numbered: bool = False
    identity: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no frame holds a pixel."""
        return not any(len(frame.pixels) for frame in self.frames)

    def points(self) -> np.ndarray:
        """Pixel centres in LPS mm, array (n, 3)."""
        return np.vstack([_placed(frame) for frame in self.frames])

    @cached_property
    def grid(self) -> Geometry | None:
        """Grid of the frames, by which their series is found; None where positions and header do not tell."""
        first = self.frames[0]
        normal = first.affine[:3, 2]
        depths = np.array([frame.affine[:3, 3] @ normal for frame in self.frames])
        ordered = np.sort(depths)
        steps = np.diff(ordered[np.r_[True, np.diff(ordered) > SAME_DEPTH_MM]])
        step = self.step_mm
        if step is None or np.abs(steps / step - np.round(steps / step)).max(initial=0) * step > SAME_DEPTH_MM:
            if len(steps) == 0 or np.ptp(steps) > SAME_DEPTH_MM:
                return None
            step = float(steps.mean())
        affine = first.affine.copy()
        affine[:3, 2] = normal * step
        affine[:3, 3] = self.frames[int(depths.argmin())].affine[:3, 3]
        return Geometry.from_affine(affine, (*first.size, round(float(steps.sum()) / step) + 1))

    def on_grid(self, ct: Geometry) -> np.ndarray:
        """Mask (z, y, x) on the CT's grid; ImageError where a frame lies on none of its slices, see VoxelSegment."""
        mask = np.zeros(ct.size[::-1], dtype=bool)
        for frame in self.frames:
            if len(frame.pixels) == 0:
                continue
            values = np.zeros((*frame.size, 1), dtype=np.uint8)
            values[frame.pixels[:, 0], frame.pixels[:, 1], 0] = 1
            one = VoxelSegment(self.name, values, 1, Geometry.from_affine(frame.affine, values.shape))
            x, y, z = one.index_on(ct).T
            mask[z, y, x] = True
        return mask


def _placed(frame: Frame) -> np.ndarray:
    index = np.column_stack([frame.pixels, np.zeros(len(frame.pixels))])
    return index @ frame.affine[:3, :3].T + frame.affine[:3, 3]


def read(path: Path) -> list[FrameSegment]:
    """Segments of a SEG, named by label, else by property type; frames that are missing are empty.

    Raises ImageError where it is damaged or its frames do not say where they lie.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the header's style; what matters is checked here
            return _read(read_dicom(path))
    except (ImageError, MemoryError):
        raise
    except Exception:  # pydicom and the decoders raise many kinds for damaged objects
        raise ImageError(
            f"the DICOM SEG is damaged, or not written as the standard says: a part of it cannot be read; {AGAIN}"
        ) from None


def _read(seg: pydicom.Dataset) -> list[FrameSegment]:
    known: dict[str, Any] = {
        "identity": carries_identity(seg),
        "frame_of_reference_uid": str(seg.get("FrameOfReferenceUID") or ""),
        "series_uid": _drawn_on(seg),
        "step_mm": _step(seg),
    }
    names = {int(item.SegmentNumber): _name(item) for item in seg.get("SegmentSequence") or []}
    if not names:
        raise ImageError("the DICOM SEG holds no segments; draw them, or exclude the patient")
    places = _places(seg)
    found: dict[int, list[Frame]] = {number: [] for number in names}
    for (affine, numbers), values in zip(places, _frames(seg), strict=True):
        size = (values.shape[1], values.shape[0])
        for number in numbers or [int(v) for v in np.unique(values) if v]:
            if number in found:
                inside = values if numbers else values == number
                found[number].append(Frame(affine, size, np.argwhere(inside)[:, ::-1]))
    return [FrameSegment(name, tuple(found[number]), **known) for number, name in names.items()]


def _name(item: pydicom.Dataset) -> str:
    label = str(item.get("SegmentLabel") or "").strip()
    types = item.get("SegmentedPropertyTypeCodeSequence") or []
    return label or (str(types[0].get("CodeMeaning") or "").strip() if len(types) else "")


def _step(seg: pydicom.Dataset) -> float | None:
    for group in seg.get("SharedFunctionalGroupsSequence") or []:
        for measures in group.get("PixelMeasuresSequence") or []:
            step = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
            return float(step) if step and np.isfinite(float(step)) and float(step) > 0 else None
    return None


def _drawn_on(seg: pydicom.Dataset) -> str:
    referenced = {str(item.get("SeriesInstanceUID", "")) for item in seg.get("ReferencedSeriesSequence") or []}
    return referenced.pop() if len(referenced) == 1 else ""


def _places(seg: pydicom.Dataset) -> list[tuple[np.ndarray, list[int]]]:
    """Of each frame the matrix to LPS mm, and the segment that it shows (none where its values are the numbers)."""
    shared = (seg.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    per_frame = list(seg.get("PerFrameFunctionalGroupsSequence") or [])
    if len(per_frame) != int(seg.get("NumberOfFrames") or 1):
        raise ImageError(f"the DICOM SEG does not describe its frames; {AGAIN}")
    labelled = str(seg.get("SegmentationType") or "") == "LABELMAP"
    places = []
    for own in per_frame:

        def of(sequence: str, keyword: str, own: pydicom.Dataset = own) -> Any:
            for group in (own, shared):
                items = group.get(sequence) or []
                if len(items) and items[0].get(keyword) is not None:
                    return items[0].get(keyword)
            return None

        position = of("PlanePositionSequence", "ImagePositionPatient")
        orientation = of("PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = of("PixelMeasuresSequence", "PixelSpacing")
        number = of("SegmentIdentificationSequence", "ReferencedSegmentNumber")
        if position is None or orientation is None or spacing is None:
            raise ImageError(f"the DICOM SEG's frames do not say where they lie in patient space; {AGAIN}")
        if number is None and not labelled:
            raise ImageError(f"the DICOM SEG's frames do not say which segment they show; {AGAIN}")
        places.append((_affine(position, orientation, spacing), [] if labelled else [int(number)]))
    return places


def _affine(position: Any, orientation: Any, spacing: Any) -> np.ndarray:
    along_row, along_column = np.array(orientation, dtype=float).reshape(2, 3)
    rows_mm, columns_mm = (float(v) for v in spacing)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along_row * columns_mm, along_column * rows_mm
    affine[:3, 2] = np.cross(along_row, along_column)
    affine[:3, 3] = np.array(position, dtype=float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        raise ImageError(f"the DICOM SEG's frames form no grid in patient space: a position is no number; {AGAIN}")
    return affine


def _frames(seg: pydicom.Dataset) -> Iterator[np.ndarray]:
    """Frames (row, column): bool of a binary or fractional SEG, segment numbers of a label map."""
    rows, columns, count = int(seg.Rows), int(seg.Columns), int(seg.get("NumberOfFrames") or 1)
    kind, bits = str(seg.get("SegmentationType") or "BINARY"), int(seg.BitsAllocated)
    if not 0 < rows <= LARGEST_SIDE or not 0 < columns <= LARGEST_SIDE:
        raise ImageError(f"the DICOM SEG declares frames of {columns} x {rows} pixels, which no CT has; {AGAIN}")
    if "TransferSyntaxUID" not in seg.file_meta:
        implicit, _ = seg.original_encoding
        seg.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    packed = seg.file_meta.TransferSyntaxUID.is_encapsulated
    if not packed:
        expected = -(-rows * columns * count * bits // 8)
        if not expected <= len(seg.PixelData) <= expected + 1:
            raise ImageError(
                f"the DICOM SEG holds {len(seg.PixelData)} bytes of pixels where its header says {expected}; {AGAIN}"
            )
    if packed and bits == 1 and seg.file_meta.TransferSyntaxUID == RLELossless:
        raise ImageError(f"the DICOM SEG packs single bits with RLE, which the standard does not know; {AGAIN}")
    if kind != "FRACTIONAL":
        for k in range(count):
            values = _frame(seg, k, rows, columns, bits, packed)
            yield values if kind == "LABELMAP" else values > 0
        return
    # Some writers store 0 and 1 and leave the maximum at its usual 255.
    greatest = max(int(_frame(seg, k, rows, columns, bits, packed).max()) for k in range(count))
    least = HALF * int(seg.get("MaximumFractionalValue") or 255) if greatest > 1 else 1
    for k in range(count):
        yield _frame(seg, k, rows, columns, bits, packed) >= least


def _frame(seg: pydicom.Dataset, k: int, rows: int, columns: int, bits: int, packed: bool) -> np.ndarray:
    if packed:
        declared = declared_shape(get_frame(seg.PixelData, k, number_of_frames=int(seg.get("NumberOfFrames") or 1)))
        if declared and declared != (rows, columns):
            raise ImageError(f"the DICOM SEG's packed frames are of another size than its header says; {AGAIN}")
    if packed or bits != 1:
        return pixel_array(seg, index=k) if int(seg.get("NumberOfFrames") or 1) > 1 else pixel_array(seg)
    first = k * rows * columns
    last = first + rows * columns
    content = np.frombuffer(seg.PixelData, np.uint8)[first // 8 : -(-last // 8)]
    values = np.unpackbits(content, bitorder="little")
    return values[first % 8 : first % 8 + rows * columns].reshape(rows, columns)
