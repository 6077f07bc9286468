"""What speaks against a measurement: numbers beside it, and the limits from which on a patient is flagged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis_lib.ct import masks
from analysis_lib.ct.body import judge_slice, level
from analysis_lib.ct.contrast import phase_of_hu
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.settings import NUMBERS, FlagParams, ImageParams

if TYPE_CHECKING:
    from analysis_lib.ct.indices import Counted, Opened

FLAGS = (*NUMBERS, "phase", "flags")  # columns of measured.parquet
MOST_SLICES = 10  # that are judged, of masks that reach over many
BAR = 0.03  # width of the bar that shows the level, of the picture
BAR_MM = 10.0  # shown above and below


@dataclass
class Judged:
    """``numbers`` by NUMBERS and the phase, and what a picture of slice k shows of them.

    ``faults`` (row, column) by slice, ``midline`` its column, ``ends_mm`` of the vertebra with the slices' heights.
    """

    numbers: dict[str, Any]
    faults: dict[int, np.ndarray] = field(default_factory=dict)
    midline: dict[int, float] = field(default_factory=dict)
    ends_mm: tuple[float, float] | None = None
    heights_mm: np.ndarray = field(default_factory=lambda: np.empty(0))

    def overlay(self, k: int, names: Sequence[str], rules: Mapping[str, FlagParams]) -> dict[str, np.ndarray]:
        """Pixels of slice k to be shown in a picture for the flags of these ``names``: "fault", and "level" beside it.

        Sides that are unlike have their midline; a slice beyond its vertebra has a bar at the picture's left border,
        the vertebra's extent in it as "level" and the slice as "fault".
        """
        fault, columns = self.faults[k].copy(), {rules[name].column for name in names}
        if any(column.endswith("_left_share") for column in columns):
            middle = round(self.midline[k])
            fault[:, middle - 1 : middle + 2] = True
        bar = np.zeros_like(fault)
        if columns & {"l3_beyond_mm", "l3_offset_mm"} and self.ends_mm:
            low, high = self.ends_mm
            z, rows = self.heights_mm[k], fault.shape[0]
            at = np.linspace(max(high, z) + BAR_MM, min(low, z) - BAR_MM, rows)  # cranial above
            width = max(3, round(BAR * fault.shape[1]))
            bar[(at >= low) & (at <= high), :width] = True
            fault[np.abs(at - z) <= np.ptp(at) / 60, :width] = True
        return {"level": bar & ~fault, "fault": fault}


def judge(opened: Opened, counted: Counted, images: ImageParams) -> Judged:
    """The numbers of one patient; NaN where there is nothing to judge by: no air, no vertebra, no aorta.

    Areas and shares are means over the slices that count (ten of them, where there are more).
    """
    geometry = opened.series.geometry
    z_mm = (geometry.affine @ np.array([[0, 0, k, 1] for k in range(geometry.size[2])]).T)[2]
    found = Judged(dict.fromkeys(NUMBERS, np.nan) | {"phase": "unknown"}, heights_mm=z_mm)
    found.numbers["lowest_hu"] = float(counted.hounsfield.min())
    found.numbers["n_hu_notes"] = float(len(counted.notes) + len(counted.doubts))
    if images.body is not None:
        chosen = np.linspace(0, len(counted.slices) - 1, min(len(counted.slices), MOST_SLICES)).round().astype(int)
        chosen = np.union1d(chosen, (len(counted.slices) - 1) // 2)  # the one that is shown
        spacing, each = (geometry.spacing[1], geometry.spacing[0]), []
        for place in chosen:
            k, slice_masks = counted.slices[place], {}
            slice_masks = {key: mask[k] for key, mask in opened.masks.items() if mask[k].any()}
            numbers, found.faults[k], found.midline[k] = judge_slice(
                counted.hounsfield[place], slice_masks, spacing, images.body
            )
            each.append(numbers)
        found.numbers |= pd.DataFrame(each).mean().to_dict()
        vertebra = _on_ct(opened, images.vertebra_names)
        if vertebra is not None:
            at = level(vertebra.sum(axis=(1, 2)), z_mm, counted.slices, geometry.spacing[2], images.body.vertebra_share)
            found.numbers["l3_offset_mm"], found.numbers["l3_beyond_mm"], found.ends_mm = at
    found.numbers["phase"] = opened.series.phase
    if images.phase is not None:
        aorta = _median_hu(opened, counted, images.phase.aorta_names)
        kidney = _median_hu(opened, counted, images.phase.kidney_names)
        found.numbers |= {"aorta_hu": aorta, "kidney_hu": kidney}
        found.numbers["phase"] = phase_of_hu(aorta, kidney, images.phase) or opened.series.phase
    return found


def _on_ct(opened: Opened, names: list[str]) -> np.ndarray | None:
    """Segments of these names as one mask (slice, row, column) on the CT; None where there is none that fits."""
    found, segments = [], opened.segments
    if not any(masks.same_name(segment.name, name) for segment in segments for name in names):
        segments = [s for folder in opened.mask_files if folder.is_dir() for s in masks.named_files(folder, names)]
    for segment in segments:
        if not segment.is_empty and any(masks.same_name(segment.name, name) for name in names):
            try:
                found.append(segment.on_grid(opened.series.geometry))
            except ImageError:  # of another grid, or beyond the CT: nothing that the measurement itself needs
                continue
    return np.any(found, axis=0) if found else None


def _median_hu(opened: Opened, counted: Counted, names: list[str]) -> float:
    """Median HU of an organ on the slices that count, else on the middle one of its own."""
    mask = _on_ct(opened, names)
    if mask is None:
        return np.nan
    if mask[counted.slices].any():
        return float(np.median(counted.hounsfield[mask[counted.slices]]))
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    k = int(slices[(len(slices) - 1) // 2])
    return float(np.median(opened.series.hounsfield([k])[0][mask[k]]))


def raised(numbers: Mapping[str, Any], rules: Mapping[str, FlagParams]) -> dict[str, str]:
    """The flags of a patient by name, each with its number, the limit and what it means."""
    said = {}
    for name, rule in rules.items():
        value = numbers.get(rule.column)
        if rule.column == "phase":
            limit = f"not {' or '.join(rule.among)}" if rule.among and value not in rule.among else ""
        elif value is None or np.isnan(value):
            continue
        else:
            limit = f"below {rule.low:g}" if rule.low is not None and value < rule.low else ""
            limit = f"above {rule.high:g}" if rule.high is not None and value > rule.high else limit
            value = f"{value:.3g}"
        if limit:
            said[name] = f"{name}: {rule.column} is {value}, {limit}; {rule.says}"
    return said


def excluding(said: Mapping[str, str], rules: Mapping[str, FlagParams]) -> str:
    """Why a patient is left out, "" where no flag of his excludes."""
    return "; ".join(text for name, text in said.items() if rules[name].exclude)


def flag_table(measured: pd.DataFrame, rules: Mapping[str, FlagParams]) -> pd.DataFrame:
    """A row a flag: flag, number, patients (flagged), of (whose number is known), values (range or counts), limit.

    ``measured`` has the columns FLAGS. Whoever was excluded for a flag is not among them.
    """
    rows = []
    for name, rule in rules.items():
        known = measured[rule.column].dropna()
        if rule.column == "phase":
            known = known[known != "unknown"]
            values = ", ".join(f"{phase} {count}" for phase, count in known.value_counts().items())
            limit = f"not {', '.join(rule.among)}" if rule.among else "none"
        else:
            values = f"{known.min():.3g} to {known.max():.3g}" if len(known) else ""
            ends = (("below", rule.low), ("above", rule.high))
            limit = " or ".join(f"{where} {end:g}" for where, end in ends if end is not None)
        count = int(measured["flags"].str.split("; ").map(lambda names, name=name: name in names).sum())
        rows.append((name, rule.column, count, len(known), values, limit + ", excludes" * rule.exclude))
    return pd.DataFrame(rows, columns=["flag", "number", "patients", "of", "values", "limit"])
