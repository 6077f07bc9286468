"""Muscle areas and densities at L3, from a CT and its masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from analysis_lib.ct import ct, flags, masks, plausible
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.mask_segments import Segment, UnionSegment
from analysis_lib.ct.segment_names import printable
from analysis_lib.ct.settings import HuWindow, ImageParams, SegmentParams

MEASURES = ("sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu")
ATTENUATION = ("nama_area_cm2", "lama_area_cm2")


def area_and_density(
    hounsfield: np.ndarray, mask: np.ndarray, pixel_area_cm2: float, window: HuWindow | None
) -> tuple[float, float]:
    """Area in cm2 (mean over the slices that the mask occupies) and mean HU of one muscle.

    ``hounsfield`` and ``mask`` are (slice, row, column) arrays of the slices that the mask occupies. Pixels
    outside ``window`` count for neither, as in the published definitions of skeletal muscle area.
    """
    counted = mask
    if window is not None:
        counted = mask & (hounsfield >= window.low) & (hounsfield <= window.high)
    if not counted.any():
        span = f" within {window.low:g} to {window.high:g} HU" if window else ""
        raise ImageError(f"no pixel of the mask lies{span}; check mask and CT")
    occupied = int(mask.any(axis=(1, 2)).sum())
    return counted.sum() * pixel_area_cm2 / occupied, float(hounsfield[counted].mean(dtype=np.float64))


def area_within(hounsfield: np.ndarray, mask: np.ndarray, pixel_area_cm2: float, window: HuWindow) -> float:
    """Area in cm2 of the pixels within ``window``, in whole HU so that none falls between two windows; may be 0.

    Arrays and mean over slices as of ``area_and_density``.
    """
    whole = np.rint(hounsfield)
    counted = mask & (whole >= window.low) & (whole <= window.high)
    return float(counted.sum() * pixel_area_cm2 / mask.any(axis=(1, 2)).sum())


@dataclass(frozen=True)
class Opened:
    """A patient's CT and the masks of the slices that count, on its grid."""

    series: ct.CtSeries
    masks: dict[str, np.ndarray]  # "sm", "pm" -> (slice, row, column) of bool; a muscle without segment is absent
    notes: tuple[str, ...]
    names: dict[str, str]  # "sm", "pm" -> the segment's name in the file, or the names that make it up, in quotes
    identity: bool  # headers of CT or mask say who the patient is
    segment_names: tuple[str, ...] = ()  # all of the mask, for the terminal of who runs a command and for no file
    segments: Sequence[Segment] = ()  # likewise
    mask_files: Sequence[Path] = ()


def open_patient(
    ct_path: Path,
    mask_path: Path | Sequence[Path],
    images: ImageParams,
    *,
    series_uid: str = "",
    label_table: Path | None = None,
    l3_z_mm: float | None = None,
    l3_sop_uid: str = "",
    need_sm: bool = True,
) -> Opened:
    """Read masks, find the CT that they were drawn on, and keep the slices that count.

    ``mask_path`` may be several files, one a segment. ``series_uid`` names the CT series where the folder holds
    several; ``l3_z_mm`` (LPS, mm) or ``l3_sop_uid`` the slice, where ``images.l3_slice`` asks for one.

    Raises ImageError (with the reason) where CT, mask or a segment cannot be used. PM may be missing; SM only
    with ``need_sm=False``, and never both.
    """
    files = [mask_path] if isinstance(mask_path, str | Path) else mask_path
    wanted = [images.sm, images.pm] + ([_vertebra(images)] if images.l3_slice == "vertebra" else [])
    segments = [segment for file in files for segment in masks.read_segments(file, label_table, wanted)]
    chosen = {
        key: segment
        for key, settings in (("sm", images.sm), ("pm", images.pm))
        if (segment := masks.choose(segments, settings)) is not None
    }
    if not chosen or (need_sm and "sm" not in chosen):
        raise masks.missing(segments, images.sm)
    covering = np.vstack([s.points() for s in chosen.values()])
    first = next(iter(chosen.values()))
    series = ct.read_ct(ct_path, covering, series_uid, grid=first.grid, drawn_on=first.series_uid)
    plausible.check_pixels(series.geometry)
    on_ct = {}
    for key, segment in chosen.items():
        masks.check_frame(segment, series)
        on_ct[key] = segment.on_grid(series.geometry)
    keep = _slices_that_count(on_ct, segments, series, images, l3_z_mm, l3_sop_uid)
    for mask in on_ct.values():
        mask[~keep] = False
    slips = _slips(on_ct, chosen, series)
    for key, mask in on_ct.items():
        if mask.sum() < images.min_mask_pixels:
            raise ImageError(
                f"segment '{chosen[key].name[:40]}' has only {int(mask.sum())} pixels on the slices that count "
                f"(fewer than {images.min_mask_pixels}); draw it again"
            )
    names = {key: masks.shown_name(segment) for key, segment in chosen.items()}
    identity = series.identity or any(segment.identity for segment in segments)
    asked = (("l3_z_mm", l3_z_mm, "z_mm"), ("l3_sop_instance_uid", l3_sop_uid or None, "sop_instance_uid"))
    unused = tuple(
        f"{column} of the table is not used, since images.l3_slice is {images.l3_slice} and not {rule}"
        for column, value, rule in asked
        if value is not None and images.l3_slice != rule
    )
    notes = series.notes + _mask_notes(on_ct, segments, images.pm) + slips + unused
    all_names = tuple(printable(segment.name) for segment in segments)
    return Opened(series, on_ct, notes, names, identity, all_names, segments, [Path(file) for file in files])


