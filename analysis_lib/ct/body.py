"""The body on one CT slice, found without any mask: trunk, arms, the end of the field of view, and muscle against them.

Distances are in mm, arrays (row, column); columns run from the patient's right to left, as of ``CtSeries``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from analysis_lib.ct.settings import BodyParams

Spacing = tuple[float, float]  # between rows, between columns, mm
RIM_MM = 10.0  # within the edge of a reconstructed circle, where air has noise and padding has none
NOISY = 0.1  # of the air at the rim


@dataclass(frozen=True)
class Parts:
    """Trunk and what hangs on it or lies beside it, arrays (row, column) of bool."""

    trunk: np.ndarray
    limbs: np.ndarray

    @property
    def midline(self) -> float:
        """Column of the trunk's centroid."""
        return float(np.average(np.arange(self.trunk.shape[1]), weights=self.trunk.sum(axis=0)))


def parts_of(hounsfield: np.ndarray, spacing: Spacing, body: BodyParams) -> Parts | None:
    """Trunk and limbs of a slice (row, column) in HU; None where the picture has no air to see a body against.

    Tissue is what is denser than ``body.air_hu``, without sheets thinner than ``body.thin_mm`` (the table's shell, a
    blanket), with its gas. The largest component is the trunk. Limbs are thick parts of the other components, and
    parts of the trunk's own that are joined to it by a neck narrower than one of ``body.necks_mm``: an arm that touches
    the flank. A pixel there belongs to the core (what is deeper than half the neck) that is nearest.
    """
    tissue = hounsfield > body.air_hu
    if tissue.all() or not tissue.any():
        return None
    # Nothing below reaches farther, and much of a picture is air around.
    beyond = [int(np.ceil(body.thin_mm / 2 / step)) + 1 for step in spacing]
    box = tuple(
        slice(max(0, part.start - more), part.stop + more)
        for part, more in zip(ndimage.find_objects(tissue.view(np.uint8))[0], beyond, strict=True)
    )
    trunk, limbs = (np.zeros_like(tissue) for _ in range(2))
    found = _parts(tissue[box], spacing, body)
    if found is None:
        return None
    trunk[box], limbs[box] = found
    return Parts(trunk, limbs)


def _parts(tissue: np.ndarray, spacing: Spacing, body: BodyParams) -> tuple[np.ndarray, np.ndarray] | None:
    eroded = _depth(tissue, spacing) > body.thin_mm / 2
    if not eroded.any():
        return None
    opened = ndimage.distance_transform_edt(~eroded, sampling=spacing) <= body.thin_mm / 2
    filled = ndimage.binary_fill_holes(opened)
    labels, _ = ndimage.label(filled)
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    depth, limbs = _depth(filled, spacing), np.zeros_like(filled)
    for neck in body.necks_mm:
        cores, count = ndimage.label(depth > neck / 2)
        of_trunk = np.bincount(cores[labels == largest], minlength=count + 1)[1:]
        if count < 2 or not of_trunk.any():
            continue
        nearest = tuple(
            ndimage.distance_transform_edt(cores == 0, sampling=spacing, return_distances=False, return_indices=True)
        )
        mine = filled & (labels[nearest] == labels)
        limbs |= mine & (cores[nearest] != int(of_trunk.argmax()) + 1)
    return (labels == largest) & ~limbs, limbs


