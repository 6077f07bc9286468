"""The two pictures of a verdict: a forest plot of the printed numbers beside ours, and a strip of CT with masks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import SimpleITK as sitk
from matplotlib.figure import Figure

from analysis_lib.cohort.sources import Source, located, sources
from analysis_lib.core.project import Study
from analysis_lib.ct.indices import load_images
from analysis_lib.ct.settings import ImageParams
from analysis_lib.figures.forest import forest
from analysis_lib.figures.masks import Slice, masks_picture
from analysis_lib.results.verdict import conclusions

SHARES_OF_SMI = (0.05, 0.35, 0.65, 0.95)
FIELD_MM = (380.0, 280.0)


def forest_of(study: Study) -> tuple[Figure, pd.DataFrame] | None:
    """The forest plot of a run that stands beside a paper's numbers, and its rows; None where there are none."""
    if not (study.build / "paper_comparison.parquet").is_file():
        return None
    rows = conclusions(study.comparison(), study.params.statistics.confidence)
    if rows.empty:
        return None
    label = study.params.cohort.labels | {"train": "Training", "internal": "Internal test"}
    named = rows["set"].map(lambda name: label.get(name, name)) + ", " + rows["marker"] + " " + rows["outcome"]
    group = rows["quantity"].replace({"HR": "Hazard ratio", "HR per SD": "Hazard ratio per SD"})
    frame = rows.assign(label=named.str.rstrip(), group=group)
    return forest(frame, study.params.statistics.confidence), frame


def strip_of(study: Study) -> Figure | None:
    """Four synthetic patients with their masks, from little muscle to much; None for real ones, or without images."""
    if not study.params.synthetic or not (study.data / "ct").is_dir():
        return None
    return masks_picture(four_patients(study), field_mm=FIELD_MM)


def four_patients(study: Study) -> list[Slice]:
    """The patients at four shares of the ranking by SMI, and their slices at L3."""
    ranked: pd.DataFrame = study.patients().sort_values(["smi", "patient_id"])
    chosen = ranked.iloc[[round(share * (len(ranked) - 1)) for share in SHARES_OF_SMI]]
    found = sources(study, located(study))
    return [
        _slice(found[row.patient_id], study.params.images, f"{row.patient_id}, SMI {row.smi:.0f} cm²/m²")
        for row in chosen.itertuples()
    ]


def _slice(source: Source, images: ImageParams, title: str) -> Slice:
    ct, masks = load_images(source.ct(), source.mask(), images, **source.where())
    sm, pm = (sitk.GetArrayFromImage(masks[key]).astype(bool) for key in ("sm", "pm"))
    k = int(np.flatnonzero(sm.any(axis=(1, 2)))[0])
    column_mm, row_mm, _ = ct.GetSpacing()
    return title, sitk.GetArrayFromImage(ct)[k], sm[k], pm[k], (row_mm, column_mm)