def _slips(on_ct: dict[str, np.ndarray], chosen: dict[str, masks.Segment], series: ct.CtSeries) -> tuple[str, ...]:
    """Notes on slices that lack a part of a muscle; ImageError where the area would be a fraction of it."""
    notes: tuple[str, ...] = ()
    for key, mask in on_ct.items():
        segment = chosen[key]
        if isinstance(segment, UnionSegment):
            occupied = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
            pieces = segment.slices_of_pieces(series.geometry)
            notes += tuple(filter(None, [plausible.check_parts(key, segment.made_of, pieces, occupied)]))
        notes += plausible.check_slices(key, mask)
    return notes


@dataclass(frozen=True)
class Counted:
    """The slices that count, with their HU."""

    slices: list[int]
    hounsfield: np.ndarray  # (slice, row, column)
    notes: tuple[str, ...]
    doubts: tuple[str, ...]  # why the values may be no HU


def counted_slices(opened: Opened, images: ImageParams) -> Counted:
    """Decode the slices that count and judge their values, see ``plausible``; ImageError where they can be no HU."""
    counted = np.flatnonzero(np.any([mask.any(axis=(1, 2)) for mask in opened.masks.values()], axis=0)).tolist()
    hounsfield = opened.series.hounsfield(counted)
    windows = {key: getattr(images, key).hu_window for key in opened.masks}
    notes, doubts = plausible.doubts_of_hu(
        hounsfield,
        {key: mask[counted] for key, mask in opened.masks.items()},
        {key: None if window is None else (window.low, window.high) for key, window in windows.items()},
    )
    return Counted(counted, hounsfield, notes, doubts)


def no_hu(doubts: Sequence[str]) -> ImageError:
    """Why a patient has no place in a study, whose features and indices would be of other values."""
    return ImageError("; ".join(doubts) + " If they are not, export the original CT")


