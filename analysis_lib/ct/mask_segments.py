"""A segment of a mask, and how it is laid on the CT's grid without changing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from analysis_lib.ct.geometry import Geometry, ImageError

INDEX_TOLERANCE = 0.02  # voxels; covers rounding in headers, not a mask drawn on another image
ROUNDED = 5e-3  # of the spacing, or of a direction: what rounding to two decimals does to it


class Segment(Protocol):
    """What every format's segments, dataclasses all, can do."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """Name in the file."""

    @property
    def frame_of_reference_uid(self) -> str:
        """Empty where the format has none."""

    @property
    def series_uid(self) -> str:
        """Of the CT series that the file says it was drawn on; empty where it does not."""

    @property
    def named_by_file(self) -> bool:
        """Whether the name is the file's, which no message shows."""

    @property
    def numbered(self) -> bool:
        """Whether the voxels have a label number that stands for the segment, and no name."""

    @property
    def identity(self) -> bool:
        """Whether the file's DICOM header says who the patient is."""

    @property
    def grid(self) -> Geometry | None:
        """Grid that it was drawn on, where the format says so."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is drawn."""

    def points(self) -> np.ndarray:
        """Points in LPS mm, array (n, 3), that the CT must contain."""

    def on_grid(self, ct: Geometry) -> np.ndarray:
        """Mask (z, y, x) of bool on the CT's grid; ImageError where it was drawn on another."""


def same_name(one: str, other: str) -> bool:
    """Whether two segment names are the same but for case, blanks, hyphens and underscores."""
    return plain(one) == plain(other)


def plain(name: str) -> str:
    """What of a segment name counts in a comparison."""
    return "".join(name.lower().replace("_", " ").replace("-", " ").split())


@dataclass(frozen=True)
class VoxelSegment:
    """The voxels of an array (x, y, z) that hold ``label``."""

    name: str
    array: np.ndarray
    label: int
    grid: Geometry
    frame_of_reference_uid: str = ""
    series_uid: str = ""
    named_by_file: bool = False
    numbered: bool = False
    identity: bool = False

    @cached_property
    def voxels(self) -> np.ndarray:
        """Indices (n, 3) in (x, y, z) on the file's own grid."""
        mask, corner = self.array == self.label, [0] * self.array.ndim
        for axis in reversed(range(mask.ndim)):  # a muscle is a small part of its file
            held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
            corner[axis], end = (held[0], held[-1] + 1) if len(held) else (0, 0)
            mask = mask[(slice(None),) * axis + (slice(corner[axis], end),)]
        return np.argwhere(mask) + corner

    @property
    def is_empty(self) -> bool:
        """Whether no voxel is set."""
        return len(self.voxels) == 0

    def points(self) -> np.ndarray:
        """Voxel centres in LPS mm, array (n, 3)."""
        affine = self.grid.affine
        return self.voxels @ affine[:3, :3].T + affine[:3, 3]

    def on_grid(self, ct: Geometry) -> np.ndarray:
        """Mask on the CT's grid, see ``index_on``."""
        x, y, z = self.index_on(ct).T
        mask = np.zeros(ct.size[::-1], dtype=bool)
        mask[z, y, x] = True
        return mask

    def index_on(self, ct: Geometry) -> np.ndarray:
        """Indices (n, 3) in (x, y, z) of the voxels on the CT's grid, matched index by index.

        Grids must be congruent: a sub-volume, flipped or permuted axes. Anything else is refused with both
        geometries, since resampling would change the mask.
        """
        to_ct = np.eye(4) if _same_but_rounded(self.grid, ct) else np.linalg.inv(ct.affine) @ self.grid.affine
        index = self.voxels @ to_ct[:3, :3].T + to_ct[:3, 3]
        rounded = np.round(index)
        off = np.abs(index - rounded).max(axis=0, initial=0)
        if not _congruent(to_ct[:3, :3], self.grid.size, ct.size) or off.max() > INDEX_TOLERANCE:
            axis = int(off.argmax())
            raise ImageError(
                f"the mask's grid does not fit the CT (off by up to {off[axis] * ct.spacing[axis]:.2f} mm in "
                f"{'xyz'[axis]}); mask: {self.grid.describe()}; CT: {ct.describe()}. "
                "Export the segmentation again with the CT as its reference volume"
            )
        rounded = rounded.astype(int)
        if (rounded < 0).any() or (rounded >= np.array(ct.size)).any():
            raise ImageError(
                f"segment '{self.name[:40]}' reaches outside the CT; mask: {self.grid.describe()}; "
                f"CT: {ct.describe()}. Export the segmentation again with the CT as its reference volume"
            )
        return rounded


