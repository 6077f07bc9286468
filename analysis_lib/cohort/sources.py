"""Where a patient's images lie: below the data folder by name, or where the clinical table says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis_lib.cohort.clinical import read_clinical
from analysis_lib.core.project import Study
from analysis_lib.ct import masks
from analysis_lib.ct.ct import find_ct
from analysis_lib.ct.data_paths import files_of, inside
from analysis_lib.ct.label_table import find_label_table

# Where images lie may hold a name, so it goes no further than the clinical table.
LOCATIONS = ["ct_path", "mask_path", "series_uid", "l3_z_mm", "l3_sop_instance_uid"]


@dataclass(frozen=True)
class Source:
    """Where a patient's images are said to be; the paths are checked when they are used."""

    data: Path
    patient_id: str
    ct_path: str = ""  # relative to the data folder
    mask_path: str = ""  # likewise
    series_uid: str = ""
    l3_z_mm: float | None = None
    l3_sop_uid: str = ""
    label_table: str = ""  # relative to the data folder

    def ct(self) -> Path:
        """Folder or file of the CT; ImageError where the table's path leads outside the data folder, or for two CTs."""
        if self.ct_path:
            return inside(self.data, self.ct_path, "ct_path")
        return find_ct(self.data / "ct", self.patient_id)

    def mask(self) -> Path:
        """File or folder of the mask; ImageError where there is none, or more than one."""
        if self.mask_path:
            return inside(self.data, self.mask_path, "mask_path")
        return masks.find_mask(self.data / "masks", self.patient_id)

    def files(self) -> list[Path]:
        """Every file of CT and mask, with the table that names a label map's labels; ImageError as of both."""
        mask = self.mask()
        table = self.where()["label_table"] or find_label_table(mask)
        return [path for place in [self.ct(), mask, *filter(None, [table])] for path in files_of(place)]

    @property
    def choice(self) -> tuple[str, float | None, str]:
        """What of the files counts: series and slice, as the clinical table names them."""
        return self.series_uid, self.l3_z_mm, self.l3_sop_uid

    def where(self) -> dict[str, Any]:
        """What ``open_patient`` must know beside the paths."""
        table = inside(self.data, self.label_table, "images.label_table") if self.label_table else None
        return {
            "series_uid": self.series_uid,
            "label_table": table,
            "l3_z_mm": self.l3_z_mm,
            "l3_sop_uid": self.l3_sop_uid,
        }


def sources(study: Study, clinical: pd.DataFrame) -> dict[str, Source]:
    """Source of each patient of the clinical table by patient_id."""
    table = clinical.reindex(columns=["patient_id", *LOCATIONS]).astype({"patient_id": str})
    texts = table.drop(columns="l3_z_mm").fillna("").astype(str)
    heights = pd.to_numeric(table["l3_z_mm"], errors="coerce")
    return {
        row.patient_id: Source(
            study.data,
            row.patient_id,
            row.ct_path,
            row.mask_path,
            row.series_uid,
            None if pd.isna(z_mm) else float(z_mm),
            row.l3_sop_instance_uid,
            study.params.images.label_table or "",
        )
        for row, z_mm in zip(texts.itertuples(index=False), heights, strict=True)
    }


def located(study: Study) -> pd.DataFrame:
    """The measured patients with where their images lie; the series that was measured is the one that counts."""
    params, measured = study.params, study.measured(["patient_id", "series_uid"])
    clinical, _ = read_clinical(study.clinical_file, list(params.cohort.sets), params.clinical)
    return clinical.drop(columns="series_uid", errors="ignore").merge(measured, on="patient_id")