def _slices_that_count(
    on_ct: dict[str, np.ndarray],
    segments: Sequence[masks.Segment],
    series: ct.CtSeries,
    images: ImageParams,
    z_mm: float | None,
    sop_uid: str,
) -> np.ndarray:
    """Which slices of the CT count, array of bool, by ``images.l3_slice``."""
    occupied = np.flatnonzero(np.any([mask.any(axis=(1, 2)) for mask in on_ct.values()], axis=0))
    n_slices = series.geometry.size[2]
    rule = images.l3_slice
    if rule == "all":
        return np.ones(n_slices, dtype=bool)
    if rule == "middle":
        k = int(occupied[(len(occupied) - 1) // 2])  # of an even number, the lower of the two in the middle
    elif rule == "vertebra":
        vertebra = masks.choose(segments, _vertebra(images))
        if vertebra is None:
            raise ImageError(
                f"no segment named {' or '.join(images.vertebra_names)}, which l3_slice: vertebra needs; draw it, "
                "or choose another l3_slice"
            )
        body = np.flatnonzero(vertebra.on_grid(series.geometry).any(axis=(1, 2)))
        k = int(body[(len(body) - 1) // 2])
    elif rule == "z_mm":
        if z_mm is None or not np.isfinite(z_mm):
            raise ImageError("l3_z_mm is missing, which l3_slice: z_mm needs; give it in the clinical table")
        heights = (series.geometry.affine @ np.array([[0, 0, k, 1] for k in range(n_slices)]).T)[2]
        k = int(np.abs(heights - z_mm).argmin())
        if abs(heights[k] - z_mm) > series.geometry.spacing[2] / 2:
            raise ImageError(
                f"l3_z_mm {z_mm:g} lies outside the CT ({heights.min():.1f} to {heights.max():.1f} mm); mend it"
            )
    else:
        if sop_uid not in series.sop_uids:
            raise ImageError("l3_sop_instance_uid names no slice of the CT series; mend it in the clinical table")
        k = series.sop_uids.index(sop_uid)
    if k not in occupied:
        raise ImageError(
            f"the mask does not reach slice {k} (0 = most caudal) that l3_slice: {rule} asks for; draw it there, "
            "or choose another slice"
        )
    return np.arange(n_slices) == k


def _vertebra(images: ImageParams) -> SegmentParams:
    return SegmentParams(names=images.vertebra_names)


def _mask_notes(on_ct: dict[str, np.ndarray], segments: Sequence[masks.Segment], pm: SegmentParams) -> tuple[str, ...]:
    """What a reader should know of the masks: psoas is a part of skeletal muscle in the published areas."""
    if "pm" not in on_ct:
        if pieces := masks.pieces_of(segments, pm):
            return (f"no PM segment, only {pieces[0]} without its other side",)
        # one that has another name shows by what there is
        there = f"; the mask has {masks.described_for(segments, pm)}" if len(segments) > 1 else ""
        return (f"no PM segment{there}",)
    if "sm" not in on_ct:
        return ("no SM segment",)
    occupied = {key: np.flatnonzero(mask.any(axis=(1, 2))).tolist() for key, mask in on_ct.items()}
    if occupied["sm"] != occupied["pm"]:
        shown = {key: ", ".join(map(str, slices[:5])) + " ..." * (len(slices) > 5) for key, slices in occupied.items()}
        return (f"SM and PM are drawn on different slices (SM {shown['sm']}; PM {shown['pm']}; 0 = most caudal)",)
    outside = int((on_ct["pm"] & ~on_ct["sm"]).sum())
    if outside:
        share = outside / int(on_ct["pm"].sum())
        return (f"{outside} pixels of PM ({share:.0%}) lie outside SM; SM area should include the psoas",)
    return ()


def measure(ct_path: Path, mask_path: Path | Sequence[Path], images: ImageParams, **where: Any) -> dict[str, Any]:
    """Measure one patient: areas in cm2, densities in HU, the slices used, and what speaks against it (``FLAGS``).

    NaN for a muscle without segment, and for what depends on HU where it is in doubt whether the CT holds any (with a
    note, and ``doubts`` not empty). ``segment_names`` may be persons': they are for a terminal and for no file.

    ``where`` is passed to ``open_patient``. Raises ImageError (with the reason) where CT, mask or a segment cannot
    be used.
    """
    opened = open_patient(ct_path, mask_path, images, **where)
    series, counted = opened.series, counted_slices(opened, images)
    pixel_cm2 = series.geometry.pixel_area_cm2
    row: dict[str, Any] = {
        "series_uid": series.series_uid,
        "n_slices": series.geometry.size[2],
        "ct_series": series.description,
        "ct_notes": "; ".join((*opened.notes, *counted.notes, *counted.doubts)),
        "doubts": "; ".join(counted.doubts),
        "identity_in_headers": opened.identity,
        "segment_names": opened.segment_names,
    }
    row |= dict.fromkeys(ATTENUATION, np.nan) | (judged := flags.judge(opened, counted, images)).numbers
    row["flagged"] = flags.raised(judged.numbers, images.flags)
    row["flags"] = "; ".join(row["flagged"])
    for key, settings in (("sm", images.sm), ("pm", images.pm)):
        row |= {f"{key}_area_cm2": np.nan, f"{key}_mean_hu": np.nan, f"{key}_slices": []}
        if key not in opened.masks:
            continue
        mask = opened.masks[key]
        slices = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
        hounsfield = counted.hounsfield[np.searchsorted(counted.slices, slices)]
        window = None if counted.doubts else settings.hu_window
        area, density = area_and_density(hounsfield, mask[slices], pixel_cm2, window)
        plausible.check_area(key, area)
        row[f"{key}_slices"] = slices
        if not counted.doubts:
            row |= {f"{key}_area_cm2": area, f"{key}_mean_hu": density}
            for name, part in (("nama", images.nama), ("lama", images.lama)) if key == "sm" else ():
                if part is not None:
                    row[f"{name}_area_cm2"] = area_within(hounsfield, mask[slices], pixel_cm2, part)
        elif settings.hu_window is None:
            row[f"{key}_area_cm2"] = area
    row["slices_z_mm"] = [
        round(float((series.geometry.affine @ [0, 0, k, 1])[2]), 3)
        for k in sorted({*row["sm_slices"], *row["pm_slices"]})
    ]
    return row


def load_images(
    ct_path: Path, mask_path: Path | Sequence[Path], images: ImageParams, series_uid: str = "", **where: Any
) -> tuple[sitk.Image, dict[str, sitk.Image]]:
    """CT and masks as SimpleITK images on one grid, ``(ct, {"sm": mask, "pm": mask})``; see ``open_patient``."""
    opened = open_patient(ct_path, mask_path, images, series_uid=series_uid, **where)
    geometry = opened.series.geometry
    return opened.series.image(), {key: geometry.image_of(m.astype(np.uint8)) for key, m in opened.masks.items()}
