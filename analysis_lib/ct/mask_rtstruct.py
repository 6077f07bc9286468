"""Masks in DICOM RT Structure Sets: contours in mm, filled on the CT's grid.

A pixel belongs to a contour when its centre lies inside or on the line. Contours that lie inside another are holes
(even-odd rule), which holds for holes drawn as contours of their own and as keyholes alike. Pixels on a hole's line
belong to the region: tools that make contours of a label map (OpenCV's findContours, and so rt-utils and
TotalSegmentator) run them through the centres of the region's border pixels, at outlines and holes alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from skimage.measure import grid_points_in_poly

from analysis_lib.ct.dicom_identity import carries_identity
from analysis_lib.ct.dicom_stream import read_dicom
from analysis_lib.ct.geometry import Geometry, ImageError

PLANE_TOLERANCE = 0.1  # of the slice spacing: contours further from a slice were drawn on another series
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Centres and edges of pixels lie at multiples of a half. Contours that run along them were rounded when they were
# written, and each pixel on them would count or not by that rounding. Both limits in pixels.
LATTICE = 2
WRITTEN_ROUNDED = 0.01  # of a contour whose points all lie on the lattice, as of decimals cut after 0.01 mm
ROUNDING = 1e-4  # of a coordinate alone


@dataclass(frozen=True)
class ContourSegment:
    """One region of interest as planar contours, each an array (n, 3) of LPS points in mm."""

    name: str
    contours: tuple[np.ndarray, ...]
    kinds: tuple[str, ...]
    frame_of_reference_uid: str = ""
    series_uid: str = ""
    grid: Geometry | None = None
    named_by_file: bool = False
    numbered: bool = False
    identity: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no contour."""
        return not self.contours

    def points(self) -> np.ndarray:
        """Points of all contours that enclose an area in LPS mm, array (n, 3)."""
        return np.vstack([c for c in self.contours if len(c) > 2] or self.contours)

    def on_grid(self, ct: Geometry) -> np.ndarray:
        """Mask (z, y, x) on the CT's grid.

        Raises ImageError for open contours, contours off the CT's slices, oblique to them, or crossing.
        """
        # A contour of one or two points encloses nothing, whatever it is called; it is left out beside others.
        counting = [k for k, c in zip(self.kinds, self.contours, strict=True) if len(c) > 2] or self.kinds
        open_ones = [kind for kind in counting if kind not in CLOSED]
        if open_ones:
            raise ImageError(f"region '{self.name[:40]}' has {len(open_ones)} open contours or points; close them")
        to_index = np.linalg.inv(ct.affine)
        by_slice: dict[int, list[np.ndarray]] = {}
        for contour in self.contours:
            index = contour @ to_index[:3, :3].T + to_index[:3, 3]
            k = int(np.round(index[:, 2].mean()))
            if len(contour) < 3 and not (0 <= k < ct.size[2] and np.abs(index[:, 2] - k).max() <= PLANE_TOLERANCE):
                continue
            if np.abs(index[:, 2] - k).max() > PLANE_TOLERANCE:
                raise self._off_slice(index, ct)
            if not 0 <= k < ct.size[2]:
                raise ImageError(
                    f"region '{self.name[:40]}' has contours outside the CT; CT: {ct.describe()}. "
                    "Export the structure set with the CT that it was drawn on"
                )
            by_slice.setdefault(k, []).append(index[:, :2])
        mask = np.zeros(ct.size[::-1], dtype=bool)
        for k, outlines in by_slice.items():
            mask[k] = self._filled(outlines, ct)
        return mask

    def _filled(self, outlines: list[np.ndarray], ct: Geometry) -> np.ndarray:
        """Even-odd fill of one slice, largest contour first, with the pixels on the lines."""
        shape = (ct.size[1], ct.size[0])
        outlines = _snapped(outlines)
        parts = [(*_fill(outline, shape), _turn(outline)) for outline in outlines if _encloses_area(outline)]
        parts.sort(key=lambda part: -int((part[1] > 0).sum()))
        filled, lines = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        seen: set[tuple] = set()
        for box, found, turn in parts:
            closed, line = found > 0, found > 1
            # The same contour twice is one contour, not a hole as large as the region. Through the pixels' centres it
            # is such a hole where it runs the other way: the inside of a wall of one pixel.
            key = (str(box), closed.tobytes(), turn if line.any() else None)
            if key in seen:
                continue
            seen.add(key)
            within = closed & ~line
            inside = int((within & filled[box]).sum())
            if 0 < inside < int(within.sum()):
                raise ImageError(f"region '{self.name[:40]}' has contours that cross on one slice; merge them")
            filled[box] ^= within
            lines[box] |= line
        return filled | lines | _thin_parts(outlines, shape)

    def _off_slice(self, index: np.ndarray, ct: Geometry) -> ImageError:
        spread = float(np.ptp(index[:, 2])) * ct.spacing[2]
        if spread > PLANE_TOLERANCE * ct.spacing[2]:
            return ImageError(
                f"region '{self.name[:40]}' has contours oblique to the CT's slices (by {spread:.1f} mm); "
                "draw it on axial slices"
            )
        off = abs(index[0, 2] - np.round(index[0, 2])) * ct.spacing[2]
        return ImageError(
            f"region '{self.name[:40]}' has contours {off:.1f} mm off the nearest CT slice; CT: {ct.describe()}. "
            "Export the structure set with the CT that it was drawn on"
        )


