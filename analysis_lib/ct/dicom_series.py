"""From the slices of one DICOM series to volumes on a regular axial grid, or the reason why not."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from analysis_lib.ct.dicom_headers import SPLIT_BY, Slice
from analysis_lib.ct.dicom_pixels import stored_values
from analysis_lib.ct.geometry import Geometry, ImageError, three

POSITION_TOLERANCE_MM = 0.02  # rounding of decimal strings in headers; a true gap is a slice, not this
GRID_TOLERANCE = 0.05  # of a step: slices may lie this far (and at most 0.1 mm) off an even grid
AXIAL_TOLERANCE = 1e-3  # of the cosine between slice normal and body axis, 2.6 degrees
TILT_TOLERANCE_DEGREES = 0.5


@dataclass(frozen=True)
class Volume:
    """Slices on a regular grid, caudal to cranial, and how the stored pixels are turned to it."""

    geometry: Geometry
    slices: tuple[Slice, ...]
    turns: tuple[bool, bool, bool]  # rows and columns exchanged, then flipped along y, along x
    notes: tuple[str, ...] = ()


def volumes(slices: list[Slice]) -> list[Volume]:
    """The volumes of one series: one, or several where time points or acquisitions share positions.

    Raises ImageError, naming the cause and where it lies, for a series that forms no regular axial grid.
    """
    if faults := [one.fault for one in slices if one.fault]:
        (fault, count), *_ = Counter(faults).most_common()
        raise ImageError(fault + (f" ({count} of {len(slices)} slices)" if count < len(slices) else ""))
    if all(one.cut_short for one in slices):
        rows, columns = slices[0].shape
        raise ImageError(
            f"all slices hold fewer pixels than the {rows} rows and {columns} columns of their headers; export the "
            "series again"
        )
    _same_size(slices)
    normal = _axial_normal(slices)
    kept, notes = _without_copies(slices, normal)
    return [_on_grid(part, normal, notes) for part in _split(kept, normal)]


def is_axial(slices: list[Slice]) -> bool:
    """Whether at least one slice says that it is axial (a coronal reformat is never taken for the series)."""
    for one in slices:
        if len(one.orientation) == 6:
            normal = np.cross(one.orientation[:3], one.orientation[3:])
            if abs(abs(normal[2]) - 1) <= AXIAL_TOLERANCE:
                return True
    return False


def _same_size(slices: list[Slice]) -> None:
    first = slices[0]
    for one in slices:
        same = one.shape == first.shape and np.allclose(one.spacing_mm, first.spacing_mm, atol=1e-6)
        if not (same and np.allclose(one.orientation, first.orientation, atol=1e-4)):
            raise ImageError("slices of one series differ in size, spacing or orientation; export one series")


def _axial_normal(slices: list[Slice]) -> np.ndarray:
    """Unit vector along the body axis, towards the head, of slices that are axial; ImageError for others."""
    orientation = np.array(slices[0].orientation)
    lengths = np.linalg.norm(orientation.reshape(2, 3), axis=1)
    if np.abs(lengths - 1).max() > AXIAL_TOLERANCE or abs(orientation[:3] @ orientation[3:]) > AXIAL_TOLERANCE:
        raise ImageError("the slices' orientation is not two directions at right angles; export the series again")
    normal = np.cross(orientation[:3], orientation[3:])
    normal = -normal if normal[2] < 0 else normal
    tag = max((abs(one.tilt_degrees) for one in slices), default=0.0)
    if abs(normal[2] - 1) > AXIAL_TOLERANCE:
        degrees = float(np.degrees(np.arccos(min(1.0, normal[2]))))
        if degrees < 45 and (tag > TILT_TOLERANCE_DEGREES or _shift_degrees(slices, normal) > degrees / 2):
            raise ImageError(
                f"the series is not axial: it was taken with a gantry tilt of {degrees:.1f} degrees; "
                "export an untilted series"
            )
        kind = "coronal, sagittal or strongly oblique" if degrees > 45 else "oblique"
        raise ImageError(
            f"the series is not axial ({kind}: its slices are turned by {degrees:.1f} degrees); export the axial series"
        )
    if tag > TILT_TOLERANCE_DEGREES:
        raise ImageError(
            f"the header names a gantry tilt of {tag:.1f} degrees but calls the slices axial; "
            "export an untilted or untouched series"
        )
    return normal


def _depths(slices: list[Slice], normal: np.ndarray) -> np.ndarray:
    return np.array([one.position_mm for one in slices]) @ normal


def _shift_degrees(slices: list[Slice], normal: np.ndarray) -> float:
    """Angle between the slices' normal and the line along which the table moved."""
    positions = np.array([one.position_mm for one in slices])
    order = np.argsort(positions @ normal)
    way = positions[order[-1]] - positions[order[0]]
    length = np.linalg.norm(way)
    return 0.0 if length == 0 else float(np.degrees(np.arccos(np.clip(abs(way @ normal) / length, 0, 1))))


def _at_same_place(slices: list[Slice], normal: np.ndarray) -> list[list[int]]:
    """Indices of slices by position, caudal to cranial; several where a position occurs several times."""
    depths = _depths(slices, normal)
    groups: list[list[int]] = []
    for k in np.argsort(depths, kind="stable"):
        if groups and depths[k] - depths[groups[-1][-1]] < POSITION_TOLERANCE_MM:
            groups[-1].append(int(k))
        else:
            groups.append([int(k)])
    return groups


