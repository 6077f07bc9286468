"""Masks in DICOM RT Structure Sets: contours in mm, filled on the CT's grid.

A pixel belongs to a contour when its centre lies inside. Contours that lie inside another are holes
(even-odd rule), which holds for holes drawn as contours of their own and as keyholes alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from skimage.measure import grid_points_in_poly

from analysis_lib.ct.dicom_identity import carries_identity
from analysis_lib.ct.geometry import Geometry, ImageError

PLANE_TOLERANCE = 0.1  # of the slice spacing: contours further from a slice were drawn on another series
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


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
    identity: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no contour."""
        return not self.contours

    def points(self) -> np.ndarray:
        """Points of all contours in LPS mm, array (n, 3)."""
        return np.vstack(self.contours)

    def on_grid(self, ct: Geometry) -> np.ndarray:
        """Mask (z, y, x) on the CT's grid.

        Raises ImageError for open contours, contours off the CT's slices, oblique to them, or crossing.
        """
        open_ones = [kind for kind in self.kinds if kind not in CLOSED]
        if open_ones:
            raise ImageError(f"region '{self.name[:40]}' has {len(open_ones)} open contours or points; close them")
        to_index = np.linalg.inv(ct.affine)
        by_slice: dict[int, list[np.ndarray]] = {}
        for contour in self.contours:
            index = contour @ to_index[:3, :3].T + to_index[:3, 3]
            k = int(np.round(index[:, 2].mean()))
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
        """Even-odd fill of one slice, largest contour first."""
        shape = (ct.size[1], ct.size[0])
        parts = sorted((_fill(outline, shape) for outline in outlines), key=lambda part: -int(part.sum()))
        filled = np.zeros(shape, dtype=bool)
        for place, part in enumerate(parts):
            if any(np.array_equal(part, earlier) for earlier in parts[:place]):
                continue  # the same contour twice is one contour, not a hole as large as the region
            inside = int((part & filled).sum())
            if 0 < inside < int(part.sum()):
                raise ImageError(f"region '{self.name[:40]}' has contours that cross on one slice; merge them")
            filled = filled ^ part
        return filled

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


def _fill(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (row, column) whose centres lie inside an outline of (x, y) indices."""
    low = np.maximum(np.floor(outline.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 1, [shape[1], shape[0]])
    filled = np.zeros(shape, dtype=bool)
    if (high > low).all():
        size = (high[1] - low[1], high[0] - low[0])
        filled[low[1] : high[1], low[0] : high[0]] = grid_points_in_poly(size, (outline - low)[:, ::-1], binarize=True)
    return filled


def read(path: Path) -> list[ContourSegment]:
    """Regions of a structure set by name; ImageError where it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the header's style
            dataset = pydicom.dcmread(path)
            return _regions(dataset)
    except ImageError:
        raise
    except Exception as error:  # pydicom raises many kinds for damaged files
        kind = type(error).__name__
        raise ImageError(f"the RTSTRUCT cannot be read ({kind}); export the structure set again") from None


def _regions(dataset: pydicom.Dataset) -> list[ContourSegment]:
    rois = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence", [])}
    if not rois:
        raise ImageError("the RTSTRUCT names no regions; export the structure set again")
    drawn: dict[int, list[pydicom.Dataset]] = {}
    for item in dataset.get("ROIContourSequence", []):
        drawn.setdefault(int(item.ReferencedROINumber), []).extend(item.get("ContourSequence", []))
    regions, identity, series_uid = [], carries_identity(dataset), _drawn_on(dataset)
    for number, roi in rois.items():
        filled = [c for c in drawn.get(number, []) if c.get("ContourData")]  # some tools write contours of no point
        contours = [np.asarray(c.ContourData, dtype=float) for c in filled]
        if any(c.size % 3 or not np.isfinite(c).all() for c in contours):
            raise ImageError("the RTSTRUCT has a contour with damaged points; export the structure set again")
        regions.append(
            ContourSegment(
                str(roi.get("ROIName", "")).strip(),
                tuple(c.reshape(-1, 3) for c in contours),
                tuple(str(c.get("ContourGeometricType", "")) for c in filled),
                str(roi.get("ReferencedFrameOfReferenceUID", "")),
                series_uid,
                identity=identity,
            )
        )
    return regions


def _drawn_on(dataset: pydicom.Dataset) -> str:
    """UID of the one series that the structure set refers to; empty where it names none or several."""
    uids = {
        str(series.get("SeriesInstanceUID", ""))
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
    }
    return uids.pop() if len(uids) == 1 else ""