def _depth(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance of each pixel of a mask to the nearest that is none, mm; beyond the picture there is none."""
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]


def field_edge(hounsfield: np.ndarray, spacing: Spacing, body: BodyParams) -> np.ndarray:
    """Pixels within ``body.edge_pixels`` of the end of the field of view: the picture's, or the reconstructed circle's.

    The circle ends where the one value of all four corners begins for good. Air that has no noise tells nothing apart
    from that value; then the circle that just fits into the picture counts, if something reaches up to it.
    """
    half = [size * step / 2 for size, step in zip(hounsfield.shape, spacing, strict=True)]
    y, x = (
        (np.arange(size) + 0.5) * step - end for size, step, end in zip(hounsfield.shape, spacing, half, strict=True)
    )
    left = np.minimum(half[0] - np.abs(y)[:, None], half[1] - np.abs(x)[None, :])
    away, edge = np.hypot(y[:, None], x[None, :]), body.edge_pixels * max(spacing)
    corner = hounsfield[0, 0]
    if corner <= body.air_hu and (hounsfield[[0, -1, -1], [-1, 0, -1]] == corner).all():
        radius = float(away[hounsfield != corner].max(initial=0))
        rim = (hounsfield <= body.air_hu) & (away > radius - RIM_MM) & (away <= radius)
        noisy = bool(rim.any()) and (hounsfield[rim] != corner).mean() > NOISY
        if noisy or abs(radius - min(half)) < max(spacing) / 2:
            left = np.minimum(left, (radius if noisy else min(half)) - away)
    return left < edge


def judge_slice(
    hounsfield: np.ndarray, masks: Mapping[str, np.ndarray], spacing: Spacing, body: BodyParams
) -> tuple[dict[str, float], np.ndarray, float]:
    """Numbers of one slice, its pixels at fault (row, column) of bool, and the column of the midline (NaN without).

    ``masks``: "sm", "pm" or one of them. Areas are of the masks as they are drawn, in cm2; shares lie from 0 to 1 and
    are NaN where they have no whole:

    - ``arms_area_cm2``, ``arms_share``: muscle on limbs (``parts_of``), and what share of the muscle it is;
    - ``outside_area_cm2``: muscle in the air, on the table, or anywhere else that is neither trunk nor limb;
    - ``fov_share``: of the trunk's outline, what touches the end of the field of view; ``fov_muscle_area_cm2``: muscle
      there;
    - ``sm_left_share``, ``pm_left_share``: of the muscle, what lies left of the trunk's centroid.
    """
    muscle = np.any(list(masks.values()), axis=0)
    edge, pixel_cm2 = field_edge(hounsfield, spacing, body), spacing[0] * spacing[1] / 100
    fault = muscle & edge
    numbers = {"fov_muscle_area_cm2": float(fault.sum() * pixel_cm2)}
    parts = parts_of(hounsfield, spacing, body)
    if parts is None:
        return numbers, fault, np.nan
    arms, outside = muscle & parts.limbs, muscle & ~parts.limbs & ~parts.trunk
    outline = parts.trunk & ~ndimage.binary_erosion(parts.trunk)
    numbers |= {
        "arms_area_cm2": float(arms.sum() * pixel_cm2),
        "arms_share": float(arms.sum() / muscle.sum()) if muscle.any() else np.nan,
        "outside_area_cm2": float(outside.sum() * pixel_cm2),
        "fov_share": float((outline & edge).sum() / outline.sum()) if outline.any() else np.nan,
    }
    left = np.arange(hounsfield.shape[1]) > parts.midline
    for key, mask in masks.items():
        numbers[f"{key}_left_share"] = float(mask[:, left].sum() / mask.sum()) if mask.any() else np.nan
    return numbers, fault | arms | outside | (outline & edge), parts.midline


def level(
    pixels: np.ndarray, heights_mm: np.ndarray, counted: list[int], spacing_mm: float, share: float
) -> tuple[float, float, tuple[float, float]]:
    """How far the slices that count lie from the middle of a vertebra, how far beyond its ends, and these ends, mm.

    ``pixels`` (n,) are those of the vertebra's segment on each slice, ``heights_mm`` (n,) the slices' z (LPS, upwards).
    The vertebra's extent is from the first to the last slice with at least ``share`` of the pixels of its fullest:
    a spinous process alone hangs over the next vertebra. Of several slices the farthest counts; caudal is negative.
    """
    body = heights_mm[pixels >= max(1, share * pixels.max())]
    low, high = float(body.min() - spacing_mm / 2), float(body.max() + spacing_mm / 2)
    offsets = heights_mm[counted] - (low + high) / 2
    offset = float(offsets[np.abs(offsets).argmax()])
    return offset, max(0.0, abs(offset) - (high - low) / 2), (low, high)