def _without_copies(slices: list[Slice], normal: np.ndarray) -> tuple[list[Slice], tuple[str, ...]]:
    """Slices less those that repeat another's position and pixels, and a note that says how many."""
    dropped: set[int] = set()
    for group in _at_same_place(slices, normal):
        if len(group) == 1:
            continue
        seen: dict[tuple, int] = {}
        for k in group:
            one = slices[k]
            key = (one.slope, one.intercept, one.padding, one.position_mm, stored_values(one).tobytes())
            if key in seen:
                dropped.add(k)
            seen.setdefault(key, k)
    kept = [one for k, one in enumerate(slices) if k not in dropped]
    return kept, (f"{len(dropped)} identical copies of slices left out",) if dropped else ()


def _split(slices: list[Slice], normal: np.ndarray) -> list[list[Slice]]:
    """Slices of each volume where one header attribute tells apart all that share a position."""
    groups = _at_same_place(slices, normal)
    most = max(len(group) for group in groups)
    if most == 1:
        return [slices]
    for name in SPLIT_BY:
        parts: dict[str, list[Slice]] = defaultdict(list)
        for one in slices:
            parts[one.splits.get(name, "")].append(one)
        if len(parts) == most and all(len(_at_same_place(p, normal)) == len(p) for p in parts.values()):
            return [parts[value] for value in sorted(parts)]
    at = [_depths([slices[group[0]]], normal)[0] for group in groups if len(group) > 1]
    raise ImageError(
        f"{len(at)} slice position(s) occur twice with different images, the first at z = {at[0]:.1f} mm, and nothing "
        "in the headers tells them apart; export one series without duplicates"
    )


def _on_grid(slices: list[Slice], normal: np.ndarray, notes: tuple[str, ...]) -> Volume:
    depths = _depths(slices, normal)
    order = np.argsort(depths, kind="stable")
    slices, depths = [slices[k] for k in order], depths[order]
    step = _regular_step(depths) if len(slices) > 1 else _thickness(slices[0])
    positions = np.array([one.position_mm for one in slices])
    drift = positions - positions[0] - np.outer(depths - depths[0], normal)
    if np.abs(drift).max() > max(POSITION_TOLERANCE_MM, GRID_TOLERANCE * min(slices[0].spacing_mm)):
        degrees = _shift_degrees(slices, normal)
        raise ImageError(
            f"slices are shifted against each other as with a gantry tilt of {degrees:.1f} degrees; "
            "export an untilted series"
        )
    first = slices[0]
    along_row, along_column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    size, spacing = [first.shape[1], first.shape[0]], [first.spacing_mm[1], first.spacing_mm[0]]
    origin = positions[0].copy()
    # Turned so that columns run to the patient's left and rows to the back, however the patient lay: features
    # with a direction, as of wavelets, then do not depend on how the site stores its images.
    exchange = bool(abs(along_row[1]) > abs(along_row[0]))  # of a patient who lay on the side
    if exchange:
        along_row, along_column = along_column, along_row
        size, spacing = size[::-1], spacing[::-1]
    flip_x, flip_y = bool(along_row[0] < 0), bool(along_column[1] < 0)
    if flip_x:
        origin += along_row * spacing[0] * (size[0] - 1)
        along_row = -along_row
    if flip_y:
        origin += along_column * spacing[1] * (size[1] - 1)
        along_column = -along_column
    geometry = Geometry(
        size=(size[0], size[1], len(slices)),
        origin=three(origin),
        spacing=(spacing[0], spacing[1], step),
        direction=tuple(float(v) for v in np.column_stack([along_row, along_column, normal]).ravel()),
    )
    if any(one.lossy for one in slices):
        notes = (*notes, "images were compressed with loss, so HU are approximate")
    if lost := sum(one.cut_short for one in slices):
        many = f"{lost} of {len(slices)} slices are" if lost > 1 else f"one of {len(slices)} slices is"
        notes = (*notes, f"{many} cut short, so no features can be taken; export the series again")
    return Volume(geometry, tuple(slices), (exchange, flip_y, flip_x), notes)


def _thickness(single: Slice) -> float:
    """Extent in mm of a slice without neighbours, as of an archive that keeps L3 alone."""
    if single.thickness_mm is None:
        raise ImageError("the series has a single slice without SliceThickness; export the whole series")
    return single.thickness_mm


def _regular_step(depths: np.ndarray) -> float:
    """Distance of slices in mm; ImageError with the z of each gap where they are not evenly spaced."""
    steps = np.diff(depths)
    usual = float(np.median(steps))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    if len(gaps):
        where = ", ".join(f"{depths[k]:.1f} and {depths[k + 1]:.1f} mm" for k in gaps[:5])
        more = f" and {len(gaps) - 5} more gaps" if len(gaps) > 5 else ""
        lost = int(sum(round(steps[k] / usual) - 1 for k in gaps))
        name = "a slice is missing" if lost == 1 else f"{lost} slices are missing"
        raise ImageError(f"{name}, slices are {usual:.3f} mm apart but none lies between z = {where}{more}; "
                         "export the whole series")  # fmt: skip
    step = float((depths[-1] - depths[0]) / (len(depths) - 1))
    off = np.abs(depths - (depths[0] + step * np.arange(len(depths))))
    if off.max() > max(POSITION_TOLERANCE_MM, min(GRID_TOLERANCE * step, 0.1)):
        raise ImageError(
            f"the spacing of the slices changes between {steps.min():.3f} and {steps.max():.3f} mm (a slice is missing "
            f"or the series is put together from two), most at z = {depths[int(off.argmax())]:.1f} mm; "
            "export a series of even spacing"
        )
    return step
