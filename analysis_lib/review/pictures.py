"""The picture of a patient who is refused: what of CT and mask can be read all the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy import ndimage

from analysis_lib.cohort.sources import Source
from analysis_lib.common.pool import TooMuchMemory, memory_limit
from analysis_lib.ct import ct, masks
from analysis_lib.ct.dicom_headers import scan_folder
from analysis_lib.ct.geometry import Geometry, ImageError, refusing_damage
from analysis_lib.ct.settings import ImageParams
from analysis_lib.figures.check_page import thumbnail

T = TypeVar("T")
AIR_BELOW_HU = -400.0
MARGIN_MM = 6.0


def refused_picture(source: Source, images: ImageParams) -> str:
    """A data URI, see ``thumbnail``; "" where neither CT nor mask can be read.

    The slice of most pixels of the mask on the CT, on the first of its series that it fits; else the middle slice of
    the CT alone; else that of the mask alone, on black. What the study asks of both beyond that is not asked here.
    """
    for show in (_mask_on_ct, _ct_alone, _mask_alone):
        with suppress(ImageError, TooMuchMemory), memory_limit(images.memory_gb), refusing_damage():
            return show(source, images)
    return ""


def _mask_on_ct(source: Source, images: ImageParams) -> str:
    chosen = _chosen(source, images)
    covering, first = np.vstack([one.points() for one in chosen.values()]), next(iter(chosen.values()))
    series = _of_any_series(
        source, lambda path, uid: ct.read_ct(path, covering, uid, grid=first.grid, drawn_on=first.series_uid)
    )
    drawn = {key: one.on_grid(series.geometry) for key, one in chosen.items()}
    k = _fullest(drawn)
    return _shown(series.hounsfield([k])[0], {key: one[k] for key, one in drawn.items()}, series.geometry)


def _ct_alone(source: Source, _: ImageParams) -> str:
    series = _of_any_series(source, lambda path, uid: ct.read_ct(path, series_uid=uid))
    return _shown(series.hounsfield([series.geometry.size[2] // 2])[0], {}, series.geometry)


def _mask_alone(source: Source, images: ImageParams) -> str:
    chosen = _chosen(source, images)
    grid = next(iter(chosen.values())).grid
    if grid is None:
        raise ImageError("no grid of the mask's own to show it on")
    drawn = {key: one.on_grid(grid) for key, one in chosen.items()}
    k = _fullest(drawn)
    return _shown(np.full(grid.size[1::-1], ct.AIR_HU), {key: one[k] for key, one in drawn.items()}, grid)


def _chosen(source: Source, images: ImageParams) -> dict[str, masks.Segment]:
    segments = masks.read_segments(source.mask(), source.where()["label_table"], [images.sm, images.pm])
    found = {key: masks.choose(segments, wanted) for key, wanted in (("sm", images.sm), ("pm", images.pm))}
    if chosen := {key: one for key, one in found.items() if one is not None}:
        return chosen
    raise masks.missing(segments, images.sm)


def _fullest(drawn: dict[str, np.ndarray]) -> int:
    """The slice of most pixels."""
    return int(np.sum([one.sum(axis=(1, 2)) for one in drawn.values()], axis=0).argmax())


def _of_any_series(source: Source, read: Callable[[Path, str], T]) -> T:
    """What ``read`` makes of the CT as the table names it, else of the first of its series that can be read."""
    path = source.ct()
    try:
        return read(path, source.series_uid)
    except ImageError:
        for uid in scan_folder(path).series if path.is_dir() else ():
            with suppress(ImageError):
                return read(path, uid)
        raise


def _shown(hounsfield: np.ndarray, drawn: dict[str, np.ndarray], geometry: Geometry) -> str:
    return slice_picture(hounsfield, drawn, geometry)


def slice_picture(
    hounsfield: np.ndarray, drawn: dict[str, np.ndarray], geometry: Geometry, overlay: dict | None = None
) -> str:
    """A slice cut to the body, with a margin; whole where nothing stands out from air, or the level is shown beside."""
    spacing = (geometry.spacing[1], geometry.spacing[0])
    whole = overlay is not None and bool(overlay["level"].any())
    box = None if whole else body_box(hounsfield, drawn, spacing)
    return thumbnail(hounsfield, drawn, spacing, overlay, box)


def body_box(
    hounsfield: np.ndarray, drawn: dict[str, np.ndarray], spacing: tuple[float, float]
) -> tuple[slice, slice] | None:
    """Rows and columns of the largest thing denser than air and of every outline, with a margin; None without any."""
    labels, count = ndimage.label(hounsfield > AIR_BELOW_HU)
    if not count:
        return None
    body = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    for mask in drawn.values():
        body = body | mask
    places = []
    for axis, step in enumerate(spacing):
        at = np.flatnonzero(body.any(axis=1 - axis))
        margin = round(MARGIN_MM / step)
        places.append(slice(max(0, at[0] - margin), at[-1] + 1 + margin))
    return places[0], places[1]
