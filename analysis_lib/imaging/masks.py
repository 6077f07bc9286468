"""Muscle masks on the CT's grid.

Segments are chosen by name, never by channel or label number alone: a 3D Slicer file with overlapping
segments stores them in layers in which every label value may be 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nrrd
import numpy as np

from analysis_lib.imaging.geometry import Geometry, ImageError

INDEX_TOLERANCE = 0.02  # voxels; covers rounding in headers, not a mask drawn on another image
TO_LPS = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}


@dataclass(frozen=True)
class Segment:
    """One segment as its voxel indices (n, 3) in (x, y, z) on the file's own grid."""

    name: str
    voxels: np.ndarray
    geometry: Geometry

    def points(self) -> np.ndarray:
        """Voxel centres in LPS mm, array (n, 3)."""
        affine = self.geometry.affine
        return self.voxels @ affine[:3, :3].T + affine[:3, 3]


def read_segments(path: Path) -> list[Segment]:
    """All segments of a 3D Slicer ``.seg.nrrd`` file.

    Raises ImageError where the file is missing, damaged or no segmentation.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"mask file '{path.name}' is missing; export the segmentation with this name")
    try:
        data, header = nrrd.read(str(path))
    except (nrrd.NRRDError, OSError, EOFError, ValueError, KeyError, AssertionError, UnicodeDecodeError):
        raise ImageError(f"mask file '{path.name}' cannot be read (damaged?); save it again") from None
    except Exception as error:  # zlib.error and the like: whatever a damaged stream makes the decoder raise
        raise ImageError(f"mask file '{path.name}' is damaged ({type(error).__name__}); save it again") from None
    if data.ndim == 3:
        data = data[np.newaxis]
    if data.ndim != 4:
        raise ImageError(f"mask file '{path.name}' has {data.ndim} dimensions; a segmentation has 3, or 4 with layers")
    geometry = _nrrd_geometry(header, data.shape[1:], path.name)
    segments = []
    for number in _segment_numbers(header):
        name = str(header.get(f"Segment{number}_Name", "")).strip()
        try:
            layer = int(header.get(f"Segment{number}_Layer", 0))
            value = int(header.get(f"Segment{number}_LabelValue", number + 1))
        except ValueError:
            raise ImageError(f"segment '{name}' has a layer or label that is no number; save it again") from None
        if not 0 <= layer < len(data):
            raise ImageError(
                f"segment '{name}' names layer {layer}, the file has {len(data)}; save it again in 3D Slicer"
            )
        segments.append(Segment(name, np.argwhere(data[layer] == value), geometry))
    if not segments:
        raise ImageError(f"mask file '{path.name}' names no segments; save it from 3D Slicer as a segmentation")
    return segments


def choose(segments: list[Segment], names: list[str]) -> Segment:
    """The one segment whose name is among ``names`` (case and surrounding blanks do not count)."""
    wanted = {name.strip().lower() for name in names}
    found = [s for s in segments if s.name.lower() in wanted]
    present = ", ".join(repr(s.name[:40]) for s in segments)
    if not found:
        raise ImageError(f"no segment named {' or '.join(names)}; the mask file has {present}: rename the segment")
    if len(found) > 1:
        raise ImageError(f"{len(found)} segments are named {names[0]}; the mask file has {present}: keep one")
    if len(found[0].voxels) == 0:
        raise ImageError(f"segment '{found[0].name}' is empty; draw it or exclude the patient")
    return found[0]


def on_grid(segment: Segment, ct: Geometry) -> np.ndarray:
    """The segment as a mask (z, y, x) of bool on the CT's grid.

    Grids that are congruent (sub-volume, flipped or permuted axes) are matched index by index; anything
    else is refused with both geometries, since resampling would change the mask.
    """
    to_ct = np.linalg.inv(ct.affine) @ segment.geometry.affine
    exact = np.round(to_ct)
    index = segment.voxels @ to_ct[:3, :3].T + to_ct[:3, 3]
    rounded = np.round(index)
    off = np.abs(index - rounded).max(axis=0)
    if np.abs(to_ct[:3, :3] - exact[:3, :3]).max() > INDEX_TOLERANCE or off.max() > INDEX_TOLERANCE:
        axis = int(off.argmax())
        off_mm = off[axis] * ct.spacing[axis]
        raise ImageError(
            f"the mask's grid does not fit the CT (off by up to {off_mm:.2f} mm in {'xyz'[axis]}); "
            f"mask: {segment.geometry.describe()}; CT: {ct.describe()}. "
            "Export the segmentation again with the CT as its reference volume"
        )
    rounded = rounded.astype(int)
    if (rounded < 0).any() or (rounded >= np.array(ct.size)).any():
        raise ImageError(
            f"segment '{segment.name}' reaches outside the CT; mask: {segment.geometry.describe()}; CT: {ct.describe()}"
        )
    mask = np.zeros(ct.size[::-1], dtype=bool)
    mask[rounded[:, 2], rounded[:, 1], rounded[:, 0]] = True
    return mask


def _segment_numbers(header: dict) -> list[int]:
    numbers = []
    for key in header:
        if key.startswith("Segment") and key.endswith("_ID") and key[7:-3].isdigit():
            numbers.append(int(key[7:-3]))
    return sorted(numbers)


def _nrrd_geometry(header: dict, shape: tuple[int, ...], name: str) -> Geometry:
    space = str(header.get("space", "")).lower()
    if space not in TO_LPS:
        raise ImageError(f"mask file '{name}' has no known patient space ({space or 'none'}); save it from 3D Slicer")
    try:
        directions = np.array([row for row in header["space directions"] if row is not None], dtype=float)
        origin = np.array(header["space origin"], dtype=float)
    except (KeyError, TypeError, ValueError):
        raise ImageError(f"mask file '{name}' does not say where it lies in space; save it from 3D Slicer") from None
    directions = directions[np.isfinite(directions).all(axis=1)]  # the layer axis has no direction
    if directions.shape != (3, 3) or abs(np.linalg.det(directions)) < 1e-9:
        raise ImageError(f"mask file '{name}' has invalid space directions; save it again from 3D Slicer")
    flip = np.array(TO_LPS[space], dtype=float)
    affine = np.eye(4)
    affine[:3, :3] = (directions * flip).T
    affine[:3, 3] = origin * flip
    return Geometry.from_affine(affine, tuple(int(n) for n in shape))