@dataclass(frozen=True)
class UnionSegment:
    """Several segments as one, such as left and right; each keeps its own grid until it is laid on the CT's."""

    name: str
    pieces: tuple[Segment, ...]
    made_of: tuple[str, ...]  # how each piece was asked for

    @classmethod
    def of(cls, name: str, pieces: Sequence[Segment], made_of: Sequence[str]) -> UnionSegment:
        """Messages say ``name`` of each piece, since its own may be a person's."""
        return cls(name, tuple(replace(piece, name=name) for piece in pieces), tuple(made_of))

    @property
    def frame_of_reference_uid(self) -> str:
        """That of the pieces, which are of one file."""
        return self.pieces[0].frame_of_reference_uid

    @property
    def series_uid(self) -> str:
        """That of the pieces, which are of one file."""
        return self.pieces[0].series_uid

    @property
    def named_by_file(self) -> bool:
        """Whether any piece has its name from its file."""
        return any(piece.named_by_file for piece in self.pieces)

    @property
    def numbered(self) -> bool:
        """As of its pieces."""
        return any(piece.numbered for piece in self.pieces)

    @property
    def identity(self) -> bool:
        """Whether the header of any piece says who the patient is."""
        return any(piece.identity for piece in self.pieces)

    @property
    def grid(self) -> Geometry | None:
        """That of the pieces, which are of one file."""
        return self.pieces[0].grid

    @property
    def is_empty(self) -> bool:
        """Whether all pieces are empty."""
        return all(piece.is_empty for piece in self.pieces)

    def points(self) -> np.ndarray:
        """Points of all pieces in LPS mm, array (n, 3)."""
        return np.vstack([piece.points() for piece in self.pieces])

    def slices_of_pieces(self, ct: Geometry) -> list[list[int]]:
        """Slices of the CT that each piece occupies."""
        along_z = np.linalg.inv(ct.affine)[2]
        depths = [piece.points() @ along_z[:3] + along_z[3] for piece in self.pieces]
        return [np.unique(np.round(depth)).astype(int).tolist() for depth in depths]

    def on_grid(self, ct: Geometry) -> np.ndarray:
        """Mask (z, y, x) of the voxels of any piece; ImageError as the pieces raise it."""
        return np.any([piece.on_grid(ct) for piece in self.pieces], axis=0)


def _same_but_rounded(mask: Geometry, ct: Geometry) -> bool:
    """Whether two grids of equal size and origin differ by so little that one header was rounded (0.78 for 0.78125)."""
    if mask.size != ct.size:
        return False
    moved = np.linalg.inv(ct.affine) @ mask.affine
    away = np.abs(moved[:3, :3] - np.eye(3)).max()
    return bool(away <= ROUNDED and np.abs(moved[:3, 3]).max() <= INDEX_TOLERANCE)


def _congruent(to_ct: np.ndarray, size: tuple[int, int, int], ct_size: tuple[int, int, int]) -> bool:
    """Whether each axis of the mask runs along one of the CT, one voxel for one.

    An axis of a single voxel, of the mask or of the CT, says nothing by its spacing, only by its direction.
    """
    columns = to_ct.copy()
    for axis, length in enumerate(size):
        along = int(np.abs(columns[:, axis]).argmax())
        if length == 1 or ct_size[along] == 1:
            columns[:, axis] /= np.abs(columns[along, axis])
    exact = np.round(columns)
    one_to_one = (np.abs(exact).sum(axis=0) == 1).all() and (np.abs(exact).sum(axis=1) == 1).all()
    return bool(one_to_one and np.abs(columns - exact).max() <= INDEX_TOLERANCE)