def _snapped(outlines: list[np.ndarray]) -> list[np.ndarray]:
    """Outlines of (x, y) indices without the rounding of their decimals, where they run along the pixels' lattice."""
    snapped = []
    for outline in outlines:
        nearest = np.round(outline * LATTICE) / LATTICE
        off = np.abs(outline - nearest)
        snapped.append(np.where((off <= ROUNDING) | (off.max() <= WRITTEN_ROUNDED), nearest, outline))
    return snapped


def _encloses_area(outline: np.ndarray) -> bool:
    """Whether the points of an outline do not all lie on one line."""
    if len(outline) < 3:
        return False
    away = outline - outline[0]
    far = away[int((away**2).sum(axis=1).argmax())]
    beside = np.abs(away[:, 0] * far[1] - away[:, 1] * far[0]).max()
    return bool(beside > ROUNDING * np.hypot(*far))


def _turn(outline: np.ndarray) -> bool:
    """Whether an outline runs from x to y, by the sign of its area."""
    x, y = outline.T
    return bool((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0)


def _thin_parts(outlines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels of parts that are one pixel wide, in a region whose contours run through pixel centres.

    They are contours without area there, of one point or of a line back and forth. Anywhere else these are slips of the
    mouse or of a program, and left out.
    """
    thin = np.zeros(shape, dtype=bool)
    if not any(map(_encloses_area, outlines)) or any((outline % 1).any() for outline in outlines):
        return thin
    for outline in outlines:
        if _encloses_area(outline):
            continue
        for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            steps = int(np.gcd(*np.abs(end - start).astype(int))) or 1
            x, y = np.rint(np.linspace(start, end, steps + 1)).astype(int).T
            within = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
            thin[y[within], x[within]] = True
    return thin


def _fill(outline: np.ndarray, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The box (rows, columns) around an outline of (x, y) indices, and which of its pixel centres lie inside or on it.

    0 outside, 1 inside, 2 or 3 on it. A box beyond the image is empty.
    """
    low = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, shape[::-1])
    high = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 1, low, shape[::-1])
    box = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    size = (int(high[1] - low[1]), int(high[0] - low[0]))
    if min(size) == 0:
        return box, np.zeros(size, dtype=np.uint8)
    return box, grid_points_in_poly(size, (outline - low)[:, ::-1], binarize=False)


def read(path: Path) -> list[ContourSegment]:
    """Regions of a structure set by name; ImageError where it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the header's style
            return _regions(read_dicom(path))
    except (ImageError, MemoryError):
        raise
    except Exception:  # pydicom raises many kinds for damaged files
        raise ImageError(
            "the RTSTRUCT is damaged: a part of it cannot be read; export the structure set again"
        ) from None


def _regions(dataset: pydicom.Dataset) -> list[ContourSegment]:
    rois = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence", [])}
    if not rois:
        raise ImageError("the RTSTRUCT names no regions; export the structure set again")
    drawn: dict[int, list[pydicom.Dataset]] = {}
    for item in dataset.get("ROIContourSequence", []):
        drawn.setdefault(int(item.ReferencedROINumber), []).extend(item.get("ContourSequence", []))
    regions, identity, series_uid = [], carries_identity(dataset), _drawn_on(dataset)
    for number, roi in rois.items():
        filled = [(points, c) for c in drawn.get(number, []) if (points := _numbers(c)).size]
        if any(points.size % 3 or not np.isfinite(points).all() for points, _ in filled):
            raise ImageError("the RTSTRUCT has a contour with damaged points; export the structure set again")
        regions.append(
            ContourSegment(
                str(roi.get("ROIName", "")).strip(),
                tuple(points.reshape(-1, 3) for points, _ in filled),
                tuple(str(c.get("ContourGeometricType", "")) for _, c in filled),
                str(roi.get("ReferencedFrameOfReferenceUID", "")),
                series_uid,
                identity=identity,
            )
        )
    return regions


def _numbers(contour: pydicom.Dataset) -> np.ndarray:
    """Contour data as numbers, from the bytes as stored: pydicom takes a minute for those of 20,000 contours, and above
    64 kB many writers can only store them as of unknown representation (UN). None where a tool wrote no point.
    """
    data = getattr(contour.get_item("ContourData"), "value", None)
    if isinstance(data, bytes):
        data = data.decode("ascii").strip("\0 ").split("\\") if data.strip(b"\0 ") else []
    return np.atleast_1d(np.asarray([] if data is None else data, dtype=float))


def _drawn_on(dataset: pydicom.Dataset) -> str:
    """UID of the one series that the structure set refers to; empty where it names none or several."""
    uids = {
        str(series.get("SeriesInstanceUID", ""))
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
    }
    return uids.pop() if len(uids) == 1 else ""
