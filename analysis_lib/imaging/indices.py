"""Muscle areas, densities and indices at L3, and the verdict of each definition of sarcopenia."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.imaging import ct, masks
from analysis_lib.imaging.geometry import ImageError
from analysis_lib.params import DefinitionParams, HuWindow, ImageParams

MEASURES = ("sm_area_cm2", "sm_mean_hu", "pm_area_cm2", "pm_mean_hu")


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
        raise ImageError(f"no pixel of the mask lies within {window.low:g} to {window.high:g} HU; check mask and CT")
    occupied = int(mask.any(axis=(1, 2)).sum())
    return counted.sum() * pixel_area_cm2 / occupied, float(hounsfield[counted].mean(dtype=np.float64))


def measure(ct_path: Path, mask_path: Path, images: ImageParams) -> dict[str, object]:
    """Measure one patient: areas in cm2, densities in HU, and the slices used.

    Raises ImageError (with the reason) where CT, mask or a segment cannot be used.
    """
    segments = masks.read_segments(mask_path)
    chosen = {}
    for key, settings in (("sm", images.sm), ("pm", images.pm)):
        chosen[key] = masks.choose(segments, settings.names)
        if len(chosen[key].voxels) < images.min_mask_pixels:
            raise ImageError(
                f"segment '{chosen[key].name}' has only {len(chosen[key].voxels)} pixels "
                f"(fewer than {images.min_mask_pixels}); draw it again"
            )
    series = ct.read_ct(ct_path, covering=np.vstack([s.points() for s in chosen.values()]))
    row: dict[str, object] = {"series_uid": series.series_uid, "n_slices": series.geometry.size[2]}
    for key, settings in (("sm", images.sm), ("pm", images.pm)):
        mask = masks.on_grid(chosen[key], series.geometry)
        slices = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
        hounsfield = series.hounsfield(slices)
        if hounsfield.min() == hounsfield.max():
            raise ImageError("the CT slice of the mask holds a single value; export the series again")
        area, density = area_and_density(hounsfield, mask[slices], series.geometry.pixel_area_cm2, settings.hu_window)
        row |= {f"{key}_area_cm2": area, f"{key}_mean_hu": density, f"{key}_slices": slices}
    row["slices_z_mm"] = [
        round(float((series.geometry.affine @ [0, 0, k, 1])[2]), 3)
        for k in sorted({*row["sm_slices"], *row["pm_slices"]})
    ]
    return row


def load_images(ct_path: Path, mask_path: Path, images: ImageParams):
    """CT and both masks as SimpleITK images on one grid, ``(ct, {"sm": mask, "pm": mask})``."""
    segments = masks.read_segments(mask_path)
    chosen = {"sm": masks.choose(segments, images.sm.names), "pm": masks.choose(segments, images.pm.names)}
    series = ct.read_ct(ct_path, covering=np.vstack([s.points() for s in chosen.values()]))
    geometry = series.geometry
    on_ct = {key: geometry.image_of(masks.on_grid(s, geometry).astype(np.uint8)) for key, s in chosen.items()}
    return series.image(), on_ct


def add_height_indices(table: pd.DataFrame) -> pd.DataFrame:
    """Add SMI and PMI in cm2/m2 from the areas and ``height_m``."""
    return table.assign(
        smi=table["sm_area_cm2"] / table["height_m"] ** 2,
        pmi=table["pm_area_cm2"] / table["height_m"] ** 2,
    )


def cut_offs(table: pd.DataFrame, definition: DefinitionParams) -> pd.Series:
    """The definition's cut-off for each patient's sex (``M`` or ``F``), and BMI where it has BMI classes.

    Missing where sex is, or where BMI is and the sex's cut-offs differ between classes.
    """
    cut_off = table["sex"].map({"M": definition.men, "F": definition.women}).astype(float)
    bmi = table["bmi"] if "bmi" in table else pd.Series(np.nan, table.index)
    unknown = pd.Series(False, table.index)
    for group in sorted(definition.bmi_classes, key=lambda c: c.bmi_at_least):
        in_class = table["sex"].map({"M": group.men, "F": group.women}).astype(float)
        unknown |= bmi.isna() & (in_class != cut_off)
        cut_off = cut_off.mask(bmi >= group.bmi_at_least, in_class)
    return cut_off.mask(unknown)


def sarcopenic(table: pd.DataFrame, definition: DefinitionParams) -> pd.Series:
    """Whether each patient lies below the definition's cut-off, see ``cut_offs``.

    Returns a nullable boolean Series, missing where index or cut-off is missing.
    """
    cut_off = cut_offs(table, definition)
    index = table[definition.column].astype(float)
    return (index < cut_off).astype("boolean").mask(index.isna() | cut_off.isna())
