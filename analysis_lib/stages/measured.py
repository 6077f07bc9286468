"""Areas and densities of one patient, apart from the stage: what is kept of them depends on no more than measures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from analysis_lib.ct import indices
from analysis_lib.ct.flags import FLAGS, excluding
from analysis_lib.ct.geometry import ImageError
from analysis_lib.ct.settings import ImageParams

if TYPE_CHECKING:  # the clinical table does not count
    from analysis_lib.cohort.sources import Source


def measured_row(inputs: str, source: Source, images: ImageParams, need_sm: bool) -> dict[str, object]:
    """The patient's columns of measured.parquet that the images give; ImageError with the reason where they cannot.

    To be kept by ``inputs``, the hash of what source and images stand for, and by ``need_sm``.
    """
    row = indices.measure(source.ct(), source.mask(), images, **source.where(), need_sm=need_sm)
    if row["doubts"]:  # its features would be of the same values
        raise indices.no_hu([row["doubts"]])
    if reason := excluding(row["flagged"], images.flags):
        raise ImageError(reason)
    return {
        **{name: row[name] for name in ("ct_series", "ct_notes", "identity_in_headers")},
        **{name: row[name] for name in indices.MEASURES},
        "series_uid": row["series_uid"],
        "slices_z_mm": json.dumps(row["slices_z_mm"]),
        **{name: row[name] for name in (*indices.ATTENUATION, *FLAGS)},
    }
